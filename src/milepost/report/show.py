"""Everything known of one checkpoint as titled sections of label and text, and these as lines."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost._internal.text import counted
from milepost.core.escaping import escaped, one_line
from milepost.report._model_check import NearTies, model_check_text, rounding_text
from milepost.report._numbers import count, decimals, duration, interval, is_share, method, value_of
from milepost.report.gap import explain
from milepost.report.show_data import inputs_lines, slice_lines
from milepost.report.table import Plain, checkpoints_of, each, failure_of, rank
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.code_standing import CURRENT, EARLIER, Standing, is_earlier
from milepost.store.records import ALL
from milepost.store.records import number as as_number

_PLACES = 6
_PAIR = 2
_APART = ("timings", "rows", "column_set", "model_check", "inputs", "outputs")


@dataclass(frozen=True, slots=True)
class Section:
    """A title and its lines: a label ("" continues the one above) and a text."""

    title: str
    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a store holds of one evaluation: its spec, its data set's, and the environments that its parts come from.

    `ties` are the rows that rounding could move, None where that is not known; `doubled` warns of rows that are there
    twice; `standing` is what it is worth under the code of now.
    """

    key: str
    spec: Plain
    data: Plain = field(default_factory=dict)
    environments: Sequence[Plain] = ()
    failures: Sequence[Plain] = ()
    ties: NearTies | None = None
    doubled: str | None = None
    standing: Standing = CURRENT


def describe(
    checkpoint: Plain,
    records: Iterable[Plain],
    evaluations: Iterable[Evaluated],
    notes: Plain | None = None,
    folded: Sequence[tuple[str, str]] = (),
) -> list[Section]:
    """Arrange a checkpoint's row, its records and its evaluations as sections; `notes` say how it was restored.

    `folded` are lines for evaluations that are not among them.

    >>> describe({"run": "lenet", "step": 9, "name": "a", "path": "a.npz", "digest": "d1"}, [], [])[0].lines[1]
    ('step', '9')
    """
    kept = {**notes, "overrides": _arrows(notes["overrides"])} if notes and "overrides" in notes else notes
    sections = [_identity(checkpoint), _flat_section("restored", kept or {})]
    evaluated = list(evaluations)
    groups = defaultdict[tuple[str, bool], list[Plain]](list)
    slices = defaultdict[tuple[str, bool], list[Plain]](list)
    for record in records:
        kind = record["data"], is_earlier(record.get("status"))
        (groups if record.get("slice") in (None, ALL) else slices)[kind].append(record)
    sections += [_results(data, group, evaluated) for (data, _), group in sorted(groups.items(), key=_is_old)]
    for (data, earlier), rows in slices.items():
        title = f"slices of {data}" + f", {EARLIER}" * earlier
        sections.append(Section(title, _column("", slice_lines(rows))))
    for one in evaluated:
        sections.append(_flat_section(_titled(one), _spelled(one.spec)))
        sections.append(Section("code", _column("", _code(one.standing))))
        sections.append(_flat_section("data set", one.data))
        sections.append(Section("inputs", inputs_lines(one.data, one.environments)))
        sections += _environments(one.environments)
        sections += [_flat_section("failed attempt", failure) for failure in one.failures]
    if folded:
        sections.append(Section("other evaluations (--all describes them whole)", folded))
    return [section for section in sections if section.lines]


def _titled(one: Evaluated) -> str:
    """Return what an evaluation's sections are headed by: its data set, whether the code is earlier, and its key."""
    what = f"of {one.spec['data_name']}, " if one.spec.get("data_name") else ""
    return f"evaluation {what}{f'{EARLIER}, ' * one.standing.earlier}{one.key}"


def _is_old(group: tuple[tuple[str, bool], list[Plain]]) -> bool:
    return group[0][1]


