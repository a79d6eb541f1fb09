"""Several evaluations in one file, and what else than weights, data, task and code keeps evaluations apart."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests._material import (
    ENVIRONMENT,
    checkpoints,
    columns_of,
    command,
    evaluation_of,
    examples,
    go,
    lines_of,
    planned,
    request_of,
    weights_of,
)

from milepost.core.types import Array, Job
from milepost.data.arrays import Arrays
from milepost.errors import EvaluationFileError, UsageError
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import entries, load
from milepost.models.torch import TorchModel
from milepost.run.run import plan
from milepost.store.store import Store

HEAD = """
from functools import partial
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification
import numpy as np

rng = np.random.default_rng(0)
x, y = rng.normal(size=(700, 8)).astype(np.float32), rng.integers(0, 10, 700)


def shifted(by, weights, x):
    return (x + by) @ weights["w"] + weights["b"]


def make(by, **data):
    model = FunctionModel(partial(shifted, by))
    return Evaluation(
        model=model, data=data or {"test": Arrays(x, y)}, task=Classification(outputs="logits"), metrics=[TopK(1)]
    )

"""
TWO = HEAD + 'evaluations = {"clean": make(0), "noisy": make(np.float32(0.5))}\n'


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget the evaluation files that a test imported into this process."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("ev_"):
            del sys.modules[name]
    sys.path[:] = path


def written(folder: Path, text: str, name: str = "ev_several.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def right(step: int, shift: float) -> int:
    """How many rows a checkpoint has right, by an independent reading."""
    (inputs, labels), weights = examples(700), weights_of(step)
    scores = (inputs + np.float32(shift)) @ weights["w"] + weights["b"]
    return int((scores.argmax(axis=1) == labels).sum())


def shifted(by: float, weights: dict[str, Array], inputs: Array) -> Array:
    return np.asarray((inputs + np.float32(by)) @ weights["w"] + weights["b"])


def specs(store: Path) -> dict[str, dict[str, Any]]:
    opened = Store.open(store)
    return {key: opened.evaluation(key).spec() or {} for key in opened.evaluations()}


# ---------------------------------------------------------------------------------------------------- one after another


def test_equal_data_and_task_with_another_model_are_another_evaluation(tmp_path: Path) -> None:
    folder, file = checkpoints(tmp_path / "lenet", 100, 200), written(tmp_path, TWO)
    events = go(file, folder, store=tmp_path / "evals", engine="inprocess")
    assert events.done == (2, 0, 0)  # checkpoints, not evaluations
    for step in (100, 200):
        for name, shift in (("clean", 0.0), ("noisy", 0.5)):
            assert events.value("top1", step=step, data=f"{name}/test") == right(step, shift) / 700
    assert right(100, 0.0) != right(100, 0.5)
    assert len(events.of("start")) == 1
    assert [item["event"] for item in events].count("done") == 1
    found = specs(tmp_path / "evals")
    assert sorted((spec["entry"], spec["data_name"]) for spec in found.values()) == [
        ("clean", "clean/test"),
        ("clean", "clean/test"),
        ("noisy", "noisy/test"),
        ("noisy", "noisy/test"),
    ]
    assert len({spec["data"] for spec in found.values()}) == 1
    assert go(file, folder, store=tmp_path / "evals", engine="inprocess").done == (0, 2, 0)


def test_one_of_them_by_name_and_a_plan_of_all(tmp_path: Path) -> None:
    folder, file, store = checkpoints(tmp_path / "lenet", 100), written(tmp_path, TWO), tmp_path / "evals"
    how: dict[str, Any] = {"store": store, "engine": "inprocess"}
    events = go(file, folder, attribute="noisy", **how)
    assert {record["data"] for record in events.of("record")} == {"noisy/test"}
    rows = plan(request_of(file, folder, **how), lambda _: None)
    assert [(row["data"], row["action"]) for row in rows] == [("clean/test", "evaluate"), ("noisy/test", "skip")]
    assert planned(file, folder, attribute="noisy", **how) == {"step-100/raw": "skip: nothing is missing"}
    assert {record["data"] for record in go(file, folder, **how).of("record")} == {"clean/test"}


def test_data_narrows_over_all_of_them(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    more = "evaluations = {'a': make(0), 'b': make(0, test=Arrays(x, y), small=Arrays(x[:300], y[:300]))}\n"
    how: dict[str, Any] = {"store": tmp_path / "evals", "engine": "inprocess"}
    file = written(tmp_path, HEAD + more)

    def evaluated(data: str) -> list[tuple[str, int]]:
        events = go(file, folder, data=data, **how)
        return [(item["data"], item["n"]) for item in events.of("record") if item["estimator"] == "exact"]

    assert evaluated("b/small") == [("b/small", 300)]
    assert evaluated("test") == [("a/test", 700), ("b/test", 700)]
    assert evaluated("small") == []
    with pytest.raises(UsageError, match="--data c/test: the evaluation has no such data set; it has: a/test, b/test"):
        evaluated("c/test")


def test_a_file_that_fails_is_reported_once(tmp_path: Path) -> None:
    folder, file = checkpoints(tmp_path / "lenet", 100, 200), written(tmp_path, TWO)
    (folder / "step-200.npz").write_bytes((folder / "step-200.npz").read_bytes()[:300])
    events = go(file, folder, store=tmp_path / "evals", engine="inprocess")
    assert events.done == (1, 0, 1)
    assert len(events.of("failure")) == 1
    rows = plan(request_of(file, folder, store=tmp_path / "evals", engine="inprocess"), lambda _: None)
    assert [row["action"] for row in rows].count("failed") == 1


def test_an_entry_keeps_its_results_when_it_gets_company_or_a_variable(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    how: dict[str, Any] = {"store": tmp_path / "evals", "engine": "inprocess"}
    made = "one, two = make(0), make(np.float32(0.5))\nevaluations = {'clean': one, 'noisy': two}\n"
    more = written(tmp_path, HEAD + made)
    events = go(more, folder, **how)
    assert events.done == (1, 0, 0)
    assert go(more, folder, attribute="clean", **how).done == (0, 1, 0)
    by_variable = go(more, folder, attribute="one", **how)
    assert {record["data"] for record in by_variable.of("record")} == {"one/test"}


# ------------------------------------------------------------------------------------------------- scripts and commands


def test_the_command_and_a_script_agree_on_what_is_done(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    main = """
if __name__ == "__main__":
    for engine in ("inprocess", "local"):
        done = evaluations["noisy"].run("lenet", engine=engine)
        print(done.evaluated, done.skipped)
