"""Each export is read back by its target: TensorBoard's and TensorFlow's readers, Arrow, Prometheus' parser."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from milepost.errors import UsageError
from milepost.exports.openmetrics import OpenMetricsExport
from milepost.exports.parquet import ParquetExport
from milepost.exports.tensorboard import TensorBoardExport
from milepost.scoring.flat_record import FIELDS, flat_record
from milepost.testing.exports import sample_records


def records(*steps: int, run: str = "lenet", variant: str = "raw", estimator: str = "exact") -> list[dict[str, Any]]:
    """Return a record for each step, in the order that is given; the value is the step's thousandth."""
    return [
        {
            "event": "record",
            "run": run,
            "checkpoint": {"path": f"{step}.pt", "step": step, "digest": f"{step:x}", "variant": variant},
            "data": "test",
            "slice": "all",
            "metric": "top1",
            "estimator": estimator,
            "value": step / 1000,
            "n": 10,
            "status": "ok",
            "intervals": [],
        }
        for step in steps
    ]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read one run's folder as TensorFlow does."""
    tf = pytest.importorskip("tensorflow")
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorflow_reads_the_curve_in_the_order_of_steps(tmp_path: Path) -> None:
    given = [*records(900, 100, 500), *records(100, variant="ema"), *records(100, estimator="batch_mean")]
    TensorBoardExport().write(given, str(tmp_path / "tb"))
    exact = scalars(tmp_path / "tb" / "lenet" / "exact")
    assert [step for step, _ in exact["eval/test/top1"]] == [100, 500, 900]
    assert [value for _, value in exact["eval/test/top1"]] == pytest.approx([0.1, 0.5, 0.9])
    assert scalars(tmp_path / "tb" / "lenet ema" / "exact")["eval/test/top1"][0][0] == 100
    assert "eval/test/top1" in scalars(tmp_path / "tb" / "lenet" / "batch_mean")


def test_steps_and_values_at_their_ends(tmp_path: Path) -> None:
    given = records(0, 1 << 40)
    given[0]["value"], given[1]["value"] = "-inf", 1e300
    TensorBoardExport().write(given, str(tmp_path / "tb"))
    assert scalars(tmp_path / "tb" / "lenet" / "exact")["eval/test/top1"] == [
        (0, -float("inf")),
        (1 << 40, float("inf")),
    ]


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    for _ in range(2):
        TensorBoardExport().write(records(100, 200), str(tmp_path / "tb"))
    assert len(scalars(tmp_path / "tb" / "lenet" / "exact")["eval/test/top1"]) == 2
    TensorBoardExport().write(records(100, run="other"), str(tmp_path / "tb"))
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == [".milepost-export", "other"]
    assert os.listdir(tmp_path) == ["tb"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tb").mkdir()
    (tmp_path / "tb" / "events.out.tfevents.1").write_bytes(b"training's own")
    with pytest.raises(UsageError, match="expected a new folder or an earlier tensorboard export"):
        TensorBoardExport().write(records(100), str(tmp_path / "tb"))
    assert [path.name for path in (tmp_path / "tb").iterdir()] == ["events.out.tfevents.1"]


def test_names_stay_within_the_folder_and_apart(tmp_path: Path) -> None:
    given = [*records(1, run="../../up"), *records(2, run="a/b"), *records(3, run="a_b"), *records(4, run="a\x1b[2J")]
    TensorBoardExport().write(given, str(tmp_path / "tb"))
    runs = [path for path in (tmp_path / "tb").iterdir() if path.is_dir()]
    assert sorted(path.name for path in runs) == [".._.._up", "a_b", "a_b_", "a_x1b_2J"]
    steps = {scalars(path / "exact")["eval/test/top1"][0][0] for path in runs}
    assert steps == {1, 2, 3, 4}


@pytest.mark.wide
def test_tensorboards_own_accumulator_reads_every_point(tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no TensorBoard")
    TensorBoardExport().write([*records(900, 100, 500), *sample_records()], str(tmp_path / "tb"))
    accumulator = module.EventAccumulator(str(tmp_path / "tb" / "lenet" / "exact"))
    accumulator.Reload()
    found = [(event.step, event.value) for event in accumulator.Scalars("eval/test/top1")]
    assert [step for step, _ in found] == [100, 500, 900, 900]
    tensors = accumulator.Tensors("not drawn") if "not drawn" in accumulator.Tags()["tensors"] else []
    failed = module.EventAccumulator(str(next((tmp_path / "tb").glob("lenet*/exact"))))
    failed.Reload()
    assert tensors or failed.Tags()["tensors"] == ["not drawn"]


def test_arrow_reads_every_bit(tmp_path: Path) -> None:
    ParquetExport().write(sample_records(), str(tmp_path / "a.parquet"))
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows == [{name: flat_record(record)[name] for name in FIELDS} for record in sample_records()]
    with pytest.raises(UsageError, match="expected a file"):
        ParquetExport().write([], "-")


def test_prometheus_reads_every_sample(tmp_path: Path) -> None:
    OpenMetricsExport().write(sample_records(), str(tmp_path / "a.txt"))
    text = (tmp_path / "a.txt").read_text("utf-8")
    families = {item.name: item for item in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    values = {sample.labels.get("metric", ""): sample.value for sample in families["milepost_value"].samples[:2]}
    assert values == {"top1": 1 / 3, "loss": float("inf")}
    assert families["milepost_value"].samples[2].value != families["milepost_value"].samples[2].value  # NaN
    assert families["milepost_interval_low"].samples[0].value == 0.1
    assert families["milepost_failed"].samples[0].labels["status"] == "failed: torn"
    assert families["milepost_value"].samples[0].labels["path"] == r'runs/a "quoted", path\x0a\xe9.pt'
