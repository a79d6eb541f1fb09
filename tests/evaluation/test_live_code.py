"""The code of a prompt or notebook: what is part of its version, what is not, and where a version is asked for."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from tests._material import checkpoints

from milepost.errors import UsageError
from milepost.evaluation.code_version import code_version

CELL = """
import functools
import numpy as np
from milepost import Evaluation
from milepost.data.arrays import Arrays
from milepost.metrics.top_k import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks.classification import Classification

SCALE = 2.0
TABLE = {"shift": [1, 2], "names": ("a", "b")}
OFFSETS = np.array([0.0, 1.0])
unrelated = 1

def helper(x):
    return x * SCALE

def times(number):
    def wrap(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args) * number
        return inner
    return wrap

class Base:
    power = 1

    def raised(self, x):
        return x ** self.power

class Head(Base):
    def __init__(self, width=3):
        self.width = width

    @property
    def twice(self):
        return 2 * self.width

head = Head()

@times(3)
def predict(weights, inputs, shift=0.5):
    '''Score.'''
    total = helper(inputs @ weights["w"]) + shift + TABLE["shift"][0] + OFFSETS[0]
    return head.raised(total)

def nothing():
    return 1

evaluation = Evaluation(
    model=FunctionModel(functools.partial(predict)),
    data={"test": Arrays(np.eye(3, dtype=np.float32), np.arange(3))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""
_numbers = itertools.count()


def evaluation_of(text: str, file: str = "/tmp/ipykernel_0/{}.py") -> Any:  # noqa: S108 - the name of no file
    """Run a cell as a notebook does: in a namespace, under the name of a file that is not there."""
    number = next(_numbers)
    namespace: dict[str, Any] = {"__name__": f"a_notebook_{number}"}
    exec(compile(text, file.format(number), "exec"), namespace)  # noqa: S102 - as a notebook does
    return namespace["evaluation"]


def version_of(text: str, **options: Any) -> str:
    return str(code_version(evaluation_of(text, **options))["version"])


@pytest.fixture(scope="module")
def version() -> str:
    return version_of(CELL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2.0", "SCALE = 2.0  # a comment\n\n"),
        ("def nothing():\n    return 1", "def nothing():\n    return 2"),
        ("unrelated = 1", "unrelated = object()"),
    ],
)
def test_what_decides_nothing_leaves_the_version(version: str, old: str, new: str) -> None:
    assert old in CELL
    assert version_of(CELL.replace(old, new)) == version


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 2.0", "SCALE = 2.5"),
        ("SCALE = 2.0", "SCALE = 2"),
        ('"shift": [1, 2]', '"shift": [1, 3]'),
        ("np.array([0.0, 1.0])", "np.array([0.0, 1.5])"),
        ("np.array([0.0, 1.0])", "np.array([0.0, 1.0], np.float32)"),
        ("return x * SCALE", "return x / SCALE"),
        ("@times(3)", "@times(4)"),
        ("@times(3)\n", ""),
        ("return function(*args) * number", "return function(*args) - number"),
        ("power = 1", "power = 2"),
        ("return x ** self.power", "return -x ** self.power"),
        ("width=3", "width=4"),
        ("return 2 * self.width", "return 3 * self.width"),
        ("head = Head()", "head = Head(9)"),
        ("shift=0.5", "shift=0.6"),
        ("functools.partial(predict)", "functools.partial(predict, shift=0.1)"),
        ("functools.partial(predict)", "lambda w, x: -predict(w, x)"),
    ],
)
def test_what_decides_the_numbers_is_part_of_the_version(version: str, old: str, new: str) -> None:
    assert old in CELL
    assert version_of(CELL.replace(old, new)) != version


def test_the_same_text_has_one_version_wherever_it_runs(version: str) -> None:
    assert version_of(CELL) == version
    assert version_of(CELL, file="<stdin>") == version
    assert version_of(CELL, file="<ipython-input-{}-0123456789ab>") == version


def test_a_module_of_the_users_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("at_the_top", "in_a_function"):
        (tmp_path / f"{name}.py").write_text("def turn(x):\n    return x\n")
    text = CELL.replace("import functools", "import functools, at_the_top")
    text = text.replace("return x * SCALE", "import in_a_function\n    return in_a_function.turn(at_the_top.turn(x))")
    versions = set()
    for changed in (None, "at_the_top", "in_a_function"):
        if changed:
            (tmp_path / f"{changed}.py").write_text("def turn(x):\n    return -x\n")
        for name in ("at_the_top", "in_a_function"):
            sys.modules.pop(name, None)
        versions.add(version_of(text))
    assert len(versions) == 3


