"""Which statements of a module run only in a script, and which may read something."""

import ast

import pytest

from milepost.evaluation.statements import acts_from, main_blocks


@pytest.mark.parametrize(
    "text",
    [
        "'''Text.'''\nimport os, numpy as np\nfrom a.b import c\n",
        "try:\n    import tomllib\nexcept ImportError:\n    tomllib = None\n",
        "HERE = Path(__file__).resolve().parent\nsys.path.insert(0, os.path.dirname(__file__))\n",
        "os.environ['OMP_NUM_THREADS'] = '1'\ntorch.manual_seed(0)\nX = [1, -2.5, 'a' + 'b']\n",
        "def f(a, b=3):\n    return open(a).read()\n",
        "@dataclass\nclass A:\n    x: int = 3\n    def f(self):\n        return os.environ['A']\n",
        "if TYPE_CHECKING:\n    from a import b\n",
        "f = lambda p: open(p)\n",
    ],
)
def test_what_reads_nothing(text: str) -> None:
    assert acts_from(ast.parse(text)) is None


@pytest.mark.parametrize(
    "statement",
    [
        "M = open('a').read()",
        "M = os.environ['A']",
        "M = 'A' in os.environ",
        "M = os.environ",
        "from os import getenv; M = getenv('A')",
        "M = [os.environ['A']]",
        "os.environ[open('a').read()] = '1'",
        "os.environ['A'] = M = os.environ['B']",
        "def f(a=open('a').read()): pass",
        "@register('a.json')\ndef f(): pass",
        "@decorated\ndef f(): pass",
        "class A:\n    x = load()",
        "with opened: pass",
        "for line in lines: pass",
        "M = [line for line in lines]",
        "M = f'{load()}'",
        "M = Path('a').read_text()",
        "assert load()",
        "if load(): pass",
        "Path(load()).resolve()",
        "x = yaml.safe_load",  # no call
    ],
)
def test_what_may_read(statement: str) -> None:
    expected = None if statement.startswith("x = ") else 2
    assert acts_from(ast.parse(f"import os\n{statement}\n")) == expected


def test_main_blocks() -> None:
    text = "a = 1\nif '__main__' == __name__ and a:\n    b = 2\n    c = (\n    3)\nelse:\n    d = 4\nif a:\n    e = 5\n"
    assert main_blocks(ast.parse(text)) == [(3, 5)]
    assert main_blocks(ast.parse("if __name__ != '__main__':\n    a = 1\n")) == []
