"""Averages beside raw weights, and a user's overrides: each set whole, or refused."""

import ast
from pathlib import Path

import numpy as np
import pytest
from tests.restore.test_matching import equal, table_of

from milepost.core.types import Array, Overrides, Table, Variable
from milepost.errors import Mismatch
from milepost.restore.matching import adopt, restore

W, B, M = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(3, dtype=np.float32), np.full(3, 9, np.float32)
NORM = [
    Variable("fc/w", "float32", (2, 3)),
    Variable("fc/b", "float32", (3,)),
    Variable("norm/mean", "float32", (3,)),
    Variable("aux/w", None, (4,), optional=True),
]
RAW = {"fc/w": W, "fc/b": B, "norm/mean": M}
AVERAGED = {"fc/w/ExponentialMovingAverage": W + 1, "fc/b/ExponentialMovingAverage": B + 1}


def built(names: object) -> dict[str, Array]:
    return {"fc/w": W * 0, "fc/b": B * 0, "norm/mean": M * 0}


def table(folder: Path, *sets: dict[str, Array]) -> Table:
    return table_of(folder, {"": {name: array for item in sets for name, array in item.items()}})


def test_raw_values_stand_in_for_variables_without_an_average(tmp_path: Path) -> None:
    whole = table(tmp_path, RAW, AVERAGED)
    raw, ema = restore(whole, NORM, "raw"), restore(whole, NORM, "ema")
    equal(raw, RAW)
    equal(ema, {"fc/w": W + 1, "fc/b": B + 1, "norm/mean": M})
    assert "swapping_saver" in str(raw.notes["averaging"])
    assert str(ema.notes["averaging"]).endswith(
        "2 of 3 tensors are averages; raw ones stand in for the others: norm/mean"
    )


def test_a_checkpoint_without_averages_has_no_ema_variant(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"no weights of variant 'ema' \(NAME/ExponentialMovingAverage, or a group"):
        restore(table(tmp_path, RAW), NORM, "ema")


def test_averages_of_what_no_prediction_needs_are_none(tmp_path: Path) -> None:
    other = {"aux/w": np.zeros(4, np.float32), "aux/w/ExponentialMovingAverage": np.ones(4, np.float32)}
    with pytest.raises(Mismatch, match="no average of any of the model's 3 variables"):
        restore(table(tmp_path, RAW, other), NORM, "ema")


def test_strictness_holds_for_averages_too(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"1 of 3 variables are missing: norm/mean"):
        restore(table(tmp_path, AVERAGED), NORM, "ema")
    with pytest.raises(Mismatch, match=r"1 tensors are unexpected: head"):
        restore(table(tmp_path, RAW, AVERAGED, {"head": B}), NORM, "ema")


def test_a_model_that_has_the_average_itself_gets_it_as_a_raw_variable(tmp_path: Path) -> None:
    own = [NORM[0], Variable("fc/w/ExponentialMovingAverage", "float32", (2, 3))]
    found = restore(table(tmp_path, {"fc/w": W}, {"fc/w/ExponentialMovingAverage": W + 1}), own, "raw")
    equal(found, {"fc/w": W, "fc/w/ExponentialMovingAverage": W + 1})


@pytest.mark.parametrize(
    "renames",
    [{"old/w": "fc/w", "old/b": "fc/b"}, {"old/": "fc/"}, {"old/w": "fc/w", "old/": "fc/"}, {"old/": "fc/", "o": "p"}],
)
def test_renames_of_the_user_reach_averages_too(renames: dict[str, str], tmp_path: Path) -> None:
    held = {name.replace("fc/", "old/"): array for name, array in {**RAW, **AVERAGED}.items()}
    overrides = Overrides(renames)
    if "o" in renames:  # a name of its own, not the beginning of one
        with pytest.raises(Mismatch, match=r"restore=\{'o': 'p'\} renames what the checkpoint does not hold"):
            restore(table(tmp_path, held), NORM, "raw", overrides=overrides)
        return
    whole, plain = table(tmp_path, held), restore(table(tmp_path, held), NORM, "raw", overrides=overrides)
    equal(plain, RAW)
    equal(restore(whole, NORM, "ema", overrides=overrides), {"fc/w": W + 1, "fc/b": B + 1, "norm/mean": M})
    assert plain.notes["overrides"] == {"restore": renames}
    assert plain.digest == restore(table(tmp_path, RAW), NORM, "raw").digest


