"""Every registered metric keeps the published laws, and the laws find a metric that does not."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import milepost.metrics
from milepost.core.types import Array, Columns, Value
from milepost.errors import UsageError
from milepost.metrics._mean import counted, share
from milepost.metrics._states import Tally
from milepost.registry import classes
from milepost.testing import metrics as laws
from milepost.testing.metrics import check_metric, columns_for
from milepost.testing.variants import variants

EVERY = [metric for cls in classes("metrics").values() for metric in variants(cls)]
POOL = 400


@cache
def pool(metric: Any) -> Columns:
    return columns_for(metric, POOL)


@st.composite
def streams(draw: st.DrawFn, metric: Any) -> tuple[Columns, Array | None]:
    """Draw some rows of a metric's hard samples, and weights or none; shrinks to few rows and whole weights."""
    rows = draw(st.lists(st.integers(0, POOL - 1), max_size=40))
    numbers = st.integers(1, 3).map(float) | st.floats(1e-60, 1e60)
    weights = draw(st.none() | st.lists(numbers, min_size=len(rows), max_size=len(rows)))
    columns = {name: item[np.array(rows, np.int64)] for name, item in pool(metric).items()}
    return columns, None if weights is None else np.array(weights)


@pytest.mark.parametrize("metric", EVERY, ids=str)
def test_a_registered_metric_keeps_the_laws(metric: Any) -> None:
    check_metric(metric, pool(metric))

    @settings(max_examples=12)
    @given(streams(metric))
    def on_any_rows(stream: tuple[Columns, Array | None]) -> None:
        check_metric(metric, *stream)

    on_any_rows()


