"""Which checkpoint is checked how: in full until one proves the model, lightly from then on; and what is measured."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import FEATURES, checkpoints, columns_of, evaluation_of, examples, go, linear, save, weights_of

import milepost.loop.checks
from milepost.core.types import Array, Failure, Part
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.loop.evaluate import Pass, evaluate
from milepost.models.numpy import FunctionModel
from milepost.store.store import Store
from milepost.tasks.classification import Classification

ROWS, BATCH = 700, 96
Predict = Callable[[Mapping[str, Array], Array], Array]

ROUNDING = 0.05
"""Float32 rounds by some 1e-7 of a score, and matrix products by their shapes and the processor."""


@dataclass
class Sizes:
    """Notes with how many rows a model is called."""

    predict: Predict = linear
    sizes: list[int] = field(default_factory=list)

    def __call__(self, weights: Mapping[str, Array], inputs: Array) -> Array:
        self.sizes.append(len(inputs))
        return self.predict(weights, inputs)


class Fixed(FunctionModel):
    fixed_batch = True


class Compiled(FunctionModel):
    compiles_each_size = True


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time end no measurement."""
    monkeypatch.setattr(milepost.loop.checks, "_LEAST_SECONDS", 1e9)


def pass_of(model: Any, rows: int = ROWS, batch_size: int = BATCH) -> Pass:
    task = Classification(outputs="logits")
    kept = frozenset({"rank", "margin", "scale"})
    return Pass(
        model=model, source=Arrays(*examples(rows), order="natural"), task=task, kept=kept, batch_size=batch_size
    )


def outcomes(work: Pass, **weights: Mapping[str, Array]) -> dict[str, Any]:
    """Return the model checks of checkpoints that share a pass, or their failures' messages."""
    loaded = {name: work.model.load(arrays) for name, arrays in weights.items()}
    found = evaluate(work, loaded, 0, work.source.size or 0)
    return {
        name: item.message if isinstance(item, Failure) else item.environment["model_check"] for name, item in found
    }


def zero() -> dict[str, Array]:
    return {"w": np.zeros((FEATURES, 10), "float32"), "b": np.zeros(10, "float32")}


def dropout(weights: Mapping[str, Array], inputs: Array, random: Any = np.random.default_rng(0)) -> Array:  # noqa: B008 - one for all calls
    return linear(weights, inputs * (random.random(inputs.shape) < 0.5))


def normalised(weights: Mapping[str, Array], inputs: Array) -> Array:
    return linear(weights, (inputs - inputs.mean(axis=0)) / inputs.std(axis=0))


def test_the_first_checkpoint_is_checked_in_full_and_the_next_ones_lightly() -> None:
    predict = Sizes()
    work = pass_of(FunctionModel(predict), rows=BATCH)
    found = outcomes(work, a=weights_of(1), b=weights_of(2))
    assert [check["kind"] for check in found.values()] == ["full", "light"]
    assert predict.sizes == [96, 96, 48, 48, *[1] * 32, 96, 6]
    assert outcomes(work, c=weights_of(3))["c"]["kind"] == "light", "of a later pass"


@pytest.mark.parametrize("mistake", [dropout, normalised])
@pytest.mark.parametrize("together", [True, False])
def test_constant_checkpoints_do_not_switch_the_full_check_off(mistake: Predict, together: bool) -> None:
    work = pass_of(FunctionModel(mistake))
    flat = {"w": zero()["w"], "b": weights_of(1)["b"]}
    every = {"zero": zero(), "bias": flat, "tiny": {"w": 1e-6 * weights_of(1)["w"], "b": flat["b"]}, "a": weights_of(1)}
    found = (
        outcomes(work, **every) if together else {name: outcomes(work, **{name: every[name]})[name] for name in every}
    )
    assert [found[name]["kind"] for name in ("zero", "bias", "tiny")] == ["full"] * 3
    assert [found[name]["constant"] for name in ("zero", "bias", "tiny")] == [True, True, False]
    assert not any(found[name]["proves"] or found[name]["measured"] for name in ("zero", "bias", "tiny"))
    assert found["a"].startswith("stochastic model: ") or "differ by" in found["a"]


