"""The slips that everybody makes once with an Evaluation: a word instead of a traceback."""

from typing import Any

import numpy as np
import pytest
from tests._material import evaluation_of

from milepost.errors import UsageError
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks.classification import Classification


def slips() -> list[tuple[dict[str, Any], str]]:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Net(torch.nn.Linear):
        """Anybody's module."""

    items = TensorDataset(torch.zeros(4, 2), torch.zeros(4))
    return [
        ({"model": Net(2, 3)}, r"model=.*found a Net; wrap it: TorchModel\(Net\)"),
        ({"model": Net}, r"model=.*found the class Net; wrap it: TorchModel\(Net\)"),
        ({"model": lambda weights, inputs: inputs}, r"model=.*found a function; wrap it: .*FunctionModel"),
        ({"model": FunctionModel}, r"model=.*found the class FunctionModel"),
        ({"data": {"val": DataLoader(items)}}, r"data={'val': .*found a DataLoader; wrap it: TorchLoader"),
        ({"data": {"val": items}}, r"found a TensorDataset; wrap it: TorchLoader"),
        ({"data": {"val": (np.zeros(3), np.zeros(3))}}, r"found a tuple; wrap it: Arrays"),
        ({"data": {"val": np.zeros(3)}}, r"found a ndarray; expected a source, such as Arrays"),
        ({"task": Classification}, r"task=.*the class Classification; .*write Classification\(...\)"),
        ({"task": "classification"}, r"task=.*found a str; expected a task"),
        ({"metrics": [TopK(1), TopK]}, r"metrics\[1\].*the class TopK; .*write TopK\(...\)"),
        ({"metrics": ["top1"]}, r"metrics\[0\].*found a str; expected a metric"),
        ({"metrics": TopK(1)}, r"metrics=.*found a TopK; expected a list"),
    ]


@pytest.mark.parametrize("place", range(13))
def test_what_is_no_model_source_task_or_metric_is_refused_with_advice(place: int) -> None:
    change, words = slips()[place]
    with pytest.raises(UsageError, match=words):
        evaluation_of(**change)


def test_all_slips_are_tried() -> None:
    assert len(slips()) == 13
