"""A name means the weights that its file holds now; those that it held before have their digest."""

import json
from pathlib import Path

import pytest
from tests._material import checkpoints, command, evaluation_of, go, lines_of, save, weights_of


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three checkpoints, of which the last was overwritten and evaluated again."""
    folder, evaluation = checkpoints(tmp_path / "lenet", 1, 2, 3), evaluation_of(300)
    go(evaluation, folder, store=tmp_path / "evals")
    save(next(folder.glob("*3.npz")), weights_of(99))
    go(evaluation, folder, store=tmp_path / "evals")
    return tmp_path / "evals"


def digests(store: Path, address: str) -> set[str]:
    records = lines_of(command("show", address, "--json", "--store", store).stdout).of("record")
    return {str(record["checkpoint"]["digest"]) for record in records}


def test_show_takes_what_the_file_holds_now_and_names_the_other(store: Path) -> None:
    shown = command("show", "3", "--store", store)
    assert shown.returncode == 0
    assert "milepost: its file held other weights before: `milepost show " in shown.stderr
    before = shown.stderr.partition("`milepost show ")[2].partition("`")[0]
    (now,), (old,) = digests(store, "3"), digests(store, before)
    assert now != old
    assert old.startswith(before)
    assert f"digest   {now}" in shown.stdout
    again = command("show", before, "--store", store)
    assert "holds something else by now" in again.stdout
    assert "other weights before" not in again.stderr


def test_compare_and_labels_mean_the_same(store: Path) -> None:
    (now,) = digests(store, "3")
    compared = json.loads(command("compare", "2", "3", "--json", "--store", store).stdout)
    assert compared["b"]["digest"] == now
    best = json.loads(command("best", "--metric", "top1", "--json", "--store", store).stdout)
    every = [best["best"], *best["tied"], *best["worse"], *best["untested"]]
    labels = {one["label"]: one["checkpoint"]["digest"] for one in every}
    assert [label for label, digest in labels.items() if digest == now] == [compared["b"]["label"]]
    assert compared["b"]["label"].endswith("3")
    assert all(digests(store, label) == {digest} for label, digest in labels.items())


def test_compare_says_that_it_pairs_on_data_that_was_changed_since(store: Path) -> None:
    assert "earlier data" not in command("compare", "1", "2", "--store", store).stdout
    go(evaluation_of(200), next((store.parent / "lenet").glob("*1.npz")), store=store)
    compared = command("compare", "1", "2", "--store", store)
    assert "on the same 300 rows of test" in " ".join(compared.stdout.split())
    assert "rows of earlier data of the name test" in " ".join(compared.stdout.split())
