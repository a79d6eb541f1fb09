"""The best checkpoint by one value, which others are tied with it, and what its value is worth."""

from dataclasses import asdict, dataclass
from typing import Any

from milepost.report._best_text import html_of, lines_of
from milepost.report._evidence import Evidence, evidence
from milepost.report._ranking import Ranking, ranking_of
from milepost.report._whereabouts import FileNow, Whereabouts
from milepost.report.addresses import run_id
from milepost.report.table import Plain
from milepost.stats.interval import Interval
from milepost.stats.tied_set import LEVEL, PairResult
from milepost.store.listing import Listing
from milepost.store.records import number
from milepost.store.store import Store

_GROUPS = ("partial", "undefined", "elsewhere", "missing", "earlier")


@dataclass(frozen=True, slots=True)
class Rival:
    """Another checkpoint's record, and the best held against it; `why` says why not, where `pair` is None."""

    record: Plain
    pair: PairResult | None = None
    why: str = ""

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        pair = None if self.pair is None else asdict(self.pair)
        shown = {} if pair is None else {key: pair[key] for key in ("difference", "standard_error", "p_value")}
        return {**_short(self.record), **shown, **({"why": self.why} if self.why else {})}


@dataclass(frozen=True, slots=True)
class PairTests:
    """How the pairs were tested: all `pairs` of those compared, each significant below a p-value of `threshold`.

    At most `level` of all data sets then call any checkpoint worse that is not.
    """

    name: str
    level: float
    pairs: int
    threshold: float


@dataclass(frozen=True, slots=True)
class Selection:
    """What choosing the best `among` so many yields on rows that did not choose (10 folds), and its interval.

    `optimism` is by how much the best's own value is better than that.
    """

    among: int
    value: float
    optimism: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Best:
    """One checkpoint and its rivals; prints as lines.

    `worse` are significantly worse than the best, corrected for all pairs, `tied` are not; `untested` could not be
    paired with it.  `test` is None where none could, `selection` where not all could.  `file` is where the best's
    weights lie now; where they are gone, `there` is the best that is still there, `there_file` its file.  Not compared:
    see `Ranking`; `failed` counts the checkpoints that have no value because they failed.
    """

    ranking: Ranking
    slice: str
    tied: tuple[Rival, ...]
    worse: tuple[Rival, ...]
    untested: tuple[Rival, ...]
    test: PairTests | None
    selection: Selection | None
    file: FileNow
    there: Plain | None = None
    there_file: FileNow | None = None
    failed: int = 0

    @property
    def best(self) -> Plain:
        """The record of the best."""
        return self.ranking.ranked[0]

    @property
    def still_there(self) -> tuple[Plain, FileNow]:
        """The best record whose file still holds its weights, and that file; the best of all where none does."""
        return (self.best, self.file) if self.there is None else (self.there, self.there_file or self.file)

    def plain(self) -> dict[str, Any]:
        """Return what `--json` prints: the best's record, and the others by checkpoint, value, interval and pair."""
        ranking = self.ranking
        there = None if self.there is None else {**_short(self.there), "file": asdict(self.there_file or self.file)}
        return {
            "event": "best",
            "metric": ranking.metric,
            "direction": ranking.direction,
            "data": ranking.data,
            "slice": self.slice,
            "best": {key: item for key, item in self.best.items() if key not in ("event", "metric", "data")},
            "file": asdict(self.file),
            "still_there": there,
            "selection": None if self.selection is None else _selection(self.selection),
            "test": None if self.test is None else asdict(self.test),
            **{group: [rival.plain() for rival in getattr(self, group)] for group in ("tied", "worse", "untested")},
            **{group: [_short(record) for record in getattr(ranking, group)] for group in _GROUPS},
            "compared": len(ranking.ranked),
            "failed": self.failed,
        }

    def lines(self) -> list[str]:
        """Return what it prints as."""
        return lines_of(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__  # what a notebook and a prompt show of the last line

    def _repr_html_(self) -> str:
        return html_of(self)


def best_of(
    store: Store,
    metric: str,
    data: str | None = None,
    run: str | None = None,
    part: str = "all",
    variant: str | None = None,
) -> Best:
    """Return the best checkpoint of a store by the exact value `metric`, and which others are tied with it.

    `data` names the data set where there are several, `run` keeps to one run, `variant` to one set of weights,
    `part` is a slice (`name=value`).  Raises
    UsageError where no such value is on record, where none is defined, and where there are several data sets or values
    of a slice to choose from.
    """
    listing = store.listing()
    ranking = ranking_of(store, listing, metric, data, run, part, variant)
    rivals, found = rivals_of(store, listing, ranking, ranking.ranked[0], part)
    places = Whereabouts(store, listing)
    file = places.of(ranking.ranked[0]["checkpoint"])
    there, there_file = _there(ranking, places) if not file.here else (None, None)
    return Best(
        ranking,
        part,
        tied=tuple(rival for rival in rivals if rival.pair is not None and not rival.pair.worse),
        worse=tuple(rival for rival in rivals if rival.pair is not None and rival.pair.worse),
        untested=tuple(rival for rival in rivals if rival.pair is None),
        test=None if found is None else _test(found),
        selection=None if found is None or found.lacking else _selected(found),
        file=file,
        there=there,
        there_file=there_file,
        failed=sum(row["state"] == "failed" for row in listing.checkpoints(run_id(store, run))),
    )


def rivals_of(
    store: Store, listing: Listing, ranking: Ranking, best: Plain, part: str = "all"
) -> tuple[list[Rival], Evidence | None]:
    """Hold one ranked record against each other one, in their order; the evidence is None where none can be paired."""
    others = [record for record in ranking.ranked if record is not best]
    higher = ranking.direction == "higher"
    found = evidence(store, listing, [best, *others], part, higher=higher) if others else {}
    if not isinstance(found, Evidence):
        return [Rival(record, why=found[str(record["checkpoint"]["digest"])]) for record in others], None
    pairs = {id(record): pair for record, pair in zip(found.records, found.ties.pairs, strict=True)}
    return [_rival(record, pairs.get(id(record)), found) for record in others], found


def _rival(record: Plain, pair: PairResult | None, found: Evidence) -> Rival:
    if pair is None:
        return Rival(record, why=found.lacking[str(record["checkpoint"]["digest"])])
    if pair.p_value is None:
        return Rival(record, why="the difference is the same on every row, so that it cannot be tested")
    return Rival(record, pair)


def _test(found: Evidence) -> PairTests | None:
    models = len(found.records)
    return PairTests(found.ties.test, LEVEL, models * (models - 1) // 2, found.ties.level) if models > 1 else None


def _selected(found: Evidence) -> Selection | None:
    fitted, value = found.winner(), number(found.records[0]["value"])
    if fitted is None or value is None:
        return None
    optimism = (value - fitted[0]) * (1 if found.higher else -1)
    return Selection(len(found.records), fitted[0], optimism, fitted[1])


def _there(ranking: Ranking, places: Whereabouts) -> tuple[Plain | None, FileNow | None]:
    for record in ranking.ranked[1:]:
        file = places.of(record["checkpoint"])
        if file.here:
            return record, file
    return None, None


def _selection(found: Selection) -> dict[str, Any]:
    return {**asdict(found), "interval": found.interval.plain()}


def _short(record: Plain) -> dict[str, Any]:
    kept = {key: record.get(key) for key in ("run", "checkpoint", "label", "value", "n", "status")}
    return {**kept, "intervals": list(record.get("intervals") or ())}
