"""The best checkpoint and its rivals as lines."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from milepost._internal import html
from milepost.core.escaping import escaped
from milepost.report._align import WIDTH, align, plain, shown, unbroken, wrapped
from milepost.report._numbers import decimals, interval, method, number, span_of, value_of
from milepost.report._ranking import value_of_record
from milepost.report.table import Plain, base_name
from milepost.stats.tied_set import PairResult
from milepost.store.code_standing import is_earlier

if TYPE_CHECKING:
    from milepost.report.best import Best

_HEADS = ("place", "step", "value", "interval", "best - it", "p")


def lines_of(found: "Best") -> list[str]:
    """Return the best with what its value is worth, a table of those that are not worse, and remarks."""
    return [*wrapped(_about(found)), *_table(_rows(found)), *wrapped(_below(found))]


def html_of(found: "Best") -> str:
    """Return the same as HTML for notebooks."""
    rows = [[*cells, label] for cells, label in _rows(found)]
    right = [False, True, True, True, True, True, False]
    table = html.table([*_HEADS, "checkpoint"], rows, right)
    return html.paragraphs(map(plain, _about(found))) + table + html.paragraphs(map(plain, _below(found)))


def _places(found: "Best") -> int:
    return max(decimals(found.best.get("n")), 4)


def _rows(found: "Best") -> list[tuple[list[str], str]]:
    places = _places(found)
    rows = [_cells("best", found.best, None, places)]
    rows += [_cells("tied", rival.record, rival.pair, places) for rival in found.tied]
    return rows + [_cells("untested", rival.record, None, places) for rival in found.untested]


def _below(found: "Best") -> list[str]:
    return [*_tested(found), *_files(found), *_left_out(found)]


def _table(rows: list[tuple[list[str], str]]) -> list[str]:
    """Draw the rows with the checkpoints behind them, or on lines of their own where these are too long."""
    lines, labels = align(_HEADS, [cells for cells, _ in rows]), ["checkpoint", *(label for _, label in rows)]
    width = max(map(len, lines)) + 2
    if width + max(map(len, labels)) <= WIDTH:
        return [f"{line.ljust(width)}{label}" for line, label in zip(lines, labels, strict=True)]
    return [text for line, label in zip(lines, labels, strict=True) for text in (line, f"  {label}")]


def _about(found: "Best") -> Iterator[str]:
    record, ranking, places = found.best, found.ranking, _places(found)
    span = next(iter(record.get("intervals") or ()), None)
    where = ranking.data if found.slice == "all" else f"{ranking.data}, slice {found.slice}"
    about = f"{ranking.metric} ({ranking.direction} is better) on {where}, {record['status']}: "
    about += value_of(record, places)
    if span:
        about += f" {interval(*span_of(record), places)}" + (f" ({method(span)})" if "level" in span else "")
    yield about
    if found.selection is not None:
        chosen = found.selection
        away = f"{abs(chosen.optimism):.{places}f}"
        beside = f"{away} {'better' if chosen.optimism >= 0 else 'worse'}" if float(away) else "the same"
        yield (
            f"selected among {chosen.among}: cross-fitted {number(chosen.value, places)} "
            f"{interval(chosen.interval.low, chosen.interval.high, places)}: what the best of nine tenths of the rows "
            f"scores on the rest; the value above is {beside}"
        )


def _tested(found: "Best") -> Iterator[str]:
    if found.test is not None:
        worse, tied = len(found.worse), len(found.tied)
        yield (
            f"{tied} tied with the best, {worse} significantly worse: {found.test.name} ({found.test.pairs:,}), "
            f"significant below p = {found.test.threshold:.2g}"
        )
    for why in dict.fromkeys(rival.why for rival in found.untested):
        alike = [rival for rival in found.untested if rival.why == why]
        yield f"{len(alike)} untested, neither tied nor worse: {why}"
    if found.selection is None and found.test is not None:
        yield "no cross-fitted value: it takes rows of all of those compared, not all with the same values"
    if is_earlier(found.best["status"]):
        yield "every value is of earlier code: with the code of now the values, and the best, may be others"
    elif found.best["status"] != "ok":
        yield "every checkpoint is covered in part only: the values may be about different rows"


def _files(found: "Best") -> Iterator[str]:
    yield unbroken(f"{escaped(found.file.path)}: {found.file.state}")
    if found.there is not None and found.there_file is not None:
        value = number(value_of_record(found.there), max(decimals(found.there.get("n")), 4))
        yield f"the best that is still there: {unbroken(escaped(found.there_file.path))}, {value}"
    elif not found.file.here:
        yield "no file holds the weights of any of those compared"


def _left_out(found: "Best") -> Iterator[str]:
    ranking = found.ranking
    left_out = {
        "restored in part": ranking.missing,
        "covered in part": ranking.partial,
        "undefined": ranking.undefined,
        "of earlier code": ranking.earlier,
        f"other data under the name {ranking.data}": ranking.elsewhere,
    }
    for word, held in left_out.items():
        if held:
            names = (f"{_label(record)} ({record['status']})" for record in held)
            yield f"not compared, {word}: {', '.join(names)}"
    if found.failed:
        yield f"{found.failed} failed, and have no value: `milepost failures` lists them"


def _cells(place: str, record: Plain, pair: PairResult | None, places: int) -> tuple[list[str], str]:
    tested = ["-", "-"]
    if pair is not None and pair.p_value is not None:
        tested = [number(pair.difference, places), f"{pair.p_value:.2g}"]
    value, span = number(value_of_record(record), places), interval(*span_of(record), places) or "-"
    return [place, shown(record["checkpoint"].get("step")), value, span, *tested], _label(record)


def _label(record: Plain) -> str:
    checkpoint = record["checkpoint"]
    return str(record.get("label") or escaped(base_name(str(checkpoint.get("path") or checkpoint["digest"]))))