KINDS = {
    "a factory": (
        (
            "import dataclasses\n@dataclasses.dataclass\nclass C:\n"
            "    a: list = dataclasses.field(default_factory=lambda: [1])\nthing = C"
        ),
        ("[1])", "[2])"),
    ),
    "an enumeration": ("import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\nthing = E", ("B = 2", "B = 3")),
    "a number of an enumeration": ("import enum\nclass E(enum.IntEnum):\n    A = 1\nthing = E.A", ("A = 1", "A = 4")),
    "a cached function": ("@functools.lru_cache\ndef thing(a):\n    return a", ("return a", "return -a")),
    "a cached property": (
        "class K:\n    @functools.cached_property\n    def z(self):\n        return 1\nthing = K()",
        ("return 1\nthing", "return 2\nthing"),
    ),
    "a path": ("from pathlib import Path\nthing = Path('a')", ("Path('a')", "Path('b')")),
    "a long list": ("thing = list(range(5000))", ("5000", "5001")),
    "a named tuple": (
        "import collections\nP = collections.namedtuple('P', 'a b')\nthing = P(1, 2)",
        ("P(1, 2)", "P(1, 3)"),
    ),
    "an expression": ("import re\nthing = re.compile('a')", ("'a'", "'b'")),
    "an estimator": (
        "from sklearn.preprocessing import StandardScaler\nthing = StandardScaler().fit(np.eye(5))",
        ("eye(5)", "eye(6)"),
    ),
    "a generator": ("def thing():\n    yield 1", ("yield 1", "yield 2")),
    "a protocol": (
        (
            "from typing import Protocol\nclass A(Protocol):\n    def f(self): ...\n"
            "class B(A):\n    def f(self):\n        return 1\nthing = B()"
        ),
        ("return 1\nthing", "return 2\nthing"),
    ),
    "an object that holds itself": (
        "class N:\n    pass\nthing = N()\nthing.me = thing\nthing.n = 1",
        (".n = 1", ".n = 2"),
    ),
    "a logger": ("import logging\nthing = logging.getLogger('a')", ("getLogger('a')", "getLogger('b')")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_thing_that_a_function_names_has_an_identity(kind: str) -> None:
    made, change = KINDS[kind]
    text = CELL.replace("SCALE = 2.0", f"{made}\nSCALE = 2.0").replace(
        "return x * SCALE", "thing\n    return x * SCALE"
    )
    first = version_of(text)
    assert version_of(text) == first
    assert version_of(text.replace(*change)) != first


@pytest.mark.parametrize(
    "thing",
    ["threading.Lock()", "np.random.default_rng(0)", "iter([1])", "[object()]", "sys.stdout"],
)
def test_what_has_no_identity_asks_for_a_version(thing: str) -> None:
    text = CELL.replace("SCALE = 2.0", f"import sys, threading\nSCALE = {thing}")
    with pytest.raises(UsageError, match=r'SCALE.*: set Evaluation\(version="1", \.\.\.\)'):
        version_of(text)
    declared = text.replace("metrics=[TopK(1)],", 'metrics=[TopK(1)], version="7",')
    assert version_of(declared) == "declared:7"


def test_where_a_version_is_asked_for_nothing_is_made(tmp_path: Path) -> None:
    checkpoints(tmp_path / "run", 1)
    evaluation = evaluation_of(CELL.replace("SCALE = 2.0", "SCALE = object()"))
    with pytest.raises(UsageError, match="was made in a prompt or notebook"):
        evaluation.run(str(tmp_path / "run"), store=str(tmp_path / "evals"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.wide  # Keras takes seconds to import
@pytest.mark.parametrize("handed_in", [True, False])
def test_a_model_of_keras_is_known_by_its_configuration(handed_in: bool) -> None:
    pytest.importorskip("keras", reason="keras is an extra")
    text = CELL.replace(
        "import functools", "import functools\nimport keras\nfrom milepost.models.keras import KerasModel"
    )
    layers = "keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(5, activation='relu')])"
    made = f"model = {layers}" if handed_in else f"def model():\n    return {layers}"
    text = text.replace("def nothing", f"{made}\n\ndef nothing")
    text = text.replace("FunctionModel(functools.partial(predict))", "KerasModel(model)")
    first = version_of(text)
    assert version_of(text) == first  # its layers have other numbers in their names
    assert version_of(text.replace("relu", "tanh")) != first


def test_parameters_of_a_module_that_was_handed_in_do_not_count() -> None:
    torch = pytest.importorskip("torch", reason="torch is an extra")
    text = CELL.replace("import functools", "import functools, torch\nfrom milepost.models.torch import TorchModel")
    text = text.replace("FunctionModel(functools.partial(predict))", "TorchModel(net)")
    net = "class Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    net += "        self.fc = torch.nn.Linear(3, 3)\n        self.dropout = torch.nn.Dropout(0.5)\n"
    net += "    def forward(self, x):\n        return self.fc(x)\n\nnet = Net()\n"
    text = text.replace("def nothing", f"{net}\ndef nothing")
    torch.manual_seed(0)
    first = version_of(text)
    assert version_of(text) == first  # of other random weights
    assert version_of(text.replace("net = Net()", "net = Net().eval()")) == first
    assert version_of(text.replace("self.fc(x)", "-self.fc(x)")) != first
    assert version_of(text.replace("Linear(3, 3)", "Linear(3, 3, bias=False)")) != first