"""
    written(tmp_path, TWO + main, "ev.py")
    ended = command("run", "ev.py", "lenet", "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    events = lines_of(ended.stdout)
    assert events.done == (1, 0, 0)
    assert events.value("top1", data="noisy/test") == right(100, 0.5) / 700
    script = subprocess.run(
        [sys.executable, "ev.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert script.stdout.splitlines() == ["0 1", "0 1"], script.stderr
    assert len(specs(tmp_path / "milepost-store")) == 2
    shown = command("plan", "ev.py:noisy", "lenet", cwd=tmp_path)
    assert "noisy/test" in shown.stdout
    assert "clean/test" not in shown.stdout


def test_another_process_cannot_find_an_evaluation_without_a_name(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    with pytest.raises(UsageError, match=r"engine='local' imports .* again, but this Evaluation is not assigned"):
        evaluation_of(file=__file__).run(str(folder), store=str(tmp_path / "evals"), engine="local")


def test_evaluations_of_a_loop_are_distinguished_by_a_name_of_their_own(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)
    for shift in (0.0, 0.5):
        evaluation = evaluation_of(predict=partial(shifted, shift), entry=f"by-{shift}")
        events = go(evaluation, folder, store=tmp_path / "evals")
        assert events.value("top1", data=f"by-{shift}/test") == right(100, shift) / 700
    with pytest.raises(UsageError, match=r"entry='a/b'\): expected None or a name"):
        evaluation_of(entry="a/b")


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("evaluations = {}\n", "`evaluations` should be a dict .* an empty dict"),
        ("evaluations = [make(0)]\n", "`evaluations` should be a dict .* found list"),
        ("evaluations = {1: make(0)}\n", "1 cannot name one of `evaluations`"),
        ("evaluations = {'a/b': make(0)}\n", "'a/b' cannot name one"),
        ("evaluations = {'evaluation': make(0)}\n", "'evaluation' cannot name one"),
        ("evaluations = {'a': 3}\n", r"evaluations\['a'\] is no milepost\.Evaluation; found int"),
        ("evaluation = make(0)\nevaluations = {'a': evaluation}\n", "defines both `evaluation` and `evaluations`"),
    ],
)
def test_a_dict_that_cannot_be_used_says_why(text: str, words: str, tmp_path: Path) -> None:
    job = Job(str(written(tmp_path, HEAD + text)), "evaluation")
    for ask in (load, entries):
        with pytest.raises(EvaluationFileError, match=words):
            ask(job)


def test_names_are_found_in_the_dict_and_among_the_variables(tmp_path: Path) -> None:
    file = str(written(tmp_path, HEAD + "wide = make(0)\nevaluations = {'v1.2-a': wide, 'b': make(1), 'x': make(2)}\n"))
    assert entries(Job(file, "evaluation")) == ["v1.2-a", "b", "x"]
    assert entries(Job(file, "b")) == []
    assert load(Job(file, "evaluation")).entry == "v1.2-a"
    assert list(load(Job(file, "wide")).sources) == ["wide/test"]
    with pytest.raises(EvaluationFileError, match=r"defines no variable `c`.*it has: b, v1\.2-a, wide, x"):
        load(Job(file, "c"))
    clash = str(written(tmp_path, HEAD + "b = make(0)\nevaluations = {'b': make(1)}\n", "ev_clash.py"))
    with pytest.raises(EvaluationFileError, match="two evaluations named 'b'"):
        load(Job(clash, "b"))


def test_a_plain_evaluation_has_no_name_and_its_data_keep_theirs(tmp_path: Path) -> None:
    file = str(written(tmp_path, HEAD + "evaluation = make(0)\n"))
    found = load(Job(file, "evaluation"))
    assert (found.entry, list(found.sources)) == (None, ["test"])
    assert entries(Job(file, "evaluation")) == []


@pytest.mark.parametrize("name", ["a/b", "", 3])
def test_data_names_hold_no_slash(name: Any) -> None:
    with pytest.raises(UsageError, match="expected a name of text without '/'"):
        evaluation_of(data={name: Arrays(*examples(10))})


# ----------------------------------------------------------------------------------------------------------- arithmetic


def linear_torch(**policy: Any) -> Evaluation:
    return evaluation_of(model=TorchModel(lambda: torch.nn.Linear(8, 10), **policy))


def test_the_arithmetic_is_in_the_key_and_not_in_the_content(tmp_path: Path) -> None:
    folder, weights = tmp_path / "runs", {}
    folder.mkdir()
    torch.manual_seed(3)
    net = torch.nn.Linear(8, 10)
    torch.save(net.state_dict(), folder / "step-1.pt")
    inputs, labels = (torch.from_numpy(item) for item in examples(700))
    policies: list[dict[str, Any]] = [{}, {"dtype": "bfloat16"}, {"autocast": "bfloat16"}, {"dtype": "float64"}]
    nlls = {}
    for policy in policies:
        name = "-".join([*policy, *policy.values()]) or "plain"
        events = go(linear_torch(**policy), folder, store=tmp_path / name)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled="autocast" in policy):
            dtype = getattr(torch, policy.get("dtype", "float32"))
            scores = torch.nn.functional.linear(inputs.to(dtype), net.weight.to(dtype), net.bias.to(dtype)).double()
        judged = torch.nn.functional.cross_entropy(scores, labels, reduction="none").numpy()
        found = columns_of(tmp_path / name)["nll"]  # in the order, which is another than the rows'
        np.testing.assert_allclose(np.sort(found), np.sort(judged), rtol=1e-6, atol=1e-6)
        assert events.value("cross_entropy") == pytest.approx(judged.mean(), rel=1e-7)
        ((key, spec),) = specs(tmp_path / name).items()
        assert spec.get("model") == ({"name": "torch", **policy} if policy else None)
        nlls[key], weights[key] = judged.mean(), spec["weights"]
    assert len(nlls) == 4
    assert len(set(nlls.values())) == 3  # of one layer alone, autocast makes what bfloat16 makes
    assert len(set(weights.values())) == 1
    for policy in policies[:2]:  # side by side in one store, and known when they come again
        assert go(linear_torch(**policy), folder, store=tmp_path / "both").done == (1, 0, 0)
    assert go(linear_torch(device="cpu", dtype="bfloat16"), folder, store=tmp_path / "both").done == (0, 1, 0)
    assert go(linear_torch(dtype="bfloat16"), folder, store=tmp_path / "both", device="cpu").done == (0, 1, 0)


def test_compare_reports_another_arithmetic_and_prefers_the_same(tmp_path: Path) -> None:
    folder, store = tmp_path / "runs", tmp_path / "evals"
    folder.mkdir()
    for step in (1, 2):
        torch.manual_seed(step)
        torch.save(torch.nn.Linear(8, 10).state_dict(), folder / f"step-{step}.pt")
    go(linear_torch(), folder / "step-1.pt", store=store)
    go(linear_torch(autocast="bfloat16"), folder / "step-2.pt", store=store)
    words = "with different settings or in different arithmetic"
    assert words in " ".join(command("compare", "1", "2", "--store", store).stdout.split())
    go(linear_torch(autocast="bfloat16"), folder, store=store)
    assert words not in command("compare", "1", "2", "--store", store).stdout