def drawn(sections: Sequence[Section]) -> list[str]:
    """Return sections as lines: the title, then indented labels and texts in two columns.

    >>> drawn([Section("checkpoint", (("step", "9"), ("digest", "d1")))])
    ['checkpoint', '  step    9', '  digest  d1']
    """
    lines: list[str] = []
    for section in sections:
        width = max((len(label) for label, _ in section.lines), default=0)
        lines += [""] * bool(lines) + [one_line(section.title)]
        gutter = "  " if width else ""
        lines += [one_line(f"  {label.ljust(width)}{gutter}{text}".rstrip()) for label, text in section.lines]
    return lines


def _identity(checkpoint: Plain) -> Section:
    lines = [
        (label, ", ".join(escaped(str(value)) for value in each(checkpoint, key)) or "unknown")
        for label, key in (("run", "run"), ("step", "step"), ("names", "name"))
    ]
    lines.append(("digest", str(checkpoint.get("digest") or "none: its weights were not restored")))
    lines.append(("variant", escaped(str(checkpoint.get("variant") or "raw"))))
    lines += _column("paths", map(_path, checkpoints_of(checkpoint)))
    lines.append(("state", str(checkpoint.get("state") or "unknown")))
    if failure := failure_of(checkpoint):
        lines += _column("failure", f"{failure[0]}: {failure[1]}".strip().split("\n"))
    return Section("checkpoint", lines)


def _code(standing: Standing) -> list[str]:
    """Say what an evaluation is worth under the code of now; nothing where it is of it."""
    if standing.earlier:
        return [f"{EARLIER}: with the code of now the values may be others"]
    return [] if standing.check is None else [f"{standing.check}; `milepost run --again` evaluates again"]


def _path(checkpoint: Plain) -> str:
    looked_at = f", seen {checkpoint['seen']}" if checkpoint.get("seen") else ""
    superseded = ", holds something else by now" if checkpoint.get("overwritten", False) else ""
    return f"{escaped(str(checkpoint.get('path')))}{looked_at}{superseded}"


def _results(data: str, group: Sequence[Plain], evaluated: Sequence[Evaluated]) -> Section:
    exact = [record for record in group if record["estimator"] == "exact"]
    exact.sort(key=lambda record: rank(record["metric"], share=is_share(record)))
    first = exact[0] if exact else group[0]
    lines = [
        ("rows", f"{count(first.get('n'))} ({first.get('status')})"),
        ("tied", f"{counted(_most(group, 'tied'), 'row')} whose label shares its score with another class"),
        ("nonfinite", f"{counted(_most(group, 'nonfinite'), 'row')} with a score that is not a number"),
    ]
    checks = (CodeEquivalence.of(record["code_check"]) for record in group if record.get("code_check"))
    lines += [("code", text) for check in dict.fromkeys(checks) for text in _code(Standing(check=check))]
    texts = dict.fromkeys(text for record in group for text in (record.get("warnings") or {}).values())
    lines += [("warning", text) for text in texts]
    lines += [("data", text) for text in dict.fromkeys(filter(None, (record.get("rests_on") for record in group)))]
    ours = [one for one in evaluated if one.spec.get("data_name") == data]
    lines += [("doubled", text) for text in dict.fromkeys(one.doubled for one in ours if one.doubled)]
    what = "top1" if any(record["metric"] == "top1" for record in exact) else "predictions"
    lines += [("rounding", text) for text in _rounding(ours, what, earlier=is_earlier(first.get("status")))]
    for record in exact:
        means = (other for other in group if other["estimator"] == "batch_mean")
        lines += _metric(record, [mean for mean in means if mean["metric"] == record["metric"]])
    return Section(f"data {data}" + f", {EARLIER}" * is_earlier(first.get("status")), lines)


def _rounding(evaluated: Iterable[Evaluated], what: str, *, earlier: bool) -> list[str]:
    """Say what rounding could move; where several evaluations give the values, of which each is said."""
    of = [one for one in evaluated if one.ties is not None and one.standing.earlier == earlier]
    texts = {one.key: rounding_text(one.ties, what) for one in of if one.ties is not None}
    if len(set(texts.values())) < 2:  # noqa: PLR2004 - one text needs no names
        return list(texts.values())[:1]
    return [f"{text}; evaluation {key}" for key, text in texts.items()]


