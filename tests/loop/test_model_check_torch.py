"""The model check of real torch modules: each mistake is refused, and its cause named with its place."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that all of PyTorch's users know
from tests._material import command, go

from milepost.data.arrays import Arrays
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.torch import TorchModel
from milepost.tasks.classification import Classification

HERE = Path(__file__).name
Change = Callable[["Net", torch.Tensor], torch.Tensor]


class Net(torch.nn.Module):
    """A small network whose hidden layer is passed through what a test puts there."""

    def __init__(self, change: Change, **parts: torch.nn.Module) -> None:
        super().__init__()
        self.change = change
        self.body = torch.nn.Linear(8, 6)
        self.head = torch.nn.Linear(6, 4)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.change(self, torch.relu(self.body(x))))


def refused(build: Callable[[], torch.nn.Module], folder: Path) -> str:
    """Return the message of the one failure of an evaluation; "" where it passes."""
    runs = folder / "runs"
    runs.mkdir()
    torch.manual_seed(0)
    torch.save(build().state_dict(), runs / "step-1.pt")
    events = go(evaluation_of(build), runs, store=folder / "evals")
    assert events.done in ((1, 0, 0), (0, 0, 1))
    return next(iter(events.failures.values()), "")


def evaluation_of(build: Callable[[], torch.nn.Module], **more: Any) -> Evaluation:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(100, 8)).astype(np.float32)
    return Evaluation(
        model=TorchModel(build),
        data={"test": Arrays(inputs, rng.integers(0, 4, 100))},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        batch_size=64,
        version="1",
        **more,
    )


class Stubborn(Net):
    """A network that switches itself back to training, as some do to keep their dropout."""

    def forward(self, x: torch.Tensor) -> Any:
        self.train()
        return super().forward(x)


def functional(net: Net, x: torch.Tensor) -> torch.Tensor:
    return F.dropout(x, 0.5)


def attention(net: Net, x: torch.Tensor) -> torch.Tensor:
    row = x[:, None, :]
    return F.scaled_dot_product_attention(row, row, row, dropout_p=0.5)[:, 0]


def noise(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn_like(x)


def in_place(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + torch.empty_like(x).normal_()


def numpys(net: Net, x: torch.Tensor) -> torch.Tensor:
    return x + torch.from_numpy(np.random.default_rng().normal(size=tuple(x.shape)).astype(np.float32))


def counted(net: Net, x: torch.Tensor) -> torch.Tensor:
    net.counter.calls += 1  # type: ignore[union-attr, operator]
    return x + net.counter.calls  # type: ignore[union-attr]


def line_of(function: Callable[..., Any]) -> str:
    """Return file and line of a function's body, where that is one line."""
    return f"{HERE}:{function.__code__.co_firstlineno + 1}"


def counter() -> torch.nn.Module:
    made = torch.nn.Module()
    made.register_buffer("calls", torch.zeros(()))
    return made


