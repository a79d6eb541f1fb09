"""Settings: converted by their defaults, recorded by whose code read them, part of the key."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests._material import ENVIRONMENT, checkpoints, command, evaluation_of, go, linear, lines_of

from milepost import setting
from milepost.core.types import Array, Job
from milepost.errors import UsageError
from milepost.evaluation.code_version import settings_of
from milepost.evaluation.loader import load
from milepost.evaluation.settings import settings_read
from milepost.report.show import Evaluated, describe
from milepost.store.store import Store

BODY = """
import numpy as np
import milepost
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)
x, y = rng.normal(size=(300, 8)).astype(np.float32), rng.integers(0, 10, 300)
evaluation = Evaluation(
    model=FunctionModel(lambda weights, x: (x + SHIFT) @ weights["w"] + weights["b"]),
    data={"test": Arrays(x, y)},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Forget the modules that a test imported."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if name.endswith("_of_settings"):
            del sys.modules[name]
    sys.path[:] = path


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        (None, 7, 7),
        ("12", 7, 12),
        ("-3", 7, -3),
        ("1e-3", 0.5, 0.001),
        ("2", 0.5, 2.0),
        ("1", False, True),
        ("TRUE", False, True),
        ("0", True, False),
        ("false", True, False),
        ("", "a", ""),
        ("7", "a", "7"),
        ("7", None, "7"),
        (None, None, None),
    ],
)
def test_a_value_takes_the_type_of_its_default(
    text: str | None, default: Any, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIZE_OF_A_TEST", raising=False)
    if text is not None:
        monkeypatch.setenv("SIZE_OF_A_TEST", text)
    found: Any = setting("SIZE_OF_A_TEST", default)
    assert (type(found), found) == (type(value), value)
    assert settings_read(None) == {"SIZE_OF_A_TEST": value}


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("7.5", 7, "a whole number"),
        ("", 7, "a whole number"),
        ("nan", 0.5, "a finite number"),
        ("fast", 0.5, "a finite number"),
        ("yes", False, "1, 0, true or false"),
        ("2", True, "1, 0, true or false"),
    ],
)
def test_a_value_that_does_not_convert_is_refused(
    text: str, default: Any, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZE_OF_A_TEST", text)
    with pytest.raises(UsageError, match=f"SIZE_OF_A_TEST is '{text}'; the evaluation expects {expected}"):
        setting("SIZE_OF_A_TEST", default)


def test_names_and_defaults_that_cannot_be_are_refused() -> None:
    for name in ("", "A=B", 3):
        with pytest.raises(UsageError, match="the name of an environment variable"):
            setting(name, 1)  # type: ignore[arg-type]
    for default in ([1], float("nan")):
        with pytest.raises(UsageError, match=r"expected a (default that is text|finite number)"):
            setting("SIZE_OF_A_TEST", default)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- whose they are


def test_each_file_of_a_process_has_its_own_settings_and_those_of_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared_of_settings.py").write_text("from milepost import setting\nW = setting('WIDTH_OF_A_TEST', 3)\n")
    read = "import shared_of_settings\nSHIFT = __import__('milepost').setting('{}', 0.5)\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}_of_settings.py").write_text(read.format(name.upper()) + BODY)
    (tmp_path / "none_of_settings.py").write_text("SHIFT = 0\n" + BODY)

    def found(name: str) -> dict[str, Any]:
        return settings_of(load(Job(str(tmp_path / f"{name}_of_settings.py"), "evaluation")))

    expected = {"one": {"ONE": 0.5, "WIDTH_OF_A_TEST": 3}, "two": {"TWO": 0.5, "WIDTH_OF_A_TEST": 3}, "none": {}}
    # The helper is imported once, for the first; and the second time round nothing is imported at all.
    for _ in range(2):
        assert {name: found(name) for name in expected} == expected
        monkeypatch.setenv("WIDTH_OF_A_TEST", "4")  # too late: modules are there already, and hold what they read


def test_what_is_read_while_model_or_data_are_built_counts_too(tmp_path: Path) -> None:
    built = "SHIFT = 0\ndef make():\n    return milepost.setting('DEPTH_OF_A_TEST', 2)\n"
    (tmp_path / "built_of_settings.py").write_text(built + BODY)
    evaluation = load(Job(str(tmp_path / "built_of_settings.py"), "evaluation"))
    assert settings_of(evaluation) == {}
    assert sys.modules["built_of_settings"].make() == 2
    assert settings_of(evaluation) == {"DEPTH_OF_A_TEST": 2}


