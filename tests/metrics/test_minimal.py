"""A metric with the required members and nothing else is evaluated, listed and chosen by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, command, evaluation_of, go, lines_of

from milepost.core.capabilities import CAPABILITIES, capability
from milepost.core.protocols import Metric
from milepost.core.types import Array, Columns, Value
from milepost.errors import UsageError
from milepost.metrics._states import Tally


class Miss:
    """Rows whose label does not rank first: a count, no mean."""

    name = "miss"
    headline = "misses"
    columns = ("rank",)
    direction = "lower"

    def state(self, columns: Columns, weights: Array | None) -> Tally:
        return Tally({"misses": np.int64(np.count_nonzero(columns["rank"]))})

    def values(self, state: Tally) -> dict[str, Value]:
        return {"misses": Value(state.count("misses"))}


def test_a_minimal_metric_runs_end_to_end(tmp_path: Path) -> None:
    assert not [kind for kind in CAPABILITIES[Metric] if capability(Miss(), kind)]
    folder, store = checkpoints(tmp_path / "models", 1, 2), tmp_path / "store"
    done = go(evaluation_of(metrics=[Miss()]), folder, store=store)
    assert done.done == (2, 0, 0)
    misses = {step: done.value("misses", step=step) for step in (1, 2)}
    means = {step: done.value("misses", "batch_mean", step=step) for step in (1, 2)}
    assert means == {step: count / 11 for step, count in misses.items()}, "700 rows are 11 batches of 64 at most"
    listed = lines_of(command("ls", "--json", "--store", store).stdout).of("record")
    assert {row["value"] for row in listed if row["estimator"] == "exact"} == set(misses.values())
    chosen = command("best", "--metric", "misses", "--json", "--store", store)
    assert chosen.returncode == 0, chosen.stderr
    (best,) = lines_of(chosen.stdout)
    assert best["best"]["checkpoint"]["step"] == min(misses, key=lambda step: misses[step])


@pytest.mark.parametrize("member", ["name", "headline", "columns", "direction", "state", "values"])
def test_each_required_member_is_asked_for(member: str) -> None:
    members: dict[str, Any] = {name: item for name, item in vars(Miss).items() if name not in (member, "__dict__")}
    with pytest.raises(UsageError, match=f"`{member}`"):
        evaluation_of(metrics=[type("Lacking", (), members)()])
