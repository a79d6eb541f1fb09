"""Every registered export keeps the laws; csv and pandas, and json, read back what was written."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests._material import evaluation_of, examples, go, save, weights_of

from milepost._internal.atomic import replacing
from milepost._internal.folder_target import folder_target
from milepost._internal.targets import text_target
from milepost.cli import main
from milepost.core.escaping import unescaped
from milepost.data.arrays import Arrays
from milepost.errors import UsageError
from milepost.exports.csv import CsvExport
from milepost.exports.jsonl import JsonLinesExport
from milepost.metrics.recall import Recall
from milepost.registry import classes
from milepost.report.reader import open_store
from milepost.scoring.flat_record import FIELDS
from milepost.testing.exports import check_export, sample_records


@pytest.mark.parametrize("name", sorted(classes("exports")))
def test_the_contract(name: str, tmp_path: Path) -> None:
    check_export(classes("exports")[name](), tmp_path)


class Careless:
    """Writes as it goes, straight into the file."""

    name = "careless"

    def write(self, records: Any, target: str) -> None:
        with open(target, "w", encoding="utf-8") as stream:
            stream.writelines(f"{record}\n" for record in records)


def test_the_contract_can_fail(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="an error half-way changed the file"):
        check_export(Careless(), tmp_path)


def test_csv_reads_back_to_the_same_bits(tmp_path: Path) -> None:
    CsvExport().write(sample_records(), str(tmp_path / "a.csv"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text("utf-8"), newline="")))
    assert [tuple(row) for row in rows] == [FIELDS] * 4
    assert float(rows[0]["value"]) == 1 / 3
    assert [row["value"] for row in rows[1:]] == ["inf", "", ""]
    assert rows[0]["path"] == r'runs/a "quoted", path\x0a\xe9.pt'
    assert unescaped(rows[0]["path"]) == sample_records()[0]["checkpoint"]["path"]
    assert (rows[3]["status"], rows[3]["note"]) == ("failed: torn", "cut\noff")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert list(frame["value"][:2]) == [1 / 3, float("inf")]


def test_json_lines_are_the_records(tmp_path: Path) -> None:
    JsonLinesExport().write(sample_records(), str(tmp_path / "a.jsonl"))
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()] == sample_records()


def test_the_command_writes_every_value_and_every_failure(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "csv", str(tmp_path / "out.csv"), "--store", str(store)]) == 0
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err == f"wrote 4 records and 1 failure to {tmp_path / 'out.csv'}\n"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text("utf-8"), newline="")))
    assert [(row["step"], row["metric"]) for row in rows] == [
        *[("100", "top1")] * 2,
        *[("900", "top1")] * 2,
        ("200", ""),
    ]


def test_json_lines_on_standard_output_are_those_of_ls(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "--json", "--store", str(store)])
    listed = capsys.readouterr().out
    assert main(["export", "jsonl", "--store", str(store)]) == 0
    assert capsys.readouterr().out == listed


def test_a_target_that_cannot_be_written_and_an_unknown_export_are_usage_errors(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        CsvExport().write([], str(tmp_path / "none" / "a.csv"))
    with pytest.raises(UsageError, match="cannot be written"):
        CsvExport().write([], str(tmp_path))
    assert main(["export", "xlsx", "--store", str(store)]) == 2
    assert "'xlsx'" in capsys.readouterr().err


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    JsonLinesExport().write([{"value": 1}], str(tmp_path / "link.jsonl"))
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text("utf-8") == '{"value": 1}\n'
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    JsonLinesExport().write([{"value": 1}], str(pipe))
    assert os.read(reader, 99) == b'{"value": 1}\n'
    os.close(reader)
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "top7"], "no value 'top7' is on record; there are: top1"),
        (["--data", "other"], "--data other: nothing is on record on it; there are: "),
        (["--slice", "site"], "--slice site: no such slice is on record"),
        (["--run", ""], "'' is no run of this store"),
    ],
)
def test_a_filter_that_fits_nothing_is_a_mistake_not_an_empty_file(
    words: list[str], message: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "csv", str(tmp_path / "out.csv"), *words, "--store", str(store)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_what_somebody_put_in_the_way_is_neither_followed_nor_removed(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("theirs")
    for target, write in ((tmp_path / "a.csv", text_target), (tmp_path / "events", lambda at: folder_target(at, "us"))):
        planted = Path(replacing(str(target)))
        planted.symlink_to(private)
        with pytest.raises(UsageError, match="cannot be written"), write(str(target)):
            pass
        assert planted.is_symlink()
        assert not target.exists()
    assert private.read_text() == "theirs"


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom milepost._internal.targets import text_target\n"
        "with text_target(sys.argv[1]) as out:\n    out.write('half'); out.flush(); os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "results.csv"
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    neighbour = tmp_path / left.name.replace("results", "others")
    neighbour.write_text("half")
    with text_target(str(target)) as out:
        out.write("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"results.csv", neighbour.name}
    assert target.read_text() == "whole"


@pytest.mark.parametrize("variants", [("raw",), ("raw", "ema")])
def test_what_a_metric_gives_by_class_is_exported_as_records(tmp_path: Path, variants: tuple[str, ...]) -> None:
    names = [f"class-{letter}" for letter in "abcdefghij"]
    folder, store = tmp_path / "lenet", tmp_path / "evals"
    folder.mkdir()
    for step in (1, 2):
        averages = {f"ema.{name}": value for name, value in weights_of(step + 9).items()}
        save(folder / f"step-{step}.npz", weights_of(step) | (averages if "ema" in variants else {}))
    data = {"test": Arrays(*examples(300), class_names=names)}
    go(evaluation_of(data=data, metrics=[Recall()], variants=variants), folder, store=store)
    asked = ["--classes", "recall", "--store", str(store)]
    assert main(["export", "csv", str(tmp_path / "a.csv"), *asked]) == 0
    assert main(["export", "jsonl", str(tmp_path / "a.jsonl"), *asked]) == 0
    frame = pd.read_csv(tmp_path / "a.csv")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert [(one["metric"], one["class"], one["value"]) for one in lines] == list(
        frame[["metric", "class", "value"]].itertuples(index=False, name=None)
    )
    wide = frame.pivot_table(index=["step", "variant", "class"], columns="metric", values="value").reset_index()
    judge = open_store(store).to_pandas_by_class("recall")
    for name in ("recall", "support"):
        expected = judge.sort_values(["step", "variant", "class"])[name].to_list()
        assert wide.sort_values(["step", "variant", "class"])[name].to_list() == expected
    assert set(frame["class_name"]) == set(names)
    assert set(frame["digest"]) == {one["digest"] for one in open_store(store).checkpoints()}
    assert main(["export", "csv", "--metric", "top1", *asked]) == 2