MISTAKES: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "functional dropout": (lambda: Net(functional), f"dropout(training=True) at {line_of(functional)}"),
    "attention": (lambda: Net(attention), "scaled_dot_product_attention(dropout_p=0.5) at"),
    "noise": (lambda: Net(noise), f"randn_like at {line_of(noise)}"),
    "noise in place": (lambda: Net(in_place), f"normal_ at {line_of(in_place)}"),
    "built-in dropout": (lambda: Net(lambda _, x: torch.dropout(x, 0.5, True)), "dropout(train=True) at"),  # noqa: FBT003
    "dropout left on": (
        lambda: Stubborn(lambda net, x: net.drop(x), drop=torch.nn.Dropout(0.5)),  # type: ignore[operator]
        "in training mode though eval() was called: drop (Dropout)",
    ),
    "a counter": (lambda: Net(counted, counter=counter()), "changed by the forward pass: counter.calls"),
    "out of sight": (lambda: Net(numpys), "is dropout left on, noise drawn in the model's forward pass, or something"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_repeat_is_refused_and_the_cause_is_named(mistake: str, tmp_path: Path) -> None:
    build, cause = MISTAKES[mistake]
    message = refused(build, tmp_path)
    assert re.match(
        r"stochastic model: two predictions of the same 64 rows differ by [0-9.]+ \(the scores span", message
    )
    assert cause in message


def drifting(net: Net, x: torch.Tensor) -> torch.Tensor:
    net.counter.calls += 1  # type: ignore[union-attr, operator]
    return x + 1e-6 * net.counter.calls  # type: ignore[union-attr]


def replacing(net: Net, x: torch.Tensor) -> torch.Tensor:
    net.counter.calls = net.counter.calls.clone()  # type: ignore[union-attr, operator]
    return x


@pytest.mark.parametrize("change", [drifting, replacing])
def test_what_the_forward_pass_leaves_behind_is_refused_though_it_does_not_show_yet(
    change: Change, tmp_path: Path
) -> None:
    message = refused(lambda: Net(change, counter=counter()), tmp_path)
    assert message.startswith(
        "stochastic model: the forward pass changes counter.calls: a prediction may depend on those"
    )


def test_a_cache_that_is_none_of_the_weights_may_change(tmp_path: Path) -> None:
    def remembering(net: Net, x: torch.Tensor) -> torch.Tensor:
        net.counter.calls = x.detach()  # type: ignore[union-attr]
        return x

    def build() -> torch.nn.Module:
        made = torch.nn.Module()
        made.register_buffer("calls", None, persistent=False)
        return Net(remembering, counter=made)

    assert refused(build, tmp_path) == ""


def norm(net: Net, x: torch.Tensor) -> torch.Tensor:
    return net.norm(x)  # type: ignore[operator, no-any-return]


NEIGHBOURS: dict[str, tuple[Callable[[], torch.nn.Module], str]] = {
    "training mode": (
        lambda: Stubborn(norm, norm=torch.nn.BatchNorm1d(6)),
        f"batch_norm(training=True) at {line_of(norm)}; in training mode though eval() was called: norm (BatchNorm1d)",
    ),
    "no running statistics": (
        lambda: Net(norm, norm=torch.nn.BatchNorm1d(6, track_running_stats=False)),
        f"batch_norm(training=True) at {line_of(norm)}",
    ),
    "functional": (lambda: Net(lambda _, x: F.batch_norm(x, None, None, training=True)), "batch_norm(training=True)"),
    "out of sight": (lambda: Net(lambda _, x: x.softmax(0)), "or is something computed over the rows of a batch?"),
}


@pytest.mark.parametrize("mistake", NEIGHBOURS)
def test_what_mixes_rows_is_refused_and_the_cause_is_named(mistake: str, tmp_path: Path) -> None:
    build, cause = NEIGHBOURS[mistake]
    message = refused(build, tmp_path)
    assert re.match(r"stochastic model: rows predicted in halves of a batch differ by", message)
    assert cause in message


@pytest.mark.parametrize(
    "build",
    [
        lambda: Net(lambda net, x: net.drop(net.norm(x)), drop=torch.nn.Dropout(), norm=torch.nn.BatchNorm1d(6)),  # type: ignore[operator]
        lambda: Net(lambda net, x: F.dropout(x, 0.5, net.training)),
        lambda: Net(lambda _, x: F.dropout(x, 0.0)),
        lambda: Stubborn(lambda _, x: x),
    ],
)
def test_honest_modules_pass(build: Callable[[], torch.nn.Module], tmp_path: Path) -> None:
    assert refused(build, tmp_path) == ""


def calm(net: Net, x: torch.Tensor) -> torch.Tensor:
    x = F.dropout(net.drop(net.norm(x)), 0.5, net.training)  # type: ignore[operator]
    return F.dropout(x, 0.0)


def test_nothing_is_suspected_of_an_honest_module() -> None:
    def build() -> torch.nn.Module:
        drop, norm_ = torch.nn.Dropout(), torch.nn.BatchNorm1d(6)
        return Net(calm, drop=drop, norm=norm_)

    model = TorchModel(build)
    weights = model.load({name: tensor.numpy() for name, tensor in build().state_dict().items()})
    assert model.suspects(weights, np.ones((4, 8), np.float32)) == []


@pytest.mark.wide
def test_a_compiled_module_says_so() -> None:
    plain, compiled = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    compiled.compile(backend="eager")
    assert not TorchModel(lambda: plain).compiles_each_size
    assert TorchModel(lambda: torch.nn.Sequential(plain, compiled)).compiles_each_size


def test_a_constant_predictor_is_reported_and_kept(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in Net(lambda _, x: x).state_dict().items()}
    torch.save(zeros, runs / "step-1.pt")
    events = go(evaluation_of(lambda: Net(lambda _, x: x)), runs, store=tmp_path / "evals")
    assert events.done == (1, 0, 0)
    assert "step-1 on test: all 100 rows are predicted as class 0: the model may be untrained" in events.notes


@pytest.mark.parametrize("per_pass", [1, 3])
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Net(functional), "two predictions of the same 64 rows differ by"),
        (lambda: Net(norm, norm=torch.nn.BatchNorm1d(6, track_running_stats=False)), "rows predicted in halves"),
    ],
)
def test_a_constant_checkpoint_before_others_hides_no_mistake(
    build: Callable[[], torch.nn.Module], words: str, per_pass: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    (runs := tmp_path / "runs").mkdir()
    state = build().state_dict()
    flat = {name: torch.zeros_like(item) if name.startswith("head") else item for name, item in state.items()}
    torch.save(flat, runs / "step-0.pt")
    for step in (100, 200):
        torch.save({name: item * (1 + step / 1000) for name, item in state.items()}, runs / f"step-{step}.pt")
    events = go(evaluation_of(build), runs, store=tmp_path / "evals", per_pass=per_pass)
    assert events.done == (1, 0, 2)
    assert all(words in message for message in events.failures.values())
    shown = command("show", "0", "--store", tmp_path / "evals").stdout
    assert "; every row has the same scores, which proves nothing\n" in shown


def test_show_prints_the_model_check_and_how_many_rows_could_move(tmp_path: Path) -> None:
    # Rounds by its company on any processor, as matrix products do only where other kernels take other shapes.
    assert refused(lambda: Net(lambda _, x: x * (1 + len(x) * 1e-8)), tmp_path) == ""
    shown = command("show", "1", "--store", tmp_path / "evals").stdout
    found = r"model check +64 rows predicted twice differ by 0, in halves by \S+; the scores span [0-9.]+\n"
    assert re.search(found, shown)
    moved = r"rounding +top1 could move by at most \d of 100 rows if rounding stays below \S+ of a row's largest score"
    assert re.search(moved + r" \(measured on \d+ rows?, never guaranteed\)\n", shown)
