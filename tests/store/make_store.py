"""Fabricates a store of many checkpoints quickly, without a model: for tests and benchmarks of listings."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from milepost.store.store import Store

METRICS = ("top1", "top5", "cross_entropy", "ece")
ESTIMATORS = (("exact", None), ("batch_mean", 256))
SPEC = {
    "data": "d" * 32,
    "data_name": "test",
    "task": {"name": "classification", "outputs": "logits", "ties": "class_index"},
    "code": "c" * 32,
    "variant": "raw",
    "size": 10_000,
    "created": "2026-01-01T00:00:00+00:00",
}


def digest_of(run: str, step: int) -> str:
    """Return the weights digest of a made-up checkpoint."""
    return hashlib.sha256(f"{run}/{step}".encode()).hexdigest()[:32]


def payload(metric: str, step: int, *, rows: int = 10_000, batch_size: int | None = None) -> dict[str, Any]:
    """Return the record of one made-up metric."""
    value = 0.5 + step % 997 / 2000
    low, high = value - 0.01, value + 0.01
    return {
        "schema": 1,
        "metric": {"name": metric},
        "estimator": "exact" if batch_size is None else "batch_mean",
        "batch_size": batch_size,
        "coverage": [[0, rows]],
        "size": 10_000,
        "data": "test",
        "slice": "all",
        "status": "ok" if rows == 10_000 else f"partial {rows}/10000",
        "values": [
            {
                "metric": metric,
                "value": value,
                "numerator": round(value * rows),
                "denominator": rows,
                "n": rows,
                "intervals": [{"low": low, "high": high, "level": 0.95, "method": "wilson", "kind": "population"}],
                "tied": 0,
                "nonfinite": 0,
                "gap": None,
                "note": None,
            }
        ],
    }


def make_store(path: Path, checkpoints: int = 2000, metrics: Sequence[str] = METRICS) -> Store:
    """Make a store as Milepost would have left it; nothing is forced to disk, so that it takes seconds only."""
    with patch("os.fsync"):
        return _made(path, checkpoints, metrics)


def _made(path: Path, checkpoints: int, metrics: Sequence[str]) -> Store:
    store = Store.create(path)
    run = store.run_of(path.parent / "lenet")
    there = path / "runs" / run / "checkpoints"
    there.mkdir(exist_ok=True)
    for number in range(1, checkpoints + 1):
        step = number * 100
        digest = digest_of(run, step)
        names = [f"step-{step}", "last"] if number == checkpoints else [f"step-{step}"]
        for name in names:
            _write(there / f"{digest_of(name, step)}.json", _seen(run, name, step))
        evaluation = store.evaluation(hashlib.sha256(digest.encode()).hexdigest()[:32])
        evaluation.describe({**SPEC, "weights": digest})
        evaluation.results.publish(
            (payload(metric, step, batch_size=batch_size), {}) for metric in metrics for _, batch_size in ESTIMATORS
        )
    return store


def _seen(run: str, name: str, step: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "run": run,
        "path": f"/models/lenet/{name}.pt",
        "identity": [1, step, 100, step, step],
        "name": name,
        "variant": "raw",
        "signature": "0123456789abcdef",
        "step": step,
        "step_source": "name",
        "digest": digest_of(run, step),
        "failure": None,
        "attempt": 1,
        "notes": {},
        "seen": "2026-01-01T00:00:00Z",
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")), encoding="ascii")