def test_two_values_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "part_of_settings.py").write_text("from milepost import setting\nW = setting('WIDTH_OF_A_TEST', 3)\n")
    read = "import part_of_settings\nfrom milepost import setting\nSHIFT = setting('WIDTH_OF_A_TEST', 3.0)\n"
    (tmp_path / "ev_of_settings.py").write_text(read + BODY)
    evaluation = load(Job(str(tmp_path / "ev_of_settings.py"), "evaluation"))
    with pytest.raises(
        UsageError, match=r"'WIDTH_OF_A_TEST' is 3\.0 in .*ev_of_settings\.py and 3 in .*read it in one"
    ):
        settings_of(evaluation)


def test_a_prompt_has_all_that_its_process_read() -> None:
    setting("ONE", 1)
    eval(compile("setting('TWO', 2)", "<prompt>", "eval"))  # noqa: S307 - as a prompt does
    assert settings_read(None) == {"ONE": 1, "TWO": 2}
    assert settings_read({"elsewhere.py"}) == {}


# ----------------------------------------------------------------------------------------------------------- in the key


def specs(store: Path) -> list[dict[str, Any]]:
    opened = Store.open(store)
    return [opened.evaluation(key).spec() or {} for key in opened.evaluations()]


def test_another_value_is_another_evaluation_and_is_shown(tmp_path: Path) -> None:
    checkpoints(tmp_path / "lenet", 100)
    (tmp_path / "ev.py").write_text("from milepost import setting\nSHIFT = setting('SHIFT', 0.0)\n" + BODY)

    def run(**environment: str) -> tuple[int, int, int]:
        ended = command("run", "ev.py", "lenet", "--json", cwd=tmp_path, env={**ENVIRONMENT, **environment})
        assert ended.returncode == 0, ended.stderr
        return lines_of(ended.stdout).done

    assert run() == (1, 0, 0)
    assert run(SHIFT="2.5") == (1, 0, 0)
    assert run(SHIFT="2.50") == (0, 1, 0)  # the same number
    found = specs(tmp_path / "milepost-store")
    assert sorted(spec["settings"]["SHIFT"] for spec in found) == [0.0, 2.5]
    shown = command("show", "100", cwd=tmp_path).stdout
    assert "settings.SHIFT  2.5" in shown
    refused = command("run", "ev.py", "lenet", cwd=tmp_path, env={**ENVIRONMENT, "SHIFT": "far"})
    assert refused.returncode == 2
    assert "the environment variable SHIFT is 'far'; the evaluation expects a finite number" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_evaluation_without_settings_says_nothing_of_them(tmp_path: Path) -> None:
    go(evaluation_of(), checkpoints(tmp_path / "lenet", 100), store=tmp_path / "evals")
    (spec,) = specs(tmp_path / "evals")
    assert not {"settings", "model", "entry"} & spec.keys()


def late(weights: dict[str, Array], inputs: Array) -> Array:
    setting("READ_LATE", 1)
    return linear(weights, inputs)


def changing() -> Callable[..., Array]:
    calls: list[int] = []

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        calls.append(1)
        return np.asarray(linear(weights, inputs) + 0 * setting("READ_OFTEN", len(calls)))

    return predict


@pytest.mark.parametrize("predict", [late, changing()])
def test_a_setting_that_is_read_too_late_for_the_key_ends_the_run(predict: Any, tmp_path: Path) -> None:
    setting("READ_OFTEN", 0)
    folder = checkpoints(tmp_path / "lenet", 100)
    with pytest.raises(UsageError, match="was read while the model predicted: it is not in the key"):
        go(evaluation_of(predict=predict), folder, store=tmp_path / "evals")
    assert not list((tmp_path / "evals").rglob("*.npz"))
    assert not json.dumps(specs(tmp_path / "evals")).count("READ_LATE")


def test_show_has_a_word_for_settings_that_are_not_set_or_empty() -> None:
    spec = {"settings": {"A": None, "B": "", "C": False, "D": 0}}
    lines = dict(describe({"digest": "d1"}, [], [Evaluated("k", spec)])[-1].lines)
    assert lines == {"settings.A": "(not set)", "settings.B": "(empty)", "settings.C": "False", "settings.D": "0"}
