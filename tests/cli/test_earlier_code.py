"""Results of earlier code: never listed as current, and those that stand by a code check say what it bounds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests._material import checkpoints, command, evaluation_of, examples, go, linear, lines_of, unwrapped

from milepost.core.types import Array, Columns
from milepost.data.arrays import Arrays
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.metrics.top_k import TopK
from milepost.report.reader import open_store
from milepost.signals import Signals
from milepost.store.store import Store

ROWS = 3000


def turned(weights: Columns, inputs: Array) -> Array:
    return -linear(weights, inputs)


class Project:
    """A run of two checkpoints that is evaluated with one version of the code after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = checkpoints(folder / "lenet", 100, 200)
        self.store = folder / "evals"
        self.data = {"test": Arrays(*examples(ROWS))}

    def run(self, version: str, predict: Callable[[Columns, Array], Array] = linear, **options: object) -> str:
        metrics = options.pop("metrics", [TopK(1), CrossEntropy()])
        evaluation = evaluation_of(predict=predict, version=version, data=self.data, metrics=metrics)
        return go(evaluation, self.folder, store=self.store, **options).notes

    def ls(self) -> list[str]:
        return command("ls", "--store", self.store).stdout.splitlines()

    def statuses(self) -> dict[int, str]:
        records = lines_of(command("ls", "--store", self.store, "--json").stdout).of("record")
        return {item["checkpoint"]["step"]: item["status"] for item in records}

    def top1(self) -> dict[int, float]:
        found = open_store(self.store).records(metric="top1")
        return {item["checkpoint"]["step"]: item["value"] for item in found if item["estimator"] == "exact"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.run("1")
    return made


def test_what_stands_by_a_check_says_so_until_it_is_evaluated_again(project: Project) -> None:
    assert not any("[1]" in line for line in project.ls())
    project.run("2")
    head, *rows, footnote = project.ls()
    assert head.endswith("status")
    assert [row.endswith("ok [1]") for row in rows] == [True, True]
    assert footnote == (
        "[1] made by earlier code: a code check of 1,024 of 3,000 rows, drawn at random, of step-200 and step-100 "
        "finds the same outcomes of both codes, so that up to 0.24 % of the rows may differ (95 %); `milepost run "
        "--again` evaluates again"
    )
    shown = command("show", "200", "--store", project.store).stdout
    assert "up to 0.24 % of the rows may differ (95 %)" in shown
    (record, *_) = open_store(project.store).records(metric="top1")
    assert (record["status"], record["code_check"]["may_differ"], record["code_check"]["rows"]) == ("ok", 7, ROWS)
    exported = command("export", "csv", "--metric", "top1", "--store", project.store).stdout.splitlines()
    assert dict(zip(exported[0].split(","), exported[1].split(","), strict=True))["may_differ"] == str(7 / ROWS)
    assert f"{open_store(project.store)}".endswith("evaluates again")
    # A new checkpoint is evaluated with the code of now, and what was evaluated again is of it, too.
    checkpoints(project.folder, 300)
    project.run("2")
    assert [row.endswith("ok [1]") for row in project.ls()[1:-1]] == [True, True, False]
    project.run("2", again=True)
    assert not any("[1]" in line for line in project.ls())
    assert project.run("2") == ""


def test_where_the_checkpoints_are_gone_the_results_are_of_earlier_code(project: Project) -> None:
    before = project.top1()
    for path in project.folder.iterdir():
        path.unlink()
    checkpoints(project.folder, 300)
    notes = project.run("2", turned)
    assert "no earlier result on test applies" in notes
    assert project.statuses() == {100: "earlier code", 200: "earlier code", 300: "ok"}
    assert project.top1() == {**before, 300: project.top1()[300]}
    assert [line.split()[-2:] for line in project.ls()[1:3]] == [["earlier", "code"]] * 2
    assert "earlier code: with the code of now the values may be others" in (
        command("show", "100", "--store", project.store).stdout
    )
    best = lines_of(command("best", "--metric", "top1", "--store", project.store, "--json").stdout)[0]
    assert best["best"]["checkpoint"]["step"] == 300
    signals = Signals(project.store, "lenet", "top1")
    assert [item.step for item in signals.history()] == [300]
    exported = command("export", "csv", "--metric", "top1", "--store", project.store).stdout
    assert exported.count("earlier code") == 4


def test_where_all_is_of_earlier_code_best_says_so_and_nothing_steers(project: Project) -> None:
    for path in project.folder.iterdir():
        path.unlink()
    checkpoints(project.folder, 300)
    project.run("2", turned)
    (project.folder / "step-300.npz").unlink()
    checkpoints(project.folder, 400)
    project.run("3", limit=50)  # 300 is earlier by now, 400 has part of the rows
    assert project.statuses() == {100: "earlier code", 200: "earlier code", 300: "earlier code", 400: "partial 50/3000"}
    best = unwrapped(command("best", "--metric", "top1", "--store", project.store).stdout)
    assert best.startswith("top1 (higher is better) on test, partial 50/3000")
    assert "not compared, of earlier code: step-100 (earlier code), step-200 (earlier code)" in best
    signals = Signals(project.store, "lenet", "top1")
    assert signals.latest() is None
    assert "3 evaluations of earlier code" in signals.problem
    deleted = command("gc", project.folder, "--metric", "top1", "--store", project.store, "--json")
    assert '"deleted": 0' in deleted.stdout + deleted.stderr or deleted.returncode != 0


def test_where_nothing_is_of_the_code_of_now_best_and_compare_say_so(project: Project) -> None:
    store = Store.open(project.store)
    spec = store.evaluation(store.evaluations()[0]).spec() or {}
    store.codes.use(spec["file"], None, "declared:2")
    assert set(project.statuses().values()) == {"earlier code"}
    best = unwrapped(command("best", "--metric", "top1", "--store", project.store).stdout)
    assert best.startswith("top1 (higher is better) on test, earlier code: 0.")
    assert "every value is of earlier code: with the code of now the values, and the best, may be others" in best
    compared = command("compare", "100", "200", "--store", project.store).stdout
    assert "note: A is of earlier code\nnote: B is of earlier code" in compared
    (project.folder / "step-200.npz").unlink()
    project.run("2", turned)
    assert "note: A was" not in command("compare", "100", "100", "--store", project.store).stdout
    compared = command("compare", "100", "200", "--store", project.store).stdout
    assert "note: A is of earlier code\nnote: B is of earlier code" in compared  # the same code, rather than two


def test_what_equals_by_a_check_is_compared_as_one_code(project: Project) -> None:
    project.run("2")
    checkpoints(project.folder, 300)
    project.run("2")
    compared = command("compare", "100", "300", "--store", project.store).stdout
    assert "note:" not in compared
    best = lines_of(command("best", "--metric", "top1", "--store", project.store, "--json").stdout)[0]
    assert best["untested"] == []


def test_going_back_to_the_code_of_before_makes_its_results_the_current_ones(project: Project) -> None:
    first = project.top1()
    project.run("2", turned)
    second = project.top1()
    assert second != first
    project.run("1")
    assert project.top1() == first
    assert set(project.statuses().values()) == {"ok"}
    rows = open_store(project.store).columns("100")["rank"]
    project.run("2", turned)
    assert project.top1() == second
    assert not np.array_equal(open_store(project.store).columns("100")["rank"], rows)


def test_values_of_two_codes_stand_in_no_row_together(project: Project) -> None:
    project.run("2", turned, metrics=[TopK(1)])
    rows = [line.split() for line in project.ls()[1:]]
    assert [row[1] for row in rows] == ["100", "100", "200", "200"]
    assert [row[-1] for row in rows] == ["ok", "code", "ok", "code"]  # cross entropy is of earlier code only
    assert CrossEntropy().headline in project.ls()[0]
    now, _, earlier = command("show", "100", "--store", project.store).stdout.partition("data test, earlier code\n")
    assert "data test\n" in now
    assert ("cross_entropy  " in now, "cross_entropy  " in earlier.partition("\n\n")[0]) == (False, True)
    checked = evaluation_of(predict=turned, version="2", data=project.data, metrics=[TopK(1)])
    results = checked.run(str(project.folder), store=str(project.store))
    assert {record["metric"] for record in results} == {"top1"}


def test_show_describes_what_is_current_and_folds_the_rest_into_a_line_each(project: Project) -> None:
    for version in ("2", "3"):
        project.run(version, turned, again=True)
    shown = command("show", "100", "--store", project.store).stdout
    titles = [line for line in shown.splitlines() if line.startswith("evaluation of test, ")]
    assert len(titles) == 1
    assert "earlier code" not in titles[0]
    assert len([line for line in shown.splitlines() if line.startswith("  rounding")]) == 1
    folded = shown.partition("other evaluations (--all describes them whole)\n")[2].splitlines()
    assert [line.split()[0] for line in folded if ", earlier code declared:" in line] == ["test"] * 2
    whole = command("show", "100", "--all", "--store", project.store).stdout
    assert sum(line.startswith("evaluation of test, ") for line in whole.splitlines()) == 3
    assert "other evaluations" not in whole


def test_less_of_the_code_of_now_goes_before_more_of_earlier_code(project: Project) -> None:
    project.run("2", turned, limit=50)
    assert set(project.statuses().values()) == {"partial 50/3000"}
