"""`ls`, `show` and `inspect` on what is there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.report.samples import DIGESTS

from milepost.cli import main
from milepost.errors import UsageError
from milepost.report.addresses import find

Shown = pytest.CaptureFixture[str]


def json_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_ls_piped_is_plain_lines(store: Path, capsys: Shown) -> None:
    assert main(["ls", "--store", str(store)]) == 0
    shown = capsys.readouterr()
    head, *rows = shown.out.splitlines()
    assert head.split() == [
        "run",
        "step",
        "variant",
        "data",
        "slice",
        "name",
        "n",
        "top1",
        "interval",
        "batch_mean",
        "status",
    ]
    assert [row.split()[1] for row in rows] == ["100", "200", "900"]
    assert rows[2].split()[2:] == [
        "raw",
        "test",
        "all",
        "step-900,best,last",
        "360",
        *["0.831", "[0.788,", "0.866]", "0.915", "ok"],
    ]
    assert rows[1].endswith("corrupt: step-200.pt: checksum of fc.weight")
    assert str(store) in shown.err


def test_ls_json_is_records_and_failures(store: Path, capsys: Shown) -> None:
    assert main(["ls", "--store", str(store), "--json"]) == 0
    lines = json_of(capsys.readouterr().out)
    assert [line["event"] for line in lines] == ["record"] * 4 + ["failure"]
    first = lines[0]
    assert set(first) >= {
        "event", "run", "checkpoint", "data", "slice", "metric", "estimator", "value", "numerator", "denominator", "n",
        "intervals", "tied", "nonfinite", "status",
    }  # fmt: skip
    assert set(first["checkpoint"]) == {"path", "step", "digest", "variant"}
    assert (first["numerator"], first["denominator"], first["value"]) == (299, 360, 299 / 360)
    assert (lines[-1]["class"], lines[-1]["step"]) == ("corrupt", 200)


@pytest.mark.parametrize("address", ["900", "step-900", "last", "best.pt", "lenet:900", "lenet:last", DIGESTS[900][:4]])
def test_show_finds_one_checkpoint_by_every_address(store: Path, address: str, capsys: Shown) -> None:
    assert main(["show", address, "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    for piece in (
        "step-900, best, last",
        DIGESTS[900],
        "0.830556 = 299/360",
        "the last batch of 1 row counts like 359",
    ):
        assert piece in shown


def test_show_json_is_the_checkpoints_records(store: Path, capsys: Shown) -> None:
    assert main(["show", "900", "--store", str(store), "--json"]) == 0
    lines = json_of(capsys.readouterr().out)
    assert [(line["estimator"], line["checkpoint"]["step"]) for line in lines] == [("exact", 900), ("batch_mean", 900)]


def test_show_of_a_failure(store: Path, capsys: Shown) -> None:
    assert main(["show", "200", "--store", str(store)]) == 0
    shown = capsys.readouterr().out
    assert "corrupt: step-200.pt: checksum of fc.weight" in shown
    assert "second line" in shown
    assert main(["show", "200", "--store", str(store), "--batch-size", "36"]) == 2


@pytest.mark.parametrize(("address", "words"), [("00", "no checkpoint is at"), ("step-9", "no checkpoint is at")])
def test_show_of_nothing(store: Path, address: str, words: str, capsys: Shown) -> None:
    assert main(["show", address, "--store", str(store)]) == 2
    assert words in capsys.readouterr().err


def test_an_address_that_fits_several_lists_them(store: Path, tmp_path: Path, capsys: Shown) -> None:
    from milepost.core.types import Identity  # noqa: PLC0415 - only here
    from milepost.store.checkpoint_records import CheckpointRecord  # noqa: PLC0415
    from milepost.store.store import Store  # noqa: PLC0415

    made = Store.open(store)
    run = made.run_of(tmp_path / "other")
    made.add_checkpoint(
        CheckpointRecord(run, "/x/step-900.pt", Identity(1, 99, 1, 1, 1), "step-900", step=900, digest="f" * 32)
    )
    assert main(["show", "900", "--store", str(store)]) == 2
    errors = capsys.readouterr().err
    assert "'900' fits 2 checkpoints" in errors
    assert DIGESTS[900][:12] in errors
    assert "ffffffffffff" in errors
    assert f"{run}:step-900" in errors
    assert main(["show", "other:900", "--store", str(store)]) == 0


def test_of_many_candidates_the_rest_is_counted_on_a_line_of_its_own() -> None:
    rows = [{"run": f"run-{n}", "step": 9, "name": "step-9", "digest": f"{n:064}"} for n in range(15)]
    with pytest.raises(UsageError, match="'9' fits 15 checkpoints; name one of:") as raised:
        find(rows, "9")
    lines = str(raised.value).splitlines()
    assert (len(lines), lines[-1]) == (14, "  ... and 3 more")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "step-7.npz"
    np.savez(path, weight=np.zeros((2, 3), np.float32), bias=np.zeros(3, np.float64))
    return path


def test_inspect_shows_tensors_and_totals(archive: Path, capsys: Shown) -> None:
    assert main(["inspect", str(archive)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "format  npz" in lines
    assert "step    7 (from name)" in lines
    assert any(line.split() == ["weight", "weights", "float32", "2", "x", "3", "24"] for line in lines)
    assert lines[-1] == "weights: 2 tensors, 9 elements, 48 B"


def test_inspect_json(archive: Path, capsys: Shown) -> None:
    assert main(["inspect", str(archive), "--json"]) == 0
    (line,) = json_of(capsys.readouterr().out)
    assert (line["event"], line["format"], line["step"]) == ("inspect", "npz", 7)
    assert line["totals"]["weights"] == {"tensors": 2, "elements": 9, "bytes": 48}


def test_inspect_shows_what_lies_in_the_file_and_beside_it_through_the_sandbox(tmp_path: Path, capsys: Shown) -> None:
    (tmp_path / "version_0" / "checkpoints").mkdir(parents=True)
    path = tmp_path / "version_0" / "checkpoints" / "step-7.npz"
    np.savez(path, weight=np.zeros((2, 3), np.float32), val_loss=np.float32(0.5))
    (tmp_path / "version_0" / "hparams.yaml").write_text("lr: 0.001\n")
    assert main(["inspect", str(path), "--json"]) == 0
    (line,) = json_of(capsys.readouterr().out)
    assert line["facts"] == {"val_loss": 0.5}
    assert line["files_beside"] == {"../hparams.yaml": {"lr": 0.001}}
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[(at := lines.index("../hparams.yaml:")) : at + 2] == ["../hparams.yaml:", "  lr  0.001"]


def test_inspect_of_a_damaged_file_exits_3(archive: Path, capsys: Shown) -> None:
    archive.write_bytes(archive.read_bytes()[:200])
    assert main(["inspect", str(archive)]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("milepost: error: ")