TOY = '''
"""Agreement: the share of rows whose prediction is the label."""

from dataclasses import dataclass
from typing import ClassVar

from milepost.metrics._mean import counted, share


@dataclass(frozen=True)
class Agreement:
    """Share of rows whose prediction is the label."""

    name: ClassVar[str] = "agreement"
    headline: ClassVar[str] = "agreement"
    columns: ClassVar[tuple[str, ...]] = ("label", "prediction")
    direction: ClassVar[str] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def state(self, columns, weights):
        return counted(columns["label"] == columns["prediction"], weights)

    def values(self, state):
        return {"agreement": share(state)}
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return what drops a file into the room of metrics."""
    monkeypatch.setattr(milepost.metrics, "__path__", [*milepost.metrics.__path__, str(tmp_path)])

    def drop(text: str) -> None:
        (tmp_path / "agreement.py").write_text(text, encoding="utf-8")

    yield drop
    sys.modules.pop("milepost.metrics.agreement", None)
    for name in ("agreement", "Agreement"):
        vars(milepost.metrics).pop(name, None)


def test_one_file_is_found_and_judged(toy: Callable[[str], None]) -> None:
    toy(TOY)
    found = classes("metrics")["agreement"]
    for metric in variants(found):
        check_metric(metric, columns_for(metric))
    assert found is milepost.metrics.__getattr__("Agreement")


def test_one_wrong_file_is_found_and_refused(toy: Callable[[str], None]) -> None:
    toy(
        TOY.replace('{"agreement": share(state)}', '{"agreement": Value(0.0)}').replace(
            "import counted", "import Value, counted"
        )
    )
    [metric] = variants(classes("metrics")["agreement"])
    with pytest.raises(AssertionError, match=r"agreement of no rows is 0.0, expected None"):
        check_metric(metric, columns_for(metric))


@dataclass(frozen=True)
class Right:
    """The base of the faulty ones: it is right itself."""

    name: ClassVar[str] = "right"
    headline: ClassVar[str] = "right"
    columns: ClassVar[tuple[str, ...]] = ("rank",)
    direction: ClassVar[str] = "higher"
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def contribution(self, columns: Columns) -> Array:
        return np.asarray(columns["rank"] == 0)

    def state(self, columns: Columns, weights: Array | None) -> Any:
        return counted(columns["rank"] == 0, weights)

    def values(self, state: Any) -> dict[str, Value]:
        return {"right": share(state)}

    def tables(self, state: Any) -> dict[str, Array]:
        return {"n": np.array([state.count("n")])}


class Sloppy(Right):
    """Sums in float32 and keeps the running mean."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        shares = (columns["rank"] * np.float32(0.1)).astype(np.float32)
        bits = np.sum(shares, dtype=np.float32).view(np.int32)
        return Tally({"bits": np.int64(bits), "n": np.int64(len(shares))})

    def values(self, state: Any) -> dict[str, Value]:
        return {"right": Value(0.5 if state.count("n") else None, note="no rows")}


class First(Right):
    """Remembers the first row of a part."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        rank = columns["rank"]
        return Tally({"first": np.int64(rank[0] if len(rank) else 0), "n": np.int64(len(rank))})

    def values(self, state: Any) -> dict[str, Value]:
        n = state.count("n")
        return {"right": Value(state.count("first") % 2 if n else None, note="no rows")}


class Unweighted(Right):
    """Ignores the weights."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        return counted(columns["rank"] == 0, None)


class Percent(Right):
    """Says a ratio and gives per cent."""

    def values(self, state: Any) -> dict[str, Value]:
        value = share(state).value
        return {"right": Value(None if value is None else 100.0 * value, note="no rows")}


class Nan(Right):
    """Gives NaN where it has no value."""

    def values(self, state: Any) -> dict[str, Value]:
        value = share(state)
        return {"right": Value(float("nan")) if state.count("n") % 2 else value}


class Late(Right):
    """Gives its headline second."""

    def values(self, state: Any) -> dict[str, Value]:
        return {"n": Value(None, note="none"), "right": share(state)}


class Wrong(Right):
    """Its contributions are those of another number."""

    def contribution(self, columns: Columns) -> Array:
        return np.asarray(columns["rank"] < 2)


class Writes(Right):
    """Writes into its columns."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        columns["rank"][...] = 0
        return super().state(columns, weights)


class Lenient(Right):
    """Its states take in anything."""

    def state(self, columns: Columns, weights: Array | None) -> Any:
        state = super().state(columns, weights)
        return _Lenient(state.counts, state.sums)


class _Lenient(Tally):
    def merge(self, other: Any) -> Any:
        counts = {name: self.counts[name] + other.counts.get(name, 0) for name in self.counts}
        return _Lenient(
            counts, self.sums if not other.sums else {n: s.merge(other.sums[n]) for n, s in self.sums.items()}
        )


class Quick(Right):
    """Has a faster way to other values."""

    def batch_values(self, columns: Columns, weights: Array | None, size: int) -> dict[str, list[Value]]:
        return {"right": [Value(0.5)] * len(columns["rank"])}


class Drawn(Right):
    """Its table differs from call to call."""

    calls: ClassVar[list[int]] = []

    def tables(self, state: Any) -> dict[str, Array]:
        self.calls.append(0)
        return {"calls": np.array([len(self.calls)])}


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Sloppy(), "merges give another state"),
        (First(), "merges give another state"),
        (Unweighted(), "copies of the rows"),
        (Percent(), "outside its range"),
        (Nan(), "is NaN"),
        (Late(), "not its headline"),
        (Wrong(), "mean of its contributions"),
        (Lenient(), "merges with that of another metric"),
        (Quick(), "batch_values gives"),
        (Drawn(), "table calls of one state differs"),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, Right) else "",
)
def test_the_laws_find_each_fault(metric: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: type(metric))
    with pytest.raises(AssertionError, match=words):
        check_metric(metric, columns_for(metric, 51))


def test_the_faulty_ones_differ_from_one_that_keeps_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: Right)
    check_metric(Right(), columns_for(Right(), 51))


def test_a_metric_that_writes_into_its_columns_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "load", lambda room, name: Writes)
    with pytest.raises(ValueError, match="read-only"):
        check_metric(Writes(), columns_for(Writes(), 51))


def test_a_metric_of_unknown_columns_has_no_samples() -> None:
    @dataclass(frozen=True)
    class Odd(Right):
        columns: ClassVar[tuple[str, ...]] = ("taste",)

    with pytest.raises(LookupError, match="taste"):
        columns_for(Odd())


@pytest.mark.parametrize(
    ("cls", "fields", "words"),
    [
        ("top_k", {"k": 0}, r"TopK\(k\)=0: expected an integer from 1"),
        ("top_k", {"k": True}, "expected an integer"),
        ("top_k", {"k": 2.0}, "expected an integer"),
        ("top_k", {"ties": "strict"}, "expected 'class_index' or 'in_top_k'"),
        ("cross_entropy", {"nonfinite": "zero"}, "expected 'undefined' or 'skip'"),
        ("calibration_error", {"bins": -1}, "expected an integer from 1"),
        ("calibration_error", {"bins": 1 << 40}, "expected an integer from 1"),
        ("calibration_error", {"nonfinite": ""}, "expected 'undefined' or 'skip'"),
    ],
)
def test_wrong_settings_are_refused(cls: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        classes("metrics")[cls](**fields)