@pytest.mark.parametrize("mistake", [dropout, normalised])
@pytest.mark.parametrize("model", [FunctionModel, Fixed, Compiled])
def test_a_branch_that_opens_late_is_found_by_the_light_check(mistake: Predict, model: Any) -> None:
    def gated(weights: Mapping[str, Array], inputs: Array) -> Array:
        return np.asarray(linear(weights, inputs) + weights["gate"] * mistake(weights, inputs))

    work = pass_of(model(gated), rows=4 * BATCH)
    closed, opened = ({**weights_of(1), "gate": np.array(gate, "float32")} for gate in (0, 0.1))
    found = outcomes(work, closed=closed, opened=opened, again=closed)
    assert found["closed"]["kind"] == "full"
    assert "rows differ by" in found["opened"]
    assert "where they are predicted again, beside other rows" in found["opened"]
    assert found["again"]["kind"] == "light"


def test_a_checkpoint_that_fails_its_full_check_leaves_it_to_the_next() -> None:
    def sometimes(weights: Mapping[str, Array], inputs: Array) -> Array:
        return dropout(weights, inputs) if weights["b"][0] == 7 else linear(weights, inputs)

    bad = weights_of(1)
    bad["b"][0] = 7
    found = outcomes(pass_of(FunctionModel(sometimes)), bad=bad, good=weights_of(1), other=bad)
    assert "two predictions of the same 96 rows" in found["bad"]
    assert found["good"]["kind"] == "full"
    assert "predicted again, beside other rows" in found["other"]


def test_batches_of_one_row_are_predicted_twice_for_every_checkpoint() -> None:
    predict = Sizes()
    work = pass_of(FunctionModel(predict), rows=3, batch_size=1)
    found = outcomes(work, a=weights_of(1), b=weights_of(2))
    assert predict.sizes == [1] * 8
    assert [(check["kind"], check["proves"], check["measured"]) for check in found.values()] == [("full", False, 0)] * 2


def test_single_rows_are_measured_together_once() -> None:
    predict = Sizes(off_by(1e-5, lambda inputs: len(inputs) == 8))
    work = pass_of(FunctionModel(predict), rows=20, batch_size=1)
    found = outcomes(work, zero=zero(), a=weights_of(1), b=weights_of(2))
    assert Counter(predict.sizes) == {1: 3 * 21, 8: 1}, "not of the checkpoint that shows nothing"
    assert {check["measured"] for check in found.values()} == {8}
    assert found["b"]["relative"] == pytest.approx(1e-5, rel=ROUNDING)


@pytest.mark.parametrize("inputs", [{"x": np.eye(8)[:, None]}, np.eye(8)[:, None]])
def test_rows_are_joined_by_name(inputs: Any) -> None:
    rows = [{"x": row} for row in inputs["x"]] if isinstance(inputs, dict) else list(inputs)
    joined = milepost.loop.checks._joined(rows)
    np.testing.assert_equal(joined["x"] if isinstance(inputs, dict) else joined, np.eye(8))


