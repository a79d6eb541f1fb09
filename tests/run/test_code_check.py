"""New code: a comment re-evaluates nothing, a preprocessing re-evaluates all, an added metric needs no model."""

import json
import textwrap
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests._material import Events, checkpoints, command, evaluation_of, go, linear, planned

from milepost.core.types import Array
from milepost.store.store import Store

ROWS, BATCH, DRAWN = 2000, 64, 1024

EVALUATION = """
import numpy as np
from prep import scaled
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import CrossEntropy, TopK
from milepost.tasks import Classification

rng = np.random.default_rng(0)
inputs, labels = rng.normal(size=(2000, 8)).astype(np.float32), rng.integers(0, 10, 2000)
inputs[:, 0] = np.arange(2000) / 1000


def predict(weights, x):
    '''Score by one matrix.'''
    with open("LOG", "a") as log:
        log.writelines(f"{round(float(row) * 1000)}\\n" for row in x[:, 0])
    return scaled(x) @ weights["w"] + weights["b"]


evaluation = Evaluation(
    model=FunctionModel(predict),
    data={"test": Arrays(inputs, labels)},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
    batch_size=64,
)
"""
PREPARE = '''
def scaled(x):
    """Scale."""
    return x * 0.5
'''


def earlier(at: str) -> str:
    return (datetime.fromisoformat(at) - timedelta(hours=1)).isoformat()


