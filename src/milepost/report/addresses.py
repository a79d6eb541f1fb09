"""Addresses: from what people write down (a step, a name, a digest's first digits, a run's name) to what it names."""

import difflib
import os
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

from milepost.checkpoints.folders import own_folder, run_folder
from milepost.checkpoints.names import INDEX, checkpoint_name
from milepost.core.escaping import escaped, unescaped
from milepost.errors import UsageError
from milepost.report.table import Plain, base_name, checkpoints_of, each, is_overwritten
from milepost.store.run_names import fitting
from milepost.store.store import Store

RAW = "raw"
"""The variant of the weights that training itself changes; no label says it."""

_SHORTEST = 4
_DIGITS = 12
_SHOWN = 12
_NEAR = 3
_TELLING = re.compile(r"-[0-9a-f]{8}$")


def run_id(store: Store, name: str | None) -> str | None:
    """Return the id of the run with an id, a folder's path, its end or its name; a `UsageError` lists the runs.

    None gives None.
    """
    if name is None:
        return None
    runs = store.runs()
    spelled = ((one, run_folder(os.path.join(os.path.abspath(one), "checkpoint"))) for one in _spellings(name))
    ids = next(filter(None, (fitting(runs, one, folder) for one, folder in spelled)), [])
    if len(ids) != 1:
        expected = ", ".join(ids or sorted(run["id"] for run in runs)) or "none"
        found = "names several runs" if ids else "is no run of this store"
        raise UsageError(f"'{escaped(name)}' {found}; expected one of: {expected}")
    return ids[0]


def find(checkpoints: Iterable[Plain], address: str, variant: str | None = None) -> Plain:
    """Return the one checkpoint at an address; a `UsageError` lists several.

    An address is a step, a name, a path or at least four digits of the digest; `run:` may stand before it and
    `:variant` behind it.  A path may be relative to the working directory, a TensorFlow prefix, or the checkpoint's own
    folder.  Names may stand in their printed form, which goes before a name that is spelled like it.  A step or name
    goes before a digest, so that what people write down stays reachable.  Without a variant it means the raw weights
    where there are any.  Of weights that a file held one after the other it means those that it holds now
    (`overwritten` names the others).

    >>> find([{"run": "a-01234567", "step": 9, "name": "step-9", "digest": "beef01"}], "beef")["step"]
    9
    >>> rows = [{"step": 9, "name": "step-9", "variant": "raw"}, {"step": 9, "name": "step-9", "variant": "ema"}]
    >>> find(rows, "9")["variant"], find(rows, "9:ema")["variant"], find(rows, "9", "ema")["variant"]
    ('raw', 'ema', 'ema')
    """
    every = list(checkpoints)
    rows = [row for row in every if variant in (None, _variant(row))]
    if every and not rows:
        known = ", ".join(sorted(set(map(_variant, every))))
        raise UsageError(f"--variant {variant}: no checkpoint of this store has it; there are: {known}")
    tests: list[Callable[[Plain], bool]] = [
        lambda row: address in _words(row),
        lambda row: address in _words(row, str),
        *(partial(_is_path, address=one, place=os.path.abspath(one)) for one in _spellings(address)),
        lambda row: _is_digest(row, address),
    ]
    found = next(filter(None, ([row for row in rows if test(row)] for test in tests)), [])
    if not found:
        near = _near(rows, every, address)
        raise UsageError(
            f"no checkpoint is at '{escaped(address)}' in this store of {len(rows)}; expected a step, run:step, a "
            f"name, a path, or at least {_SHORTEST} digits of a digest; `milepost ls --all` lists them{near}"
        )
    meant = [row for row in found if _variant(row) == RAW] or found
    meant = [row for row in meant if is_current(row)] or meant
    if len({row.get("digest") or id(row) for row in meant}) == 1:  # several names of the same weights
        return meant[0]
    more = [f"  ... and {len(meant) - _SHOWN:,} more"] if len(meant) > _SHOWN else []
    labels = Labels(every)
    several = "\n".join([*(_described(row, labels) for row in meant[:_SHOWN]), *more])
    raise UsageError(f"'{escaped(address)}' fits {len(meant):,} checkpoints; name one of:\n{several}")


def _spellings(text: str) -> list[str]:
    """Return the names that a text may stand for: the one whose printed form it is, and itself."""
    return list(dict.fromkeys((unescaped(text), text)))