def test_single_rows_of_several_shapes_and_of_shrunken_batches_are_not_measured() -> None:
    def summed(weights: Mapping[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs[:, :FEATURES])

    predict = Sizes(summed)
    work = pass_of(FunctionModel(predict), rows=20, batch_size=1)
    work.source = Batches(
        lambda: ((np.ones((1, FEATURES + row), "float32") * row, np.array([0])) for row in range(20)), version="made@1"
    )
    loaded = {"a": work.model.load(weights_of(1))}
    (found,) = evaluate(work, loaded, 0, 20)
    assert isinstance(found[1], Part)
    assert found[1].environment["model_check"]["measured"] == 0
    assert set(predict.sizes) == {1}
    shrunken = pass_of(FunctionModel(predict), rows=20, batch_size=64)
    shrunken.batch_size = 1
    assert outcomes(shrunken, a=weights_of(1))["a"]["measured"] == 0
    assert set(predict.sizes) == {1}


@pytest.mark.parametrize(("model", "sizes"), [(Fixed, [96] * 5), (Compiled, [96, 96, 48, 48, 96, 96])])
def test_where_shapes_are_fixed_or_compiled_whole_batches_are_predicted(model: Any, sizes: list[int]) -> None:
    predict = Sizes()
    found = outcomes(pass_of(model(predict), rows=BATCH), a=weights_of(1), b=weights_of(2))
    assert predict.sizes == sizes
    assert {check["measured"] for check in found.values()} == {0 if model is Fixed else 96}


# ------------------------------------------------------------------------------------------------- what is measured


def off_by(relative: float, when: Callable[[Array], bool]) -> Predict:
    """Return a model whose scores are all off by a share of themselves in some batches."""

    def predict(weights: Mapping[str, Array], inputs: Array) -> Array:
        scores = linear(weights, inputs).astype(float)
        return scores * (1 + relative) if when(inputs) else scores

    return predict


def test_rounding_is_measured_on_single_rows_of_two_batches_and_half_of_the_second() -> None:
    predict = Sizes()
    found = outcomes(pass_of(FunctionModel(predict)), a=weights_of(1))
    assert found["a"]["measured"] == 64
    after = predict.sizes[4 + 32 :]
    assert after == [96, 96, 96, 48, *[1] * 32, 96, 96, 96, 700 % 96], "the fourth batch holds the middle row"


@pytest.mark.parametrize("place", ["halves", "alone", "alone in the middle", "half of the middle", "light"])
def test_the_largest_relative_difference_is_recorded_wherever_it_shows(place: str) -> None:
    inputs = examples(ROWS)[0]
    first, middle = ({row.tobytes() for row in rows} for rows in (inputs[:BATCH], inputs[3 * BATCH : 4 * BATCH]))
    when: Callable[[Array], bool] = {
        "halves": lambda x: len(x) == 48,
        "alone": lambda x: len(x) == 1 and x[0].tobytes() in first,
        "alone in the middle": lambda x: len(x) == 1 and x[0].tobytes() in middle,
        "half of the middle": lambda x: len(x) == 48 and x[0].tobytes() in middle,
        "light": lambda x: len(x) == 6,
    }[place]
    found = outcomes(pass_of(FunctionModel(off_by(1e-5, when))), a=weights_of(1), b=weights_of(2))
    assert found["b"]["relative"] == pytest.approx(1e-5, rel=ROUNDING)
    assert found["a"]["relative"] == pytest.approx(0 if place == "light" else 1e-5, rel=ROUNDING, abs=1e-6)


def test_a_model_that_cannot_take_a_single_row_is_measured_without() -> None:
    def squeezed(weights: Mapping[str, Array], inputs: Array) -> Array:
        return np.squeeze(linear(weights, inputs))

    found = outcomes(pass_of(FunctionModel(squeezed)), a=weights_of(1), b=weights_of(2))
    assert [(check["kind"], check["measured"]) for check in found.values()] == [("full", 96), ("light", 96)]


def test_time_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    clock: Iterator[int] = iter(range(10**6))

    class Clock:
        perf_counter = staticmethod(lambda: float(next(clock)))

    monkeypatch.setattr(milepost.loop.checks, "time", Clock)
    monkeypatch.setattr(milepost.loop.checks, "_LEAST_SECONDS", 40.0)
    found = outcomes(pass_of(FunctionModel(linear), rows=BATCH), a=weights_of(1))
    assert found["a"]["measured"] == 11, "a tick each for 40 / 4 seconds"


def test_no_difference_is_larger_than_twice_the_scores() -> None:
    def strange(weights: Mapping[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs) * (np.nan if len(inputs) == 1 else 1)

    assert outcomes(pass_of(FunctionModel(strange)), a=weights_of(1))["a"]["relative"] == 2.0


def test_the_store_keeps_each_checkpoints_own_check(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 2)
    save(folder / "step-1.npz", zero())
    go(evaluation_of(), folder, store=tmp_path / "evals", per_pass=1)
    store = Store.open(tmp_path / "evals")
    found = {}
    for key in store.evaluations():
        kept = store.evaluation(key).parts(store.evaluation(key).column_sets()[0]).read()
        found[bool(kept.slice("scale", 0, ROWS).any())] = [item["model_check"] for item in kept.environments()]
    assert {scored: [check["constant"] for check in checks] for scored, checks in found.items()} == {
        False: [True],
        True: [False],
    }
    assert columns_of(tmp_path / "evals")["scale"].dtype == np.float32


def test_a_part_of_a_resumed_range_is_checked_as_well() -> None:
    work = pass_of(FunctionModel(linear))
    outcomes(work, a=weights_of(1))
    (found,) = evaluate(work, {"b": work.model.load(weights_of(2))}, 500, ROWS)
    assert isinstance(found[1], Part)
    assert found[1].environment["model_check"]["kind"] == "light"
