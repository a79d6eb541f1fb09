"""A notebook in a real kernel: it runs in the first cell, again in the next kernel, and shows what it made."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests._material import import_path

FIRST = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import Confusion, CrossEntropy, TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

{config}

def predict(weights, inputs):
    return inputs @ weights["w"] * SCALE

rng = np.random.default_rng(0)
inputs, labels = rng.normal(size=(200, 8)).astype("float32"), rng.integers(0, 3, 200)
evaluation = Evaluation(
    model=FunctionModel(predict),
    data={{"test": Arrays(inputs, labels, class_names=["ant", "bee", "cat"])}},
    task=Classification(outputs="logits"),
    metrics=[TopK(1), CrossEntropy(), Confusion()],
)
results = evaluation.run("lenet", store="evals")
results
"""
COUNTS = "print(results.evaluated, results.skipped)"
SHOWN = (
    "evaluation",
    "import milepost; store = milepost.open_store('evals'); store",
    "store.best('top1')",
    "store.compare(1, 2)",
    "results.to_pandas()",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import numpy as np

    (tmp_path / "lenet").mkdir()
    for step in (1, 2):
        weights = np.random.default_rng(step).normal(size=(8, 3)).astype("float32")
        np.savez(tmp_path / "lenet" / f"step-{step}.npz", w=weights)
    monkeypatch.setenv("PYTHONPATH", import_path())
    return tmp_path


def run(folder: Path, *cells: str) -> list[dict[str, Any]]:
    """Run cells in a new kernel, and return what each shows by kind."""
    nbclient = pytest.importorskip("nbclient", reason="a notebook's kernel comes with the extra `wide`")
    nbformat = pytest.importorskip("nbformat", reason="it comes with nbclient")
    pytest.importorskip("ipykernel", reason="it comes with the extra `wide`")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    where = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3", allow_errors=True, resources=where).execute()
    return [_shown(cell.outputs) for cell in book.cells]


def _shown(outputs: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for output in outputs:
        if output.output_type == "stream":
            found[output.name] = output.text
        elif output.output_type == "error":
            found["error"] = f"{output.ename}: {output.evalue}"
        else:
            found |= output.data
    return found


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore")  # a kernel's own
def test_it_runs_in_the_first_cell_and_shows_what_it_made(folder: Path) -> None:
    first, counts, *shown = run(folder, FIRST.format(config="SCALE = 1.0"), COUNTS, *SHOWN)
    assert "error" not in first, first["error"]
    assert counts["stdout"].split() == ["2", "0"]
    for output, words in zip(
        [first, *shown],
        (
            ("step-1", "step-2", "top1", "cross_entropy"),
            ("FunctionModel", "data test", "Classification", "top1, cross_entropy"),
            ("step-1", "step-2", "top1"),
            ("top1 (higher is better) on test", "best", "holds these weights", "checkpoint"),
            ("McNemar exact", "A - B", "both right", "step-1, step 1, raw"),
            ("step-1", "top1", "mean_per_class_accuracy"),
        ),
        strict=True,
    ):
        page = output["text/html"]
        text = _Text(page).text
        assert all(word in text for word in words), text
        assert not re.search(r"<script|https?:|src=|\0", page)
    # The next day, in another kernel: a comment is another cell's text, and the same code.
    _, counts = run(folder, FIRST.format(config="SCALE = 1.0  # as in the paper"), COUNTS)
    assert counts["stdout"].split() == ["0", "2"]
    _, counts = run(folder, FIRST.format(config="SCALE = -1.0"), COUNTS)
    assert counts["stdout"].split() == ["2", "0"]


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore")  # a kernel's own
def test_where_the_code_has_no_identity_the_first_cell_asks_for_a_version(folder: Path) -> None:
    first, declared = run(
        folder,
        FIRST.format(config="import threading\nSCALE = threading.Lock()"),
        FIRST.format(config="SCALE = 1.0").replace("metrics=", 'version="1", metrics='),
    )
    assert first["error"].startswith("UsageError: the code of this Evaluation")
    assert "SCALE: a _thread.lock does not say what it holds" in first["error"]
    assert 'set Evaluation(version="1", ...)' in first["error"]
    assert "error" not in declared, declared["error"]


class _Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data