def overwritten(checkpoints: Iterable[Plain], row: Plain) -> list[str]:
    """Return digests of the weights that the files of a checkpoint held before, and hold no more.

    >>> path = {"path": "a/last.npz", "name": "last"}
    >>> before = {**path, "current": False, "overwritten": True}
    >>> now, old = ({"digest": "d1", **path}, {"digest": "d0", "checkpoints": [before]})
    >>> overwritten([now, old], now), overwritten([now, old], old)
    (['d0'], [])
    """
    paths = set(each(row, "path", current=True)) if is_current(row) else set()
    others = [one for one in checkpoints if is_overwritten(one) and _variant(one) == _variant(row)]
    return [str(one["digest"])[:_DIGITS] for one in others if one.get("digest") and paths & set(each(one, "path"))]


def find_evaluated(checkpoints: Iterable[Plain], address: str, purpose: str, variant: str | None = None) -> Plain:
    """Return the one checkpoint at an address; a `UsageError` says that it failed, so that there are no outcomes."""
    row = find(checkpoints, address, variant)
    if not row["digest"]:
        raise UsageError(f"{escaped(address)}: this checkpoint failed, so there are no outcomes to {purpose}")
    return row


def is_current(row: Plain) -> bool:
    """Return whether some file held these weights when it was last looked at."""
    return any(checkpoint.get("current", True) for checkpoint in checkpoints_of(row))


class Labels:
    """The shortest address of each checkpoint of a store: what a verb prints, every verb takes.

    Names stand in it in their printed form, and none begins as an option does.

    >>> rows = [{"run": "a-01234567", "name": "last", "digest": "d1"}, {"run": "b-01234567", "name": "last"}]
    >>> Labels(rows).of(rows[0]), Labels(rows[:1]).of(rows[0])
    ('a:last', 'last')
    """

    def __init__(self, checkpoints: Iterable[Plain]) -> None:
        self._standing = defaultdict[str, list[Plain]](list)
        self._by_weights = defaultdict[tuple[str | None, str], list[Plain]](list)
        for row in checkpoints:
            self._by_weights[row.get("digest"), _variant(row)].append(row)
            for word in _words(row):
                self._standing[word].append(row)

    def of(self, row: Plain) -> str:
        """Return the label of one of the checkpoints: its name, with its run and variant where these are needed."""
        variant = _variant(row)
        end = "" if variant == RAW else f":{escaped(variant)}"
        named = escaped(str(row.get("name") or base_name(str(row.get("path") or ""))))
        runs = [f"{run}:" for run in _runs(str(row.get("run") or ""))]
        labels = (f"{run}{named}{end}" for run in ("", *reversed(runs)) if named)
        for label in (one for one in labels if not one.startswith("-")):
            meant = self._standing.get(label, [])
            meant = [one for one in meant if _variant(one) == RAW] or meant
            meant = [one for one in meant if is_current(one)] or meant
            if meant and all(_same(one, row) for one in meant):
                return label
        return f"{str(row['digest'])[:_DIGITS]}{end}" if row.get("digest") else escaped(str(row.get("path")))

    def of_record(self, record: Plain) -> str:
        """Return the label of the checkpoint that a record is of; the digest where no checkpoint is known any more."""
        checkpoint = record["checkpoint"]
        word = f"{str(checkpoint['digest'])[:_DIGITS]}:{_variant(checkpoint)}"
        rows = self._by_weights.get((checkpoint["digest"], _variant(checkpoint)), [])
        same = [row for row in rows if (row.get("run"), row.get("step")) == (record.get("run"), checkpoint.get("step"))]
        return self.of((same or rows)[0]) if rows else word.removesuffix(f":{RAW}")


def _same(one: Plain, other: Plain) -> bool:
    keys = ("digest", "path") if one.get("digest") is None else ("digest", "variant")
    return all(one.get(key) == other.get(key) for key in keys)


def _variant(row: Plain) -> str:
    return str(row.get("variant") or RAW)


def _runs(run: str) -> list[str]:
    """Return what a run is called: its id, which is its folder's name and 8 digits that tell equal names apart."""
    return list(dict.fromkeys([run, _TELLING.sub("", run)])) if run else []


