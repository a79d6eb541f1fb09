"""All that a store has, read from its small files: what `ls`, `show`, `best`, `compare` and a trainer ask.

Plain reading, without NumPy.  A listing that is kept and refreshed lists only folders whose time changed, and reads
only files that are new.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

from milepost._internal.atomic import readable
from milepost.errors import StoreError
from milepost.store import _checkpoint_rows as rows_of
from milepost.store._damage import OnDamage, raised
from milepost.store._leading import read_plain
from milepost.store._storage import FolderStorage
from milepost.store.code_standing import CURRENT, CodeStanding, Standing
from milepost.store.code_versions import Codes
from milepost.store.records import ALL
from milepost.store.results import ResultsFile, ValueKey, is_results, place_of

_RACY_NS = 2_000_000_000
"""A folder that changed less than this before it was listed may change again within the same tick of its clock."""
_UNSURE = -1
"""The time of a folder that is known, and that is to be listed again."""

Row = dict[str, Any]


class Narrowed(TypedDict, total=False):
    """What narrows records: a run's id, a variant, a data set's name, the name of a value, and weights.

    `digest` is one of weights, or its beginning; `digests` are several, whole.  `slices` is "all" for values over all
    rows, a slice's name for those of all its values, `name=value` for one, None for everything.
    """

    run: str | None
    variant: str | None
    digest: str | None
    data: str | None
    metric: str | None
    slices: str | None
    digests: Container[str] | None


@dataclass(slots=True)
class EvaluationFiles:
    """The results and failures of one evaluation, by file name."""

    results: dict[str, ResultsFile] = field(default_factory=dict)
    failures: dict[str, Row] = field(default_factory=dict)

    @property
    def spec(self) -> Row:
        """What was evaluated."""
        return next((file.spec for file in self.results.values() if file.spec), {})

    @property
    def weights(self) -> str:
        """The digest of the weights; "" where no file tells."""
        failed: Row = next((one["evaluation"] for one in self.failures.values() if "evaluation" in one), {})
        return str((self.spec or failed).get("weights") or "")


class _Changed(NamedTuple):
    """The names in a folder, and the time by which it is known to be the same later."""

    names: list[str]
    time: int


class Listing:
    """What one store holds, as of the last `refresh`; a file that cannot be read goes to `on_damage`, which may raise.

    Where it does not, that file is left out, and the others are there.  `version` grows where a refresh finds a change.
    """

    def __init__(self, root: str, on_damage: OnDamage = raised) -> None:
        self._root, self._on_damage = root, on_damage
        self.version = 0
        self._times: dict[str, int] = {}
        self._runs: dict[str, dict[str, Row]] = {}
        self._shelves: dict[str, list[str]] = {}
        self.evaluations: dict[str, EvaluationFiles] = {}
        self._codes = CodeStanding()

    def refresh(self) -> "Listing":
        """Take in what changed in the store since; a `StoreError` names a damaged file, unless that is left out."""
        with readable(self._root):
            self._refresh_codes()
            self._refresh_runs()
            self._refresh_evaluations()
        return self

    # -------------------------------------------------------------------------------------------------------- asking

    def records(self, **narrowed: Unpack[Narrowed]) -> list[Row]:
        """Return records as `--json` shows them, sorted by run, step, name, data, slice, estimator and metric.

        One for each run, step, variant, data, slice, metric, estimator and batch size: of the code of now before
        earlier code, whose status says so; then the largest coverage, what stands by itself, the newest evaluation.
        Where the values stand by a code check, "code_check" holds what it found.  "also" lists the other names of the
        same weights.  See `Narrowed` for what narrows them; without it, all values over all rows.
        """
        found: list[Row] = json.loads(f"[{','.join(self.lines(**narrowed))}]")
        return found

    def lines(self, **narrowed: Unpack[Narrowed]) -> Iterator[str]:
        """Yield the same records as lines of JSON, without parsing them."""
        rows = rows_of.by_name(self._by_digest(narrowed.get("run")))
        return self._lines(rows_of.of_variant(rows, narrowed.get("variant")), narrowed)

    def records_by_weights(self, **narrowed: Unpack[Narrowed]) -> list[Row]:
        """Return the records with each digest of weights once, under its first name: raw before other variants."""
        rows = rows_of.of_variant(self._by_digest(narrowed.get("run")), narrowed.get("variant"))
        heads = {row["digest"]: row for row in reversed(rows)}
        found: list[Row] = json.loads(f"[{','.join(self._lines(list(heads.values()), narrowed))}]")
        return found

    def _lines(self, rows: list[Row], narrowed: Narrowed) -> Iterator[str]:
        """Yield the lines of the values of rows, in the order of these; of weights without a checkpoint, too."""
        digest, chosen = narrowed.get("digest"), narrowed.get("digests")
        data, metric, slices = narrowed.get("data"), narrowed.get("metric"), narrowed.get("slices", ALL)
        by_weights: dict[str, list[tuple[str, ResultsFile]]] = {}
        for key, evaluated in self.evaluations.items():
            weights = evaluated.weights
            if (digest is None or weights.startswith(digest)) and (chosen is None or weights in chosen):
                files = (file for file in evaluated.results.values() if _is_whole(file, slices, self._on_damage))
                by_weights.setdefault(weights, []).extend((key, file) for file in files)
        by_weights = {weights: files for weights, files in by_weights.items() if files}
        heads = [row for row in rows if row["digest"] in by_weights]
        if narrowed.get("run") is None and narrowed.get("variant") is None:
            known = {row["digest"] for row in heads}
            heads += [{"digest": weights} for weights in by_weights if weights not in known]
        names = Counter(head["digest"] for head in heads)
        kept: dict[str, list[str]] = {}
        for head in sorted(heads, key=rows_of.order):
            start, weights = rows_of.line_start(head), head["digest"]
            texts = kept.get(weights) or self._shown(by_weights[weights], data, metric, slices)
            if names[weights] > 1:
                texts = kept[weights] = list(texts)
            yield from (start + text for text in texts)

    def checkpoints(self, run: str | None = None) -> list[Row]:
        """Return one row for each run, step, variant and digest of weights, and one a failed file, sorted by the first.

        Each has run, path, step, name, variant, digest, state ("done", "seen" or "failed"), failure (kind and message,
        or None), attempts (how often it failed) and its checkpoints, the primary one first: with a step, and not named
        last, best or latest, if there is such a one.  One that is not `current` was superseded: its path holds
        something else by now.  `also` lists the other names that hold the same weights.
        """
        done = {evaluated.weights for evaluated in self.evaluations.values() if evaluated.results}
        failures = self._failures()
        rows = rows_of.by_name(self._by_digest(run))
        for row in rows:
            row["failure"], row["attempts"] = failures.get(row["digest"], (None, 0))
            row["state"] = "done" if row["digest"] in done else "failed" if row["failure"] else "seen"
        return sorted(rows + rows_of.failed(self._checkpoints(run), self._codes.readings), key=rows_of.order)

    def slices(self) -> list[str]:
        """Return the slices that are on record, `name=value`, sorted."""
        files = (file for evaluated in self.evaluations.values() for file in evaluated.results.values())
        return sorted({label for file in files for label in file.labels()})

    def has_run(self, run: str) -> bool:
        """Return whether a run has a folder."""
        return run in self._runs

    def checkpoint_files(self, run: str) -> list[Row]:
        """Return the checkpoint records of a run, failures included."""
        return self._checkpoints(run)

    @property
    def codes(self) -> CodeStanding:
        """What decides which evaluations stand under the code of now."""
        return self._codes

    def standing(self, spec: Row) -> Standing:
        """Return what an evaluation with this spec is worth under the code of now."""
        return self._codes.of(spec)

    def _shown(
        self, files: Sequence[tuple[str, ResultsFile]], data: str | None, metric: str | None, slices: str | None
    ) -> Iterator[str]:
        """Yield the lines of some weights, from "data" on: of equal values the one of the best standing."""
        if len(files) == 1 and slices == ALL and metric is None and data in (None, files[0][1].data):
            file = files[0][1]
            lines, spec = file.lines, file.spec or {}  # the many need no choice
            standing = self.standing(spec)
            yield from (_marked(lines[place], standing, spec)[1:] for place in file.ordered())
            return
        best: dict[tuple[Any, ...], tuple[ResultsFile, ValueKey]] = {}
        for file in self._by_standing(files):
            if data in (None, file.data):
                for by_slice in (False, True) if slices is None else (slices != ALL,):
                    for held in file.held(slices=by_slice):
                        if metric in (None, held.metric) and _wanted(held.slice, slices):
                            best.setdefault((file.data, *place_of(held)), (file, held))
        for place in sorted(best):
            file, held = best[place]
            yield _marked(file.line(held), self.standing(file.spec or {}), file.spec or {})[1:]

    def _by_standing(self, files: Sequence[tuple[str, ResultsFile]]) -> list[ResultsFile]:
        """Return files with those first that are shown: not of earlier code, most rows, by no check, the newest."""

        def rank(one: tuple[str, ResultsFile]) -> tuple[Any, ...]:
            key, file = one
            standing = self.standing(file.spec or {})
            return not standing.earlier, file.covered, standing is CURRENT, file.created, key, file.path

        return [file for _, file in sorted(files, key=rank, reverse=True)]

    # ------------------------------------------------------------------------------------------------------- reading

    def _refresh_codes(self) -> None:
        changed = self._changed("codes")
        if changed is not None:
            before, self._codes = self._codes, Codes(FolderStorage(Path(self._root))).standing()
            self.version += self._codes != before
            self._times["codes"] = changed.time

    def _refresh_runs(self) -> None:
        runs = _subfolders(f"{self._root}/runs")
        for gone in self._runs.keys() - set(runs):
            del self._runs[gone]
            self.version += 1
        for run in runs:
            folder = f"runs/{run}/checkpoints"
            changed = self._changed(folder)
            held = self._runs.setdefault(run, {})
            if changed is not None:
                self._take(folder, changed, changed.names, held, rows_of.read_checkpoint)

    def _refresh_evaluations(self) -> None:
        there: set[str] = set()
        for shelf in _subfolders(f"{self._root}/evaluations"):
            changed = self._changed(f"evaluations/{shelf}")
            if changed is not None:
                self._shelves[shelf] = changed.names
                self._times[f"evaluations/{shelf}"] = changed.time
            there.update(self._shelves.get(shelf, ()))
            for key in self._shelves.get(shelf, ()):
                self._refresh_evaluation(key, f"evaluations/{shelf}/{key}")
        for gone in self.evaluations.keys() - there:
            del self.evaluations[gone]
            self.version += 1

    def _refresh_evaluation(self, key: str, folder: str) -> None:
        changed = self._changed(folder)
        evaluated = self.evaluations.get(key)
        if changed is not None:
            evaluated = evaluated or self.evaluations.setdefault(key, EvaluationFiles())
            names = [name for name in changed.names if is_results(name)]
            self._take(folder, changed, names, evaluated.results, ResultsFile)
        below = f"{folder}/failures"
        if evaluated is not None and (below in self._times or (changed is not None and "failures" in changed.names)):
            failed = self._changed(below)
            if failed is not None:
                self._take(below, failed, failed.names, evaluated.failures, read_plain)

    def _changed(self, folder: str) -> "_Changed | None":
        """Return what lies in a folder that may have changed since it was taken, None where it has not."""
        path = f"{self._root}/{folder}"
        try:
            with readable(path):
                changed = os.stat(path).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return _Changed([], _UNSURE) if self._times.pop(folder, None) is not None else None
        if self._times.setdefault(folder, _UNSURE) == changed:
            return None
        now = time.time_ns()
        return _Changed(_subfolders(path), changed if now - changed > _RACY_NS else _UNSURE)

    def _take(
        self, folder: str, changed: "_Changed", names: list[str], held: dict[str, Any], read: Callable[[str], Any]
    ) -> None:
        """Read the files of a folder that are new, and forget those that are gone."""
        whole = True
        for gone in held.keys() - set(names):
            del held[gone]
            self.version += 1
        for name in names:
            if name not in held:
                path = f"{self._root}/{folder}/{name}"
                try:
                    held[name] = read(path)
                    self.version += 1
                except FileNotFoundError:
                    whole = False
                except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
                    whole = False
                    self._on_damage(error if isinstance(error, StoreError) else _unlike_ours(path, error))
        if whole:
            self._times[folder] = changed.time

    def _checkpoints(self, run: str | None) -> list[Row]:
        runs = [run] if run is not None else list(self._runs)
        found = [dict(row) for name in runs for row in self._runs.get(name, {}).values()]
        rows_of.join_names(found)
        return found

    def _by_digest(self, run: str | None) -> list[Row]:
        return rows_of.by_digest(self._checkpoints(run), self._codes.readings)

    def _failures(self) -> dict[str, tuple[dict[str, str], int]]:
        """Return the latest failure of evaluations without results, and how often they failed, by weights."""
        found: dict[str, tuple[dict[str, str], int]] = {}
        done = _done(self.evaluations.values(), self.standing)
        for _, evaluated in sorted(self.evaluations.items()):
            for one in sorted(evaluated.failures.values(), key=lambda one: int(one["attempt"])):
                known = found.get(evaluated.weights, ({}, 0))
                past = evaluated.results or _is_past(one, done)
                if not past and one["attempt"] >= known[1]:
                    shown = {"kind": one["kind"], "message": one["message"]}
                    found[evaluated.weights] = shown, one["attempt"]
        return found


def _is_whole(file: ResultsFile, slices: str | None, on_damage: OnDamage) -> bool:
    """Return whether the values of a file can be read."""
    try:
        return bool(file.lines) and (slices == ALL or bool(file.slice_lines))
    except StoreError as error:
        on_damage(error)
        return False


def _unlike_ours(path: str, error: Exception) -> StoreError:
    return StoreError(
        f"{path}: expected what Milepost writes, found damage or another version's file ({error!r}); delete it to have "
        "it made again"
    )


def _done(evaluations: Iterable[EvaluationFiles], standing: Callable[[Row], Standing]) -> dict[tuple[Any, ...], str]:
    """Return when the newest results of each subject that the code of now has were begun."""
    found: dict[tuple[Any, ...], str] = {}
    for evaluated in evaluations:
        spec = evaluated.spec
        if spec and not standing(spec).earlier:
            found[_subject(spec)] = max(found.get(_subject(spec), ""), str(spec.get("created") or ""))
    return found


def _marked(line: str, standing: Standing, spec: Row) -> str:
    """Return the line of a value with what its code's standing adds, and on what its data's identity rests."""
    if weak := spec.get("rests_on"):
        line = f'{line[:-1]}, "rests_on": {json.dumps(weak)}}}'
    if standing is CURRENT:
        return line
    shown = json.loads(line)
    shown["status"] = standing.status(shown["status"])
    if standing.check is not None:
        shown["code_check"] = standing.check.plain()
    return json.dumps(shown)


def _subject(spec: Row) -> tuple[Any, ...]:
    """Return what stays the same where an evaluation's code or data changes."""
    return tuple(spec.get(key) for key in ("weights", "data_name", "file", "entry"))


def _is_past(failure: Row, done: Mapping[tuple[Any, ...], str]) -> bool:
    """Return whether the same was evaluated by other code, or on other data, after it failed."""
    spec = failure.get("evaluation") or {}
    return bool(spec.get("file")) and done.get(_subject(spec), "") > str(failure.get("at") or "~")


def _wanted(label: str, slices: str | None) -> bool:
    return slices is None or label == slices or ("=" not in slices and label.startswith(f"{slices}="))


def _subfolders(path: str) -> list[str]:
    try:
        with readable(path):
            return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
