"""--allow-missing: what a checkpoint lacks keeps the values of the built model, and the result says so for ever."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import command, go, lines_of, planned

from milepost.core.types import Array
from milepost.data.arrays import Arrays
from milepost.errors import UsageError
from milepost.evaluation.definition import Evaluation
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.models.torch import TorchModel
from milepost.report.best import best_of
from milepost.report.compare import compare_two
from milepost.scoring.records import batch_means, score_kept
from milepost.store.store import Store
from milepost.tasks.classification import Classification

ROWS = 300
MARK = "PARTIAL: 2 of 4 variables missing"


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Linear(8, 6)
        self.head = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))  # type: ignore[no-any-return]


def trained(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return Net().state_dict()


def body_of(seed: int) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in trained(seed).items() if name.startswith("body")}


def examples() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, 8)).astype(np.float32), rng.integers(0, 4, ROWS)


def evaluation(build: Any = Net, model: Any = None) -> Evaluation:
    return Evaluation(
        model=model or TorchModel(build),
        data={"test": Arrays(*examples())},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
        batch_size=64,
        version="1",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs"
    made.mkdir()
    torch.save(trained(1), made / "step-100.pt")
    torch.save(body_of(2), made / "step-200.pt")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "evals"


def statuses(events: Any) -> dict[int, str]:
    return {record["checkpoint"]["step"]: record["status"] for record in events.of("record")}


def test_without_it_nothing_is_restored_in_part(folder: Path, store: Path) -> None:
    events = go(evaluation(), folder, store=store)
    assert events.done == (1, 0, 1)
    message = r"mismatch: .*2 of 4 variables are missing: head.weight, head.bias; --allow-missing would keep"
    assert re.search(message, events.failures["step-200.pt"])


def test_what_is_missing_keeps_the_built_values_and_is_marked(folder: Path, store: Path) -> None:
    go(evaluation(), folder, store=store)
    events = go(evaluation(), folder, store=store, allow_missing=True)
    assert events.done == (1, 1, 0)
    assert statuses(events) == {200: MARK}
    assert (
        f"step-200: {MARK}; they keep the values that the model was built with: head.weight, head.bias" in events.notes
    )
    torch.manual_seed(0)
    net = Net()
    net.load_state_dict(body_of(2), strict=False)
    inputs, labels = examples()
    with torch.no_grad():
        right = net(torch.from_numpy(inputs)).argmax(1).numpy() == labels
    assert events.value("top1") == right.mean()
    opened = Store.open(store)
    specs = [opened.evaluation(key).spec() or {} for key in opened.evaluations()]
    missing = [spec.get("missing") for spec in specs]
    assert len(missing) == 2
    assert {"variables": 2, "of": 4, "names": ["head.weight", "head.bias"]} in missing


def test_the_values_repeat_and_a_later_strict_run_refuses_again(folder: Path, store: Path) -> None:
    torch.manual_seed(5)
    go(evaluation(), folder, store=store, allow_missing=True)
    torch.manual_seed(6)
    again = go(evaluation(), folder, store=store, allow_missing=True)
    assert again.done == (0, 2, 0)
    strict = go(evaluation(), folder, store=store)
    assert strict.done == (0, 1, 1)
    assert "mismatch" in strict.failures["step-200.pt"]
    assert "PARTIAL" in planned(evaluation(), folder, store=store, allow_missing=True, again=True)["step-200/raw"]


def test_it_is_no_content_of_a_whole_checkpoint(folder: Path, store: Path) -> None:
    torch.manual_seed(0)
    whole = {**Net().state_dict(), **body_of(2)}
    torch.save(whole, folder / "step-300.pt")
    events = go(evaluation(), folder, store=store, allow_missing=True)
    assert events.done == (3, 0, 0)
    assert statuses(events) == {100: "ok", 200: MARK, 300: "ok"}
    assert len({record["checkpoint"]["digest"] for record in events.of("record")}) == 3
    assert events.value("top1", step=200) == events.value("top1", step=300)


def test_rows_that_are_missing_too_are_reported_as_well(folder: Path, store: Path) -> None:
    events = go(evaluation(), folder, store=store, allow_missing=True, limit=256)
    assert statuses(events) == {100: "partial 256/300", 200: f"{MARK}; partial 256/300"}


def test_new_metrics_and_other_batch_means_are_marked_too(folder: Path, store: Path) -> None:
    events = go(evaluation(), folder, store=store, allow_missing=True)
    (digest,) = {item["checkpoint"]["digest"] for item in events.of("record") if item["status"] == MARK}
    made = score_kept(Store.open(store), digest, [TopK(3)]) + batch_means(Store.open(store), digest, [7])
    assert {(payload["estimator"], payload["status"]) for payload in made} == {("exact", MARK), ("batch_mean", MARK)}


def test_all_else_stays_strict(folder: Path, store: Path) -> None:
    (folder / "step-100.pt").unlink()
    torch.save({**body_of(2), "extra": torch.ones(2)}, folder / "unexpected.pt")
    torch.save({**body_of(2), "body.weight": torch.ones(8, 6)}, folder / "misshapen.pt")
    torch.save({"other": torch.ones(2)}, folder / "foreign.pt")
    events = go(evaluation(), folder, store=store, allow_missing=True)
    assert events.done == (1, 0, 3)
    assert re.search(r"do not fit the model: 1 tensors are unexpected: extra$", events.failures["unexpected.pt"])
    assert "body.weight has shape [8, 6], the model wants [6, 8] (transposed?)" in events.failures["misshapen.pt"]
    assert "none of the 4 variables is there; 1 tensors are unexpected: other" in events.failures["foreign.pt"]


def test_bookkeeping_alone_is_nothing_restored(folder: Path, store: Path) -> None:
    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))

    torch.save({"1.num_batches_tracked": torch.tensor(3)}, folder / "counts.pt")
    events = go(evaluation(build), folder / "counts.pt", store=store, allow_missing=True)
    assert re.search("mismatch: .* none of the 6 variables is there$", events.failures["counts.pt"])


def test_two_sets_that_hold_as_much_are_refused(folder: Path, store: Path) -> None:
    file = folder / "both.pt"
    torch.save({"student": body_of(1), "teacher": body_of(2)}, file)
    events = go(evaluation(), file, store=store, allow_missing=True)
    assert "two sets of tensors could be variant 'raw': 'student' and 'teacher'" in events.failures["both.pt"]
    torch.save({"student": trained(1), "teacher": body_of(2)}, file)
    whole = go(evaluation(), file, store=store, allow_missing=True)
    assert {record["status"] for record in whole.of("record")} == {"ok"}
    torch.save({"student": {"body.bias": torch.zeros(6)}, "teacher": body_of(2)}, file)
    assert {item["status"] for item in go(evaluation(), file, store=store, allow_missing=True).of("record")} == {MARK}


def test_prefixes_come_off_what_is_there(folder: Path, store: Path) -> None:
    wrapped = {f"module._orig_mod.{name}": tensor for name, tensor in body_of(2).items()}
    torch.save({"state_dict": wrapped, "optimizer": {}}, folder / "wrapped.pt")
    events = go(evaluation(), folder, store=store, allow_missing=True)
    assert events.ends["wrapped/raw"] == ("skipped", "same weights as step-200 (raw)")


def test_best_never_crowns_it_and_compare_says_so(folder: Path, store: Path) -> None:
    inputs, _ = examples()
    with torch.no_grad():
        torch.manual_seed(0)
        net = Net()
        net.load_state_dict(body_of(2), strict=False)
        labels = net(torch.from_numpy(inputs)).argmax(1).numpy()  # the partial one is always right
    easy = evaluation()
    object.__setattr__(easy, "data", {"test": Arrays(inputs, labels)})
    events = go(easy, folder, store=store, allow_missing=True)
    assert events.value("top1", step=200) == 1.0
    opened = Store.open(store)
    found = best_of(opened, "top1")
    assert found.best["checkpoint"]["step"] == 100
    assert [record["checkpoint"]["step"] for record in found.ranking.missing] == [200]
    assert f"not compared, restored in part: step-200 ({MARK})" in str(found)
    assert [item["status"] for item in found.plain()["missing"]] == [MARK]
    assert compare_two(opened, "100", "200").notes == (f"B is {MARK}",)
    (folder / "step-100.pt").unlink()
    go(easy, folder, store=store.parent / "alone", allow_missing=True)
    with pytest.raises(UsageError, match="no checkpoint has a value that can be compared \\(1 restored in part\\)"):
        best_of(Store.open(store.parent / "alone"), "top1")


def test_models_without_values_of_their_own_are_refused(folder: Path, store: Path) -> None:
    function = FunctionModel(lambda weights, x: x @ weights["w"], {"w": (8, 4)})
    with pytest.raises(UsageError, match="--allow-missing: a FunctionModel has no values of its own"):
        go(evaluation(model=function), folder, store=store, allow_missing=True)
    with pytest.raises(UsageError, match="was handed a module, whose first values may differ"):
        go(evaluation(model=TorchModel(Net())), folder, store=store, allow_missing=True)
    rng = np.random.default_rng()

    def unseeded() -> Net:
        made = Net()
        with torch.no_grad():
            made.head.weight.copy_(torch.from_numpy(rng.normal(size=(4, 6))))
        return made

    with pytest.raises(UsageError, match=r"head\.weight is not restored, and building the model gives it other values"):
        go(evaluation(unseeded), folder, store=store, allow_missing=True)


def test_building_leaves_the_users_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    model = TorchModel(Net)
    assert len(model.variables()) == 4
    assert model.initial(["head.bias"])["head.bias"].shape == (4,)
    assert torch.equal(torch.rand(4), expected)


def test_initial_values_of_small_floats() -> None:
    model = TorchModel(lambda: torch.nn.Linear(3, 2).to(torch.bfloat16))
    weight = model.initial(["weight"])["weight"]
    torch.manual_seed(0)
    assert weight.dtype.name == "bfloat16"
    assert np.array_equal(weight.astype(np.float32), torch.nn.Linear(3, 2).to(torch.bfloat16).weight.float().detach())


EVALUATION = """
import numpy as np, torch
from milepost.evaluation.definition import Evaluation
from milepost.data.arrays import Arrays
from milepost.models.torch import TorchModel
from milepost.metrics.top_k import TopK
from milepost.tasks.classification import Classification

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(8, 6), torch.nn.Linear(6, 4)
    def forward(self, x):
        return self.head(torch.relu(self.body(x)))

rng = np.random.default_rng(0)
data = {"test": Arrays(rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 4, 300))}
evaluation = Evaluation(
    model=TorchModel(Net), data=data, task=Classification(outputs="logits"), metrics=[TopK(1)], batch_size=64
)
"""


def test_on_the_command_line_in_two_processes(folder: Path, store: Path) -> None:
    (folder / "step-100.pt").unlink()
    file = folder.parent / "eval.py"
    file.write_text(EVALUATION)
    words = ("run", file, folder, "--store", store, "--allow-missing", "--json")
    first, second = command(*words), command(*words)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert lines_of(second.stdout).done == (0, 1, 0)
    assert {record["status"] for record in lines_of(first.stdout).of("record")} == {MARK}
    listed, shown = command("ls", "--store", store), command("show", "200", "--store", store)
    assert MARK in listed.stdout
    assert f"300 ({MARK})" in shown.stdout
    assert re.search(r"missing\.names +head\.weight, head\.bias", shown.stdout)