class Project:
    """A folder with an evaluation file, a module that it imports, and checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = checkpoints(folder / "lenet", 100, 200, 300)
        self.write("prep.py", PREPARE)
        self.write("ev.py", EVALUATION)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.replace("LOG", str(self.folder / "log")))

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def run(self, **options: object) -> tuple[Events, list[int]]:
        """Run in a fresh process; return what was events and the rows that were predicted."""
        log = self.folder / "log"
        log.write_text("")
        events = go(self.folder / "ev.py", self.runs, store=self.folder / "evals", **options)
        return events, [int(line) for line in log.read_text().splitlines()]

    def plan(self) -> dict[str, str]:
        return planned(self.folder / "ev.py", self.runs, store=self.folder / "evals")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    assert made.run()[0].done == (3, 0, 0)
    return made


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("ev.py", "rng = np", "# A comment.\nrng = np"),
        ("ev.py", "Score by one matrix.", "Scores by one matrix, and adds a bias."),
        ("prep.py", "    return x * 0.5", "    return (\n        x * 0.5  # half\n    )"),
        ("ev.py", "row", "item"),
    ],
)
def test_comments_docstrings_and_layout_re_evaluate_nothing_and_are_noted(
    file: str, old: str, new: str, project: Project
) -> None:
    project.edit(file, old, new)
    assert all(reason == "skip: nothing is missing" for reason in project.plan().values())
    events, rows = project.run()
    assert events.done == (0, 3, 0)
    assert rows == []
    assert f"only comments, docstrings, layout or names of locals changed in {file}" in events.notes


def test_an_edited_preprocessing_in_an_imported_module_re_evaluates_all_and_says_so(project: Project) -> None:
    project.edit("prep.py", "x * 0.5", "x * x")
    assert all(
        reason == "check: a code check decides: skip (nothing is missing) or evaluate (no result on this data yet)"
        for reason in project.plan().values()
    )
    events, rows = project.run()
    assert events.done == (3, 0, 0)
    assert "the code changed (prep.py; version" in events.notes
    assert "a code check differs (" in events.notes
    assert "so all is re-evaluated on test" in events.notes
    assert len(rows) >= 3 * ROWS
    assert len(Store.open(project.folder / "evals").evaluations()) == 6
    # From here on the new code is the known one.
    events, rows = project.run()
    assert (events.done, events.notes, rows) == ((0, 3, 0), "", [])
    # Back to the old code: its results are still there.
    project.edit("prep.py", "x * x", "x * 0.5")
    events, rows = project.run()
    assert (events.done, rows) == ((0, 3, 0), [])


def test_an_added_metric_is_scored_from_kept_columns(project: Project) -> None:
    project.edit("ev.py", "[TopK(1)]", "[TopK(1), TopK(3)]")
    events, rows = project.run()
    assert events.done == (0, 3, 0)
    assert (
        "a code check of 1,024 of 2,000 rows, drawn at random, of step-300 and step-100 finds the same outcomes, so "
        "the results on test stand: up to 0.2 % of the rows may differ (95 %); --again evaluates all again"
        in events.notes
    )
    assert {record["metric"] for record in events.of("record")} == {"top3"}
    assert {reason for _, reason in events.ends.values()} == {"scored from kept columns"}
    assert len(set(rows)) == DRAWN
    # Of two checkpoints; and the model checks on the first batch, with what single rows there was time for.
    assert 2 * DRAWN + 2 * BATCH <= len(rows) <= 2 * DRAWN + 4 * BATCH
    assert events.value("top3", step=100) > 0.2
    # Nothing is checked twice.
    events, rows = project.run()
    assert (events.done, events.of("record"), rows) == ((0, 3, 0), [], [])


def test_a_metric_that_needs_other_columns_needs_the_model(project: Project) -> None:
    project.edit("ev.py", "[TopK(1)]", "[TopK(1), CrossEntropy()]")
    events, rows = project.run()
    assert events.done == (3, 0, 0)
    assert len(rows) > 3 * ROWS
    assert {record["metric"] for record in events.of("record")} >= {"cross_entropy"}
    assert events.value("cross_entropy", step=100) > 0


def test_harmless_code_is_found_out_by_the_check(project: Project) -> None:
    project.edit("prep.py", "return x * 0.5", "return 0.5 * x")
    events, rows = project.run()
    assert events.done == (0, 3, 0)
    assert "results on test stand" in events.notes
    assert len(set(rows)) == DRAWN
    # A new checkpoint is evaluated under the equivalent code, and the chain of facts is followed.
    checkpoints(project.runs, 400)
    project.edit("prep.py", "return 0.5 * x", "return x / 2")
    events, _ = project.run()
    assert events.done == (1, 3, 0)
    assert len(Store.open(project.folder / "evals").evaluations()) == 4


def test_a_run_counts_what_a_code_check_predicted(project: Project) -> None:
    project.edit("prep.py", "x * 0.5", "x / 2")
    words = ("run", "ev.py", "lenet", "--store", "evals")
    ended = command(*words, cwd=project.folder)
    assert "evaluated 0, skipped 3, failed 0; a code check predicted rows of 2 checkpoints; store evals" in ended.stderr
    assert "skipped 3, failed 0; nothing was left to do" in command(*words, cwd=project.folder).stderr


def test_a_note_says_whether_the_code_or_the_data_is_new(project: Project, tmp_path: Path) -> None:
    project.edit("prep.py", "x * 0.5", "x * x")
    notes = go(project.folder / "ev.py", checkpoints(tmp_path / "other", 7), store=project.folder / "evals").notes
    assert ": no earlier result on test applies" in notes
    assert "the code is new (version " in notes
    project.edit("ev.py", "np.arange(2000) / 1000", "np.arange(2000) / 1001")
    ended = command("plan", "ev.py", "lenet", "--store", "evals", cwd=project.folder)
    assert "the data of test is new or was changed: no earlier result on test applies" in ended.stderr
    assert "the data of test is new or was changed: no earlier result on test applies" in project.run()[0].notes


def test_where_nothing_was_evaluated_yet_no_earlier_result_is_spoken_of(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.edit("prep.py", "x * 0.5", "x[:, :3]")
    assert project.run()[0].done == (0, 0, 3)
    project.edit("prep.py", "x[:, :3]", "x * 0.5")
    events, _ = project.run()
    assert events.done == (3, 0, 0)
    assert "no earlier result" not in events.notes


def test_a_failure_of_earlier_code_or_data_is_listed_until_the_same_is_evaluated(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.edit("prep.py", "x * 0.5", "x[:, :3]")
    project.run()
    assert [row["state"] for row in Store.open(tmp_path / "evals").listing().checkpoints()] == ["failed"] * 3
    for file in (tmp_path / "evals").rglob("failures/*.json"):  # an hour ago: records know the second only
        file.write_text(json.dumps({**(held := json.loads(file.read_text())), "at": earlier(held["at"])}))
    project.edit("prep.py", "x[:, :3]", "x * 0.5")
    project.edit("ev.py", "np.arange(2000) / 1000", "np.arange(2000) / 1001")
    project.run()
    rows = Store.open(tmp_path / "evals").listing().checkpoints()  # opened again: files were rewritten behind its back
    assert [(row["state"], row["failure"]) for row in rows] == [("done", None)] * 3


def test_a_data_set_that_was_left_out_is_checked_when_it_comes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.edit(
        "ev.py", '{"test": Arrays(inputs, labels)}', '{"a": Arrays(inputs, labels), "b": Arrays(-inputs, labels)}'
    )
    assert project.run()[0].done == (3, 0, 0)
    project.edit("prep.py", "return x * 0.5", "return 0.5 * x")
    for name in ("a", "b"):
        events, rows = project.run(data=name)
        assert events.done == (0, 3, 0), name
        assert f"the results on {name} stand" in events.notes
        assert len(set(rows)) == DRAWN


def test_a_declared_version_is_taken_at_its_word(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path / "lenet", 100)

    def doubled(weights: dict[str, Array], inputs: Array) -> Array:
        return linear(weights, inputs) * np.float32(-1)

    store = tmp_path / "evals"
    go(evaluation_of(version="1"), folder, store=store)
    assert go(evaluation_of(version="1", predict=doubled), folder, store=store).done == (0, 1, 0)
    events = go(evaluation_of(version="2", predict=doubled), folder, store=store)
    assert events.done == (1, 0, 0)
    assert "the code changed (declared version; version declared:1 to declared:2)" in events.notes
    assert "differs (" in events.notes


def test_the_sources_here_are_what_they_seem() -> None:
    compile(textwrap.dedent(EVALUATION), "ev.py", "exec")
    compile(PREPARE, "prep.py", "exec")
