"""Adapters merged into the base that the evaluation gives; judged by PEFT's own merge of the model that it trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import go

from milepost.checkpoints.discovery import find
from milepost.checkpoints.reader import Reader
from milepost.core.protocols import Merger
from milepost.core.types import Table
from milepost.data.arrays import Arrays
from milepost.errors import Mismatch, NonfiniteWeights, Unsupported, UsageError
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.torch import TorchModel
from milepost.restore.matching import Restored
from milepost.restore.merging import merge
from milepost.tasks.classification import Classification

peft: Any = pytest.importorskip("peft")
pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore")]  # what PEFT says of settings is not our matter

TOKENS = np.arange(12).reshape(4, 3) % 7


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 8)
        self.conv = torch.nn.Conv1d(8, 8, 1)
        self.fc = torch.nn.Linear(8, 6)
        self.head = torch.nn.Linear(6, 4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        features = self.conv(self.embed(tokens).transpose(1, 2)).mean(2)
        return self.head(torch.relu(self.fc(features)))  # type: ignore[no-any-return]


@pytest.fixture
def base_file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    torch.save(Net().state_dict(), tmp_path / "base.pt")
    return tmp_path / "base.pt"


def loaded(base_file: Path) -> Callable[[], torch.nn.Module]:
    def build() -> torch.nn.Module:
        net = Net()
        net.load_state_dict(torch.load(base_file))
        return net

    return build


def trained(base_file: Path, folder: Path, config: Any, seed: int = 1) -> torch.nn.Module:
    """Write an adapter as PEFT does, all that it trains drawn at random, and return PEFT's own merge."""
    torch.manual_seed(seed)
    model = peft.get_peft_model(loaded(base_file)(), config)
    with torch.no_grad():
        for item in model.parameters():
            if item.requires_grad:
                item.copy_(torch.randn_like(item) * 0.3)
    model.save_pretrained(folder)
    merged: torch.nn.Module = model.merge_and_unload()
    return merged.eval()


def table_of(folder: Path) -> Table:
    (found,) = find([str(folder)])
    return Reader().table(found, str(folder.parent))