def _metric(record: Plain, means: Sequence[Plain]) -> list[tuple[str, str]]:
    places = max(_PLACES, decimals(record.get("n")))
    found = [(str(record["metric"]), value_of(record, places))]
    for span in record.get("intervals") or ():
        bounds = interval(as_number(span["low"]), as_number(span["high"]), places)
        found.append(("", f"{bounds} {method(span)}"))
        found += [("", f"note: {span['note']}")] if span.get("note") else []
    if record.get("note"):
        found.append(("", f"note: {record['note']}"))
    for mean in means:
        found.append(("", f"batch mean of {mean.get('batch_size')} rows: {value_of(mean, places)}; {explain(mean)}"))
        if mean.get("note") and mean["note"] != record.get("note"):
            found.append(("", f"note: {mean['note']}"))
    return found


def _environments(environments: Sequence[Plain]) -> Iterator[Section]:
    described = [_flat({key: value for key, value in item.items() if key not in _APART}) for item in environments]
    different = len(set(map(tuple, described)))
    title = f"environment: mixed, {different} different" if different > 1 else "environment"
    for place, environment in enumerate(environments):
        if place:  # columns that were added later come with an environment of their own, often the same one
            seen = described[place] in described[:place]
            title = "environment, the same for other columns" if seen else "environment, another"
        lines = [("rows", count(environment.get("rows")))] if environment.get("rows") is not None else []
        lines += described[place]
        if environment.get("model_check"):
            lines.append(("model check", model_check_text(environment["model_check"])))
        if timings := environment.get("timings"):
            lines.append(("timings", ", ".join(f"{name} {duration(seconds)}" for name, seconds in timings.items())))
        yield Section(title, lines)


def _spelled(spec: Plain) -> Plain:
    """Return a spec with a word for the settings that are not set or empty, which `_flat` would leave out."""
    words = {None: "(not set)", "": "(empty)"}
    settings = {name: words.get(value, value) for name, value in (spec.get("settings") or {}).items()}
    spelled = {**spec, "settings": settings} if settings else spec
    return {**spelled, "model": _arrows(spec["model"])} if isinstance(spec.get("model"), Mapping) else spelled


def _arrows(given: Plain) -> Plain:
    """Return what a user gave of names with each rename as one text, since one to nothing is one too.

    >>> _arrows({"restore": {"tower.": ""}, "rename": [["_(.)$", ""]], "keep": ["w"]})
    {'restore': ['tower. -> (nothing)'], 'rename': ['_(.)$ -> (nothing)'], 'keep': ['w']}
    """
    shown = dict(given)
    if isinstance(given.get("restore"), Mapping):
        shown["restore"] = [f"{old or '(top)'} -> {new or '(nothing)'}" for old, new in given["restore"].items()]
    pairs = given.get("rename")
    if isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == _PAIR for pair in pairs):
        shown["rename"] = [f"{old} -> {new or '(nothing)'}" for old, new in pairs]
    return shown


def _flat_section(title: str, value: Plain) -> Section:
    return Section(title, _flat(value))


def _flat(value: Plain, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested plain data as dotted labels and texts."""
    found: list[tuple[str, str]] = []
    for key, item in value.items():
        label = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            found += _flat(item, f"{label}.")
        elif isinstance(item, list | tuple) and any(isinstance(entry, Mapping) for entry in item):
            found += _column(label, map(_one_line, item))
        elif item is not None and item not in ("", [], (), {}):
            found.append((label, _one_line(item)))
    return found


def _one_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_one_line(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_one_line(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("\n", " ")


def _column(label: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    return [(label if place == 0 else "", text) for place, text in enumerate(texts)]


def _most(group: Sequence[Plain], key: str) -> int:
    return max((int(record.get(key) or 0) for record in group), default=0)