def _words(row: Plain, form: Callable[[str], str] = escaped) -> set[str]:
    """Return all that names a row, but for digests, in one form: printed, or exact (`str`)."""
    variant, found = form(_variant(row)), set[str]()
    for checkpoint in checkpoints_of(row, current=True):
        path = str(checkpoint.get("path") or "")
        named = {str(checkpoint[key]) for key in ("step", "name") if checkpoint.get(key) is not None}
        words = {form(word) for word in named | {path, base_name(path)} - {""}}
        run = str(checkpoint.get("run") or row.get("run") or "")
        words |= {f"{known}:{word}" for known in _runs(run) for word in words}
        found |= words
    return found | {f"{word}:{variant}" for word in found}


def _is_path(row: Plain, address: str, place: str) -> bool:
    """Return whether an address, or the absolute path that it is, names a row by its path."""
    return _is_in_path(row, address) or _is_at(row, place)


def _is_in_path(row: Plain, address: str) -> bool:
    """Return whether a row is named by what stands in its path: `runs/bert:checkpoint-500`, `checkpoint-500/model`."""
    named = address.removesuffix(f":{_variant(row)}")
    for checkpoint in checkpoints_of(row, current=True):
        if path := str(checkpoint.get("path") or ""):
            base = base_name(path)
            words = {checkpoint_name(path), checkpoint_name(path, others=1), base, base.removesuffix(INDEX)}
            for word in words | {str(checkpoint.get("step")), str(checkpoint.get("name"))}:
                run = named.removesuffix(f":{word}")
                if named == word or (run != named and f"/{run_folder(path)}".endswith(f"/{run.strip('/')}")):
                    return True
    return False


def _is_at(row: Plain, place: str) -> bool:
    """Return whether a row's file lies at an absolute path: its own, its prefix, or a folder that is all its own."""
    place = place.removesuffix(f":{_variant(row)}")
    for checkpoint in checkpoints_of(row, current=True):
        if path := str(checkpoint.get("path") or ""):
            own = own_folder(path)
            inside = own is not None and f"{place}/".startswith(f"{own}/") and path.startswith(f"{place}/")
            if inside or place in (path, path.removesuffix(INDEX).rstrip("/")):
                return True
    return False


def _near(rows: Iterable[Plain], every: Iterable[Plain], address: str) -> str:
    """Return lines that name the checkpoints whose name, file or step is nearest to what was asked for."""
    named = defaultdict[str, list[Plain]](list)
    for row in rows:
        for checkpoint in checkpoints_of(row, current=True):
            path = str(checkpoint.get("path") or "")
            for word in {str(checkpoint.get("name") or ""), base_name(path), str(checkpoint.get("step") or "")} - {""}:
                named[word.lower()].append(row)
    words = (_nearest(named, piece.lower()) for piece in reversed(base_name(address).split(":")))
    found = [row for word in next(filter(None, words), []) for row in named[word]]
    labels = Labels(every)
    steps = {labels.of(row): row.get("step") for row in found}
    lines = (
        f"\n  {label}{'' if step is None else f' is at step {step}'}: `milepost show {shlex.quote(label)}`"
        for label, step in list(steps.items())[:_NEAR]
    )
    return "".join(lines)


def _nearest(words: Iterable[str], asked: str) -> list[str]:
    """Return the words nearest to one: it itself, those that hold its number, those that look like it.

    >>> _nearest(["epoch_05", "epoch_15", "last"], "5"), _nearest(["epoch_05", "last"], "lsat")
    (['epoch_05'], ['last'])
    """
    known = list(words)
    number = {int(asked)} if asked.isdecimal() else set()
    same = [word for word in known if word == asked or number & {int(part) for part in re.findall(r"\d{1,18}", word)}]
    return list(dict.fromkeys([*same, *difflib.get_close_matches(asked, known, n=2 * _NEAR)]))


def _is_digest(row: Plain, address: str) -> bool:
    digits, _, variant = address.lower().partition(":")
    known = str(row.get("digest") or "")
    return len(digits) >= _SHORTEST and known.startswith(digits) and variant in ("", _variant(row).lower())


def _described(row: Plain, labels: Labels) -> str:
    digest = str(row.get("digest") or "(failed)")[:_DIGITS]
    names = ", ".join(map(escaped, each(row, "name", current=True)))
    return f"  {digest:12}  {labels.of(row)}  {names}  {escaped(_variant(row))}"