def restored(model: TorchModel, folder: Path) -> Restored:
    table = table_of(folder)
    merger: Merger | None = model.merger
    assert table.adapter is not None
    assert merger is not None
    return merge(table, table.adapter, model.variables(), merger, model.overrides)


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["fc", "head"], "r": 3, "lora_alpha": 5},
    "rank-stabilised": {"target_modules": ["fc", "head"], "r": 4, "lora_alpha": 8, "use_rslora": True},
    "DoRA": {"target_modules": ["fc"], "use_dora": True},
    "embedding and convolution": {"target_modules": ["embed", "conv"], "lora_alpha": 16},
    "bias": {"target_modules": ["fc"], "bias": "lora_only"},
    "all biases": {"target_modules": ["fc"], "bias": "all"},
    "a bias of its own": {"target_modules": ["fc"], "lora_bias": True},
    "modules to save": {"target_modules": ["fc"], "modules_to_save": ["head"]},
    "patterns": {"target_modules": ["fc", "head"], "rank_pattern": {"head": 2}, "alpha_pattern": {"^fc$": 3}},
    "all linear layers by a pattern": {"target_modules": r".*(fc|head)"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_merged_as_peft_merges(name: str, base_file: Path, tmp_path: Path) -> None:
    judge = trained(base_file, tmp_path / "adapter", peft.LoraConfig(**CONFIGS[name]))
    model = TorchModel(loaded(base_file), adapter=True)
    found = restored(model, tmp_path / "adapter")
    assert found.arrays.keys() == judge.state_dict().keys()
    for key, item in judge.state_dict().items():
        assert np.array_equal(found.arrays[key], item.numpy()), key
    assert "a LoRA adapter (" in str(found.notes["place"])
    predicted = model.predict(model.load(found.arrays), TOKENS)
    assert torch.equal(predicted, judge(torch.from_numpy(TOKENS)))
    assert not torch.allclose(predicted, loaded(base_file)()(torch.from_numpy(TOKENS)))


def test_half_precision_is_merged_in_the_dtype_of_the_base(base_file: Path, tmp_path: Path) -> None:
    def half() -> torch.nn.Module:
        return loaded(base_file)().to(torch.bfloat16)

    torch.manual_seed(1)
    tuned = peft.get_peft_model(half(), peft.LoraConfig(target_modules=["fc"]))
    with torch.no_grad():
        tuned.base_model.model.fc.lora_B.default.weight.normal_()
    tuned.save_pretrained(tmp_path / "adapter")
    judge = tuned.merge_and_unload()
    found = restored(TorchModel(half, adapter=True), tmp_path / "adapter")
    for key, item in judge.state_dict().items():
        assert np.array_equal(found.arrays[key].view(np.uint16), item.view(torch.uint16).numpy()), key


def refusal(build: Any, folder: Path) -> str:
    with pytest.raises((Mismatch, Unsupported)) as caught:
        restored(TorchModel(build, adapter=True), folder)
    return str(caught.value)


def test_a_base_that_is_not_loaded_is_no_base(base_file: Path, tmp_path: Path) -> None:
    trained(base_file, tmp_path / "adapter", peft.LoraConfig(target_modules=["fc"]))
    assert "draws conv.bias, conv.weight, " in refusal(Net, tmp_path / "adapter")

    def new_head() -> torch.nn.Module:
        net = loaded(base_file)()
        net.head = torch.nn.Linear(6, 4)
        return net

    message = refusal(new_head, tmp_path / "adapter")
    assert message.startswith("`build` draws head.bias, head.weight at random, and the adapter does not hold them")
    whole = peft.LoraConfig(target_modules=["fc"], modules_to_save=["head"])
    judge = trained(base_file, tmp_path / "whole", whole)
    found = restored(TorchModel(new_head, adapter=True), tmp_path / "whole")
    assert all(np.array_equal(found.arrays[key], item.numpy()) for key, item in judge.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of kind IA3; TorchModel"),
        ({"init_lora_weights": "pissa"}, "has init_lora_weights='pissa', which"),
        ({"layer_replication": [[0, 1]]}, "has layer_replication="),
        ({"of_tomorrow": 1}, "has of_tomorrow='1'"),
        ({"rank_pattern": {"(a+)+$": 4}}, r"has rank_pattern='(a+)+$'"),
        ({"r": "8"}, "has r='8'"),
        ({"r": 4}, "cannot merge the adapter into the base that `build` gives: size mismatch"),
    ],
)
def test_what_is_not_merged_is_refused(changed: dict[str, Any], message: str, base_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    trained(base_file, folder, peft.LoraConfig(target_modules=["fc"]))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | changed))
    assert message in refusal(loaded(base_file), folder)


def test_an_adapter_of_another_base(base_file: Path, tmp_path: Path) -> None:
    trained(base_file, tmp_path / "adapter", peft.LoraConfig(target_modules=["fc"]))
    other = torch.nn.Sequential(torch.nn.Linear(3, 3))
    with pytest.raises(Mismatch, match="cannot merge the adapter into the base"):
        restored(TorchModel(other, adapter=True), tmp_path / "adapter")


