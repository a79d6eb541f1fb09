"""Evaluation files: importing them, scripts and prompts, and the version of their code."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests._material import ENVIRONMENT, checkpoints, evaluation_of, go

from milepost.core.types import Job
from milepost.errors import EvaluationFileError, UsageError
from milepost.evaluation.code_version import code_version
from milepost.evaluation.definition import Evaluation
from milepost.evaluation.loader import load

BODY = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)


def predict(weights, x):
    return x @ weights["w"] + weights["b"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 10, 300))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""


def script(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def opened(path: Path, name: str = "evaluation") -> Evaluation:
    """Load as in a fresh process: the module is forgotten afterwards."""
    try:
        return load(Job(str(path), name))
    finally:
        sys.modules.pop(path.stem, None)
        sys.path[:] = [item for item in sys.path if item != str(path.parent)]


# --------------------------------------------------------------------------------------------------------- from Python


@pytest.mark.parametrize("engine", ["inprocess", "local"])
def test_a_script_runs_its_own_evaluation(engine: str, tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100, 200)
    run = f'\n\nif __name__ == "__main__":\n    print(evaluation.run("lenet", store="evals", engine={engine!r}))\n'
    (tmp_path / "ev.py").write_text(BODY + run)
    ended = script(tmp_path, "ev.py")
    assert ended.returncode == 0, ended.stderr
    for piece in ("step-100", "step-200", "top1", "300"):
        assert piece in ended.stdout
    # The command finds the same results under the same code.
    events = go(tmp_path / "ev.py", tmp_path / "lenet", store=tmp_path / "evals")
    assert events.done == (0, 2, 0)
    assert "code changed" not in events.notes


def test_an_unguarded_run_in_an_evaluation_file_is_refused_with_advice(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    (tmp_path / "ev.py").write_text(BODY + '\nevaluation.run("lenet", store="evals")\n')
    with pytest.raises(EvaluationFileError, match=r'ev\.py calls run\(\) .* `if __name__ == "__main__":`'):
        go(tmp_path / "ev.py", tmp_path / "lenet", store=tmp_path / "evals")
    assert not (tmp_path / "evals").exists()


def test_an_unguarded_script_still_runs_by_itself_in_process(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    (tmp_path / "ev.py").write_text(BODY + '\nprint(evaluation.run("lenet", store="evals"))\n')
    ended = script(tmp_path, "ev.py")
    assert ended.returncode == 0, ended.stderr
    assert "step-100" in ended.stdout


def test_a_prompt_runs_in_its_own_process_only(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    run = 'print(evaluation.run("lenet", store="evals"))\n'
    ended = script(tmp_path, "-c", BODY + run)
    assert ended.returncode == 0, ended.stderr
    assert "step-100" in ended.stdout
    local = script(tmp_path, "-c", BODY + run.replace('"evals"', '"evals", engine="local"'))
    assert local.returncode != 0
    assert 'put it into a file, or use engine="inprocess"' in local.stderr


def test_results_hold_values(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100, 200)
    results = evaluation_of().run(str(folder), store=str(tmp_path / "evals"))
    assert (results.evaluated, results.skipped, results.failed) == (2, 0, 0)
    assert 0 <= (results.value("top1", step=100) or 0.0) <= 1
    assert "step-200" in str(results)
    again = evaluation_of().run(str(folder), store=str(tmp_path / "evals"))
    assert (again.evaluated, again.skipped) == (0, 2)
    assert again.value("top1", step=100) == results.value("top1", step=100)


# ------------------------------------------------------------------------------------------------------------- loading


def test_a_file_is_imported_under_its_own_name_with_its_folder_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "helper_of_a_test.py").write_text("WIDTH = 3\n")
    file = tmp_path / "eval_of_a_test.py"
    file.write_text("import helper_of_a_test\nassert __name__ == 'eval_of_a_test'\n" + BODY)
    try:
        found = opened(file)
    finally:
        sys.modules.pop("helper_of_a_test", None)
    assert found.file == str(file)
    assert set(code_version(found)["files"]) >= {"eval_of_a_test.py"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (\n", "SyntaxError"),
        ("import not_there_at_all\n", "ModuleNotFoundError"),
        ("raise RuntimeError('by the user')\n", "by the user"),
        ("other = 1\n", "^bad_eval.py defines no variable `evaluation`; expected one that holds a milepost.Eval"),
        ("evaluation = None\n", "does not define `evaluation` as a milepost.Evaluation .found NoneType"),
        (
            BODY + 'Arrays([[1.0]], [0], version="1")\n',
            rf"^bad_eval.py, line {BODY.count(chr(10)) + 1}: Arrays\(version='1'",
        ),
        ("evaluation = 3\n", r"found int"),
        (BODY.replace("evaluation = Eval", "other = Eval"), "it has: other"),
        (BODY.replace("[TopK(1)]", "[TopK(0)]"), "TopK"),
        (BODY.replace("[TopK(1)]", "[]"), "at least one metric"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad_eval.py").write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        opened(tmp_path / "bad_eval.py")
    assert "frozen importlib" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFileError, match="is not a file; expected a Python file that defines `evaluation`"):
        load(Job(str(tmp_path / "none.py"), "evaluation"))


def test_evaluations_by_name(tmp_path: Path) -> None:
    file = tmp_path / "named_eval.py"
    file.write_text(BODY.replace("evaluation = Eval", "large = Eval"))
    assert opened(file, "large").batch_size is None


# -------------------------------------------------------------------------------------------------------- code versions


def version_of(path: Path) -> tuple[str, list[str]]:
    found: dict[str, Any] = code_version(evaluation_of(version=None, file=str(path)))
    return found["version"], sorted(found["files"])


def test_the_version_hashes_what_is_imported_directly_or_not(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "deep.py").write_text("from json import dumps\nX = 1\n")
    (tmp_path / "near.py").write_text("import numpy\nfrom package import deep\n")
    (tmp_path / "unused.py").write_text("X = 1\n")
    file = tmp_path / "ev.py"
    file.write_text("import near\n")
    first, files = version_of(file)
    assert files == ["ev.py", "near.py", "package/__init__.py", "package/deep.py"]
    (tmp_path / "unused.py").write_text("X = 2\n")
    assert version_of(file)[0] == first
    (tmp_path / "package" / "deep.py").write_text("# message\nfrom json import dumps\n\nX = 1  # still\n")
    assert version_of(file)[0] == first
    (tmp_path / "package" / "deep.py").write_text("from json import dumps\nX = 2\n")
    assert version_of(file)[0] != first


def test_a_copied_project_keeps_its_version(tmp_path: Path) -> None:
    versions = set()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "near.py").write_text("X = 1\n")
        (tmp_path / name / "ev.py").write_text("import near\n")
        versions.add(version_of(tmp_path / name / "ev.py")[0])
    assert len(versions) == 1


def test_settings_that_are_off_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="expected a positive integer"):
        evaluation_of(batch_size=0)
    with pytest.raises(UsageError, match="expected a tuple of names"):
        evaluation_of(variants="raw")
    with pytest.raises(UsageError, match="expected None or 'all'"):
        evaluation_of(keep="some")