def test_everything_below_the_top_may_move(tmp_path: Path) -> None:
    variables = [Variable("tower/fc/w", "float32", (2, 3)), Variable("tower/fc/b", "float32", (3,))]
    held = table(tmp_path, {"fc/w": W, "fc/b": B})
    equal(restore(held, variables, "raw", overrides=Overrides({"": "tower/"})), {"tower/fc/w": W, "tower/fc/b": B})


def test_two_names_do_not_become_one(tmp_path: Path) -> None:
    with pytest.raises(Mismatch, match=r"'fc/w' and 'old/w' both become 'fc/w'; name one of them in ignore"):
        restore(table(tmp_path, RAW, {"old/w": W}), NORM, "raw", overrides=Overrides({"old/w": "fc/w"}))


def test_kept_variables_stay_as_built_whatever_the_checkpoint_holds(tmp_path: Path) -> None:
    overrides = Overrides(keep=("fc/*",), built=built)
    expected = {"fc/w": W * 0, "fc/b": B * 0, "norm/mean": M}
    for held in (RAW, {"norm/mean": M}, {**RAW, "fc/w": np.zeros(7, np.float32)}):
        found = restore(table(tmp_path, held), NORM, "raw", overrides=overrides)
        equal(found, expected)
        assert found.notes["missing"] == {"variables": 2, "of": 3, "names": ["fc/w", "fc/b"]}
        assert found.digest != restore(table(tmp_path, expected), NORM, "raw").digest
    with pytest.raises(Mismatch, match="1 of 1 variables are missing: norm/mean"):
        restore(table(tmp_path, {"fc/w": W, "fc/b": B, "x": W}), NORM, "raw", overrides=overrides)


def test_ignored_tensors_are_not_unexpected(tmp_path: Path) -> None:
    held = table(tmp_path, RAW, {"Aux/a": W, "Aux/b": W, "rest": W})
    with pytest.raises(Mismatch, match="1 tensors are unexpected: rest"):
        restore(held, NORM, "raw", overrides=Overrides(ignore=("Aux/*",)))
    equal(restore(held, NORM, "raw", overrides=Overrides(ignore=("Aux/*", "rest"))), RAW)


def test_what_a_user_restored_is_as_strict() -> None:
    plain = adopt(RAW, NORM, "init_fn mine")
    assert plain.notes["place"] == "init_fn mine"
    with pytest.raises(Mismatch, match=r"init_fn mine left 1 of 3 variables without a value: fc/b; it must"):
        adopt({"fc/w": W, "norm/mean": M}, NORM, "init_fn mine")
    kept = adopt({"norm/mean": M}, NORM, "init_fn mine", Overrides(keep=("fc/*",), built=built))
    equal(kept, {"fc/w": W * 0, "fc/b": B * 0, "norm/mean": M})
    assert kept.digest != plain.digest
    with pytest.raises(Mismatch, match="restored fc/w, fc/b, which keep"):
        adopt(RAW, NORM, "init_fn mine", Overrides(keep=("fc/*",), built=built))


def test_both_rows_of_tensorflows_pair_say_that_a_swapping_saver_exchanges_them(tmp_path: Path) -> None:
    held = table(tmp_path, {"fc/w": W, "fc/b": B, **AVERAGED})
    for variant in ("raw", "ema"):
        note = str(restore(held, None, variant).notes["averaging"])
        assert "swapping_saver" in note
        declared = ast.literal_eval(note.partition("variants=")[2].partition(")")[0])
        other = {"raw": "ema", "ema": "raw"}[variant]
        swapped = restore(held, None, variant, place=declared[variant])
        equal(swapped, dict(restore(held, None, other).arrays))
    assert "averaging" not in restore(table(tmp_path, {"fc/w": W, "fc/b": B}), None, "raw").notes
