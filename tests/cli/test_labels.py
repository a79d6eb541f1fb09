"""The label of a checkpoint: what any verb prints of one, every verb that takes an address takes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests._material import checkpoints, command, evaluation_of, go, lines_of, save, weights_of

from milepost.errors import UsageError
from milepost.report.addresses import Labels, find
from milepost.store.store import Store

TAKE = (
    ["show", "{}"],
    ["compare", "{}", "a:step-2"],
    ["score", "{}", "--metric", "top_k(k=3)"],
    ["forget", "{}"],
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one step each with averages beside; at step 0 these are the weights themselves; one has no step."""
    folder = tmp_path_factory.mktemp("labels")
    for number, run in enumerate("ab"):
        checkpoints(folder / run)
        for step in (0, 2):
            raw, ema = weights_of(step + 10 * number), weights_of(step + 5 * (step > 0) + 10 * number)
            name = f"step-{step}.npz" if number == 0 else f"epoch={step}-step={step}.npz"
            save(folder / run / name, {**raw, **{f"ema.{key}": value for key, value in ema.items()}})
    save(folder / "b" / "best.npz", {**weights_of(77), **{f"ema.{k}": v for k, v in weights_of(78).items()}})
    evaluation = evaluation_of(200, variants=("raw", "ema"))
    go(evaluation, folder / "a", folder / "b", store=folder / "evals")
    return folder / "evals"


def printed(store: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels that verbs print, with the digest of the weights that each is of."""
    best = json.loads(command("best", "--metric", "top1", "--json", "--store", store).stdout)
    for one in (best["best"], *best["tied"], *best["worse"], *best["untested"]):
        yield one["label"], one["checkpoint"]["digest"]
    text = command("best", "--metric", "top1", "--store", store).stdout
    held = {one["label"]: one["checkpoint"]["digest"] for one in (best["best"], *best["tied"])}
    rows = [line.split()[-1] for line in text.splitlines() if line.startswith(("best ", "tied "))]
    assert rows == list(held)
    several = command("show", "2", "--store", store).stderr.splitlines()[1:]
    assert len(several) == 2
    listing = Store.open(store).listing().checkpoints()
    for line in several:
        digest, label = line.split()[:2]
        yield label, next(row["digest"] for row in listing if row["digest"].startswith(digest))
    both = json.loads(command("compare", "a:0:ema", "b:2:ema", "--json", "--store", store).stdout)
    for side in (both["a"], both["b"]):
        yield side["label"], side["digest"]
    for row in listing:
        yield Labels(listing).of(row), row["digest"]


def test_every_label_that_is_printed_is_taken_and_names_the_same_weights(store: Path) -> None:
    labels = dict(printed(store))
    assert {label.count(":") for label in labels} >= {0, 1}
    assert any(label.endswith(":ema") for label in labels)
    for label, digest in labels.items():
        for words in TAKE:
            ended = command(*(word.format(label) for word in words), "--json", "--store", store)
            assert ended.returncode == 0, ended.stderr
            events = lines_of(ended.stdout)
            found = {item["checkpoint"]["digest"] for item in events.of("record")}
            found |= {item["a"]["digest"] for item in events.of("comparison")}
            found |= {item["weights"] for item in events.of("forget") if item["kind"] == "evaluation"}
            assert found == {digest}, (label, words)


def test_an_address_without_a_variant_means_the_raw_weights(store: Path) -> None:
    rows = Store.open(store).listing().checkpoints()
    assert find(rows, "a:2")["variant"] == "raw"
    for ema in (find(rows, "a:2:ema"), find(rows, "a:2", "ema"), find(rows, "a:step-2:ema")):
        assert ema["variant"] == "ema"
    assert find(rows, "a:2:raw") == find(rows, "a:2")
    with pytest.raises(UsageError, match=r"--variant swa: no checkpoint of this store has it; there are: ema, raw"):
        find(rows, "a:2", "swa")


def test_show_of_a_variant_is_of_its_own_records(store: Path) -> None:
    for words, variant in ((["a:0"], "raw"), (["a:0:ema"], "ema"), (["a:0", "--variant", "ema"], "ema")):
        records = lines_of(command("show", *words, "--json", "--store", store).stdout).of("record")
        assert {item["checkpoint"]["variant"] for item in records} == {variant}
        assert {other["variant"] for item in records for other in item["also"]} == {"raw", "ema"} - {variant}


def test_json_has_the_row_of_an_average_that_is_the_weights_themselves(store: Path) -> None:
    shown = command("ls", "--store", store).stdout.splitlines()[1:]
    listed = lines_of(command("ls", "--json", "--store", store).stdout).of("record")
    rows = {(item["run"], item["checkpoint"]["step"], item["checkpoint"]["variant"]) for item in listed}
    assert len(rows) == len(shown) == 10
    assert {("a", 0, "raw"), ("a", 0, "ema")} <= rows


def test_a_variant_that_failed_is_listed_and_taken_by_its_label(tmp_path: Path) -> None:
    runs = checkpoints(tmp_path / "run", 1)
    go(evaluation_of(100, variants=("raw", "ema")), runs, store=tmp_path / "evals")
    shown = command("failures", "--store", tmp_path / "evals").stdout.splitlines()
    label = shown[1].split()[-1]
    assert label == f"{runs}/step-1.npz:ema"
    for address in (label, "1:ema", "step-1", "run:step-1:ema"):
        again = command("failures", address, "--retry", "--json", "--store", tmp_path / "evals")
        assert [(item["variant"], item["class"]) for item in lines_of(again.stdout)] == [("ema", "mismatch")]
    assert "mismatch" in command("show", label, "--store", tmp_path / "evals").stdout


def test_best_and_score_keep_to_a_variant(store: Path) -> None:
    best = json.loads(command("best", "--metric", "top1", "--variant", "ema", "--json", "--store", store).stdout)
    assert {one["checkpoint"]["variant"] for one in (best["best"], *best["tied"], *best["worse"])} == {"ema"}
    assert best["compared"] == 5
    every = json.loads(command("best", "--metric", "top1", "--json", "--store", store).stdout)
    assert every["compared"] == 8  # weights that have two names compete once
    nothing = command("best", "--metric", "top1", "--variant", "swa", "--store", store)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "no value 'top1' is on record of variant swa" in nothing.stderr


@pytest.mark.parametrize("verb", [["best", "--metric", "cross_entropy"], ["compare", "a:2", "b:2:ema"]])
def test_prose_keeps_to_80_columns_and_words_stay_whole(store: Path, verb: list[str]) -> None:
    shown = command(*verb, "--store", store).stdout.splitlines()
    for line in shown:
        assert len(line) <= 80 or " " not in line.split(": holds")[0].strip(), line
    assert all(line.count("[") == line.count("]") for line in shown)  # an interval stands on one line
