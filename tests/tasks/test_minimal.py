"""A task with the required members and nothing else is evaluated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import checkpoints, evaluation_of, examples, go, linear, weights_of

from milepost.core.capabilities import CAPABILITIES, capability
from milepost.core.protocols import Task
from milepost.core.types import Array, Column
from milepost.errors import UsageError
from milepost.metrics import TopK


class Ranks:
    """The rank of the label among the scores, and no more."""

    name = "ranks"

    def columns(self) -> Mapping[str, Column]:
        return {"rank": Column("rank", "int32", "classes with a higher score")}

    def reduce(self, outputs: Any, labels: Array, wanted: frozenset[str]) -> dict[str, Array]:
        own = np.take_along_axis(outputs, labels[:, None], axis=1)
        return {"rank": np.asarray(np.sum(outputs > own, axis=1), np.int32)}

    def scores(self, outputs: Any) -> Array:
        return np.asarray(outputs, np.float64)


def test_a_minimal_task_runs_end_to_end(tmp_path: Path) -> None:
    assert not [kind for kind in CAPABILITIES[Task] if capability(Ranks(), kind)]
    folder = checkpoints(tmp_path / "models", 1)
    done = go(evaluation_of(task=Ranks(), metrics=[TopK(1)]), folder, store=tmp_path / "store")
    inputs, labels = examples(700)
    assert done.value("top1") == np.mean(linear(weights_of(1), inputs).argmax(axis=1) == labels)


@pytest.mark.parametrize("member", ["name", "columns", "reduce", "scores"])
def test_each_required_member_is_asked_for(member: str) -> None:
    members: dict[str, Any] = {name: item for name, item in vars(Ranks).items() if name not in (member, "__dict__")}
    with pytest.raises(UsageError, match=f"`{member}`"):
        evaluation_of(task=type("Lacking", (), members)(), metrics=[TopK(1)])
