"""The form of a module's text: what may be edited without new code, and what may not."""

import pytest

from milepost.evaluation.source import source_of

FUNCTION = """
def predict(weights, x):
    scale = 2.0
    return scale * (x @ weights["w"])
"""


def form(text: str, words: frozenset[str] | None = frozenset()) -> str:
    return source_of(text.encode()).normalised(words)


@pytest.mark.parametrize(
    "edited",
    [
        FUNCTION.replace("scale = 2.0", "scale = 2.0  # doubled"),
        FUNCTION.replace("scale = 2.0", '"""Predict."""\n    scale = 2.0'),
        FUNCTION.replace("scale = 2.0", "\n\n    scale = (\n        2.0\n    )"),
        FUNCTION.replace("scale", "factor"),
    ],
    ids=["comment", "docstring", "layout", "name of a local"],
)
def test_edits_that_change_no_program(edited: str) -> None:
    assert form(edited) == form(FUNCTION)


@pytest.mark.parametrize(
    "edited",
    [
        FUNCTION.replace("2.0", "2"),
        FUNCTION.replace("2.0", "-2.0"),
        FUNCTION.replace("x @", "x * 1 @"),
        FUNCTION.replace("weights", "w"),  # a parameter may be given by its name
        FUNCTION.replace('"w"', '"v"'),
        FUNCTION.replace("predict", "forward"),
        FUNCTION.replace("scale * (x", "(x").replace('"])', '"] * scale)'),
        "import torch\n" + FUNCTION,
    ],
)
def test_edits_that_may_change_a_number(edited: str) -> None:
    assert form(edited) != form(FUNCTION)


def test_two_locals_that_change_places_are_another_program() -> None:
    first = "def f(x):\n    a = x + 1\n    b = x + 2\n    return a\n"
    assert form(first) != form(first.replace("return a", "return b"))
    assert form(first) == form(first.replace("a", "c").replace("return c", "return c"))


@pytest.mark.parametrize("looks", ["locals()", "eval('scale')", "vars()", "sys._getframe()", "inspect.stack()"])
def test_names_of_locals_count_where_something_may_look_them_up(looks: str) -> None:
    assert not source_of(FUNCTION.encode()).introspects
    assert source_of(FUNCTION.replace("return", f"{looks}\n    return").encode()).introspects
    assert form(FUNCTION, None) != form(FUNCTION.replace("scale", "factor"), None)


def test_a_local_that_a_string_names_keeps_its_name() -> None:
    text = FUNCTION + 'WHERE = "scale < 3"\n'
    words = source_of(text.encode()).words
    assert "scale" in words
    renamed = text.replace("    scale", "    factor").replace("return scale", "return factor")
    assert form(text, words) != form(renamed, words)


def test_variables_of_closures_keep_their_names() -> None:
    text = "def make():\n    scale = 2\n    def inner(x):\n        return scale * x\n    return inner\n"
    assert form(text) != form(text.replace("scale", "factor"))


def test_what_does_not_compile_stands_for_itself() -> None:
    assert form("def f(:") != form("def f(:  # edited")