def test_tensors_that_are_missing_or_of_no_use(base_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    trained(base_file, folder, peft.LoraConfig(target_modules=["fc", "head"]))
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - a judge's

    state = load_file(folder / "adapter_model.safetensors")
    without = {name: item for name, item in state.items() if "head.lora_B" not in name}
    save_file(without, folder / "adapter_model.safetensors")
    assert "1 tensors are missing: base_model.model.head.lora_B.weight" in refusal(loaded(base_file), folder)
    save_file({**state, "base_model.model.odd.weight": torch.ones(2)}, folder / "adapter_model.safetensors")
    assert "1 tensors are unexpected: base_model.model.odd.weight" in refusal(loaded(base_file), folder)
    broken = {name: item * float("nan") for name, item in state.items()}
    save_file(broken, folder / "adapter_model.safetensors")
    with pytest.raises(NonfiniteWeights):
        restored(TorchModel(loaded(base_file), adapter=True), folder)


@pytest.mark.parametrize("given", [{"target_modules": ["head"]}, {"modules_to_save": ["head"]}])
def test_a_layer_that_shares_its_weights_is_not_merged(given: dict[str, Any], tmp_path: Path) -> None:
    """PEFT's merge would change the embedding, too, or part the two."""

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(7, 8)
            self.fc = torch.nn.Linear(8, 8)
            self.head = torch.nn.Linear(8, 7, bias=False)
            for item in self.parameters():
                torch.nn.init.constant_(item, 0.5)
            self.head.weight = self.embed.weight

    model = peft.get_peft_model(Tied(), peft.LoraConfig(**{"target_modules": ["fc"], **given}))
    model.save_pretrained(tmp_path / "adapter")
    assert "which the base shares with another layer" in refusal(Tied, tmp_path / "adapter")


def evaluation(build: Any, **given: Any) -> Evaluation:
    labels = np.array([0, 1, 2, 3])
    return Evaluation(
        model=TorchModel(build, **given),
        data={"test": Arrays(TOKENS, labels)},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        version="1",
    )


def accuracy(net: torch.nn.Module) -> float:
    return float((net(torch.from_numpy(TOKENS)).argmax(1).numpy() == np.arange(4)).mean())


def test_a_run_of_adapters_beside_merged_models(base_file: Path, tmp_path: Path) -> None:
    runs, store = tmp_path / "runs", tmp_path / "store"
    judges = {
        step: trained(base_file, runs / f"checkpoint-{step}", peft.LoraConfig(target_modules=["fc"]), step)
        for step in (10, 20, 30)
    }
    events = go(evaluation(loaded(base_file), adapter=True), runs, store=store)
    assert {step: events.value("top1", step=step) for step in judges} == {
        step: accuracy(judge) for step, judge in judges.items()
    }
    # The merged model is the same content: nothing is evaluated.
    torch.save(judges[20].state_dict(), runs / "merged-20.pt")
    again = go(evaluation(loaded(base_file), adapter=True), runs, store=store)
    assert again.done[0] == 0
    # Another base is another content.
    torch.manual_seed(4)
    torch.save(Net().state_dict(), base_file)
    other = go(evaluation(loaded(base_file), adapter=True), runs, store=store)
    assert other.done[0] == 3


def test_without_the_word_an_adapter_is_refused(base_file: Path, tmp_path: Path) -> None:
    trained(base_file, tmp_path / "runs" / "checkpoint-1", peft.LoraConfig(target_modules=["fc"]))
    for allow_missing in (False, True):
        events = go(
            evaluation(loaded(base_file)), tmp_path / "runs", store=tmp_path / "store", allow_missing=allow_missing
        )
        (message,) = events.failures.values()
        assert "TorchModel(build, adapter=True)" in message
    with pytest.raises(UsageError, match="adapter is True or False"):
        TorchModel(Net, adapter="a.safetensors")  # type: ignore[arg-type]


def test_peft_itself_in_the_evaluation(base_file: Path, tmp_path: Path) -> None:
    """A model of base and adapter, and files of both, as a trainer's own `torch.save(model.state_dict())` has them."""

    def build() -> torch.nn.Module:
        model: torch.nn.Module = peft.get_peft_model(loaded(base_file)(), peft.LoraConfig(target_modules=["fc"]))
        return model

    torch.manual_seed(1)
    tuned = build()
    (tmp_path / "runs").mkdir()
    torch.save({"model": tuned.state_dict()}, tmp_path / "runs" / "step-1.pt")
    events = go(evaluation(build), tmp_path / "runs", store=tmp_path / "store")
    assert events.value("top1") == accuracy(tuned.eval())
