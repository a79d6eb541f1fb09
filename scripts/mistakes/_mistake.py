"""What a mistake is: code of the field's habit, an evaluation file for Milepost, and the words that must come out."""

from dataclasses import dataclass, field

SHARED = """\
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
"""

EVALUATION = """\
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from milepost import Evaluation
from milepost.data import Arrays, TorchLoader
from milepost.models.torch import TorchModel
from milepost.metrics import Confusion, CrossEntropy, Recall, TopK
from milepost.tasks import Classification

with np.load("rows.npz") as file:
    rows = dict(file)
{head}
evaluation = Evaluation(
    model={model},
    data={{"test": {data}}},
    task=Classification(outputs="{outputs}"),
    metrics=[{metrics}],
    {more}
)
"""


@dataclass(frozen=True, slots=True)
class File:
    """What of the evaluation file is the mistake's own; the rest is as in every one (`EVALUATION`)."""

    head: str = ""
    model: str = "TorchModel(lambda: nn.Linear(10, 10))"
    data: str = 'Arrays(rows["images"], rows["labels"])'
    outputs: str = "logits"
    metrics: str = "TopK(1)"
    more: str = ""

    def settings(self) -> list[str]:
        """Return what this file sets otherwise than all others, as code."""
        events = {
            "model": f"model={self.model}",
            "data": f'data={{"test": {self.data}}}',
            "outputs": f'task=Classification(outputs="{self.outputs}")',
            "metrics": f"metrics=[{self.metrics}]",
            "more": self.more.rstrip(","),
        }
        return [code for name, code in events.items() if getattr(self, name) != getattr(File(), name)]

    def text(self) -> str:
        """Return the whole evaluation file."""
        names = ("head", "model", "data", "outputs", "metrics", "more")
        return EVALUATION.format(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake, ready to be made twice.

    `setup` is run unseen; it makes rows.npz and the checkpoints below runs/.  `habit` is shown and run.  `file` is
    Milepost's evaluation file and `commands` what is asked of it, or `python` is shown and run instead of both.
    `lines` keeps of a command's output the lines that match one of these patterns.  `habit_says` and `milepost_says`
    are the decisive words: a page on which they do not stand is refused.
    """

    title: str
    wrong: str
    habit: str
    advice: str
    habit_says: tuple[str, ...]
    milepost_says: tuple[str, ...]
    setup: str = ""
    file: File = field(default_factory=File)
    commands: tuple[str, ...] = ("milepost run eval.py runs",)
    python: str = ""
    lines: tuple[str, ...] = ()
