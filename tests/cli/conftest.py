"""A store of a made-up run, and a driver that only tells events."""

import sys
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.report.samples import DIGESTS

from milepost.core.types import Identity
from milepost.run.request import Request
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store


@dataclass
class Summary:
    """What the fake driver returns."""

    evaluated: int
    skipped: int
    failed: int
    checked: int = 0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a store with two contents, the second under three names, and a file that failed."""
    made = Store.create(tmp_path / "evals")
    run = made.run_of(tmp_path / "lenet")
    seen = [(100, "step-100", DIGESTS[100]), (900, "step-900", DIGESTS[900]), (900, "last", DIGESTS[900])]
    for number, (step, name, digest) in enumerate([*seen, (900, "best", DIGESTS[900]), (200, "step-200", None)]):
        failure = None if digest else ("corrupt", "step-200.pt: checksum of fc.weight\nsecond line")
        identity = Identity(1, number, 100, 1, 1)
        path = str(tmp_path / "lenet" / f"{name}.pt")
        made.add_checkpoint(
            CheckpointRecord(
                run, path, identity, name, step=step, digest=digest, failure=failure, seen="2026-01-01T00:00:00Z"
            )
        )
    for step in (100, 900):
        folder = made.evaluation(DIGESTS[step][:32])
        folder.describe({"weights": DIGESTS[step], "code": "c0de"})
        folder.results.publish([(_payload(step, size), {}) for size in (None, 359)])
    return tmp_path / "evals"


def _payload(step: int, size: int | None) -> dict[str, Any]:
    exact = {"value": 299 / 360, "numerator": 299, "denominator": 360}
    value = exact if size is None else {"value": (298 / 359 + 1) / 2, "numerator": None, "denominator": None}
    span = {"low": 0.788, "high": 0.866, "level": 0.95, "method": "wilson", "kind": "population"}
    entry: dict[str, Any] = {
        "metric": "top1",
        **value,
        "n": 360,
        "intervals": [span] if size is None else [],
        "tied": 0,
        "nonfinite": 0,
    }
    if size is not None:
        entry["gap"] = {"value": 0.084486, "batches": 2, "last_rows": 1, "full": 298 / 359, "last": 1.0}
    return {
        "schema": 1,
        "metric": {"name": "top_k", "k": 1},
        "estimator": "exact" if size is None else "batch_mean",
        "batch_size": size,
        "coverage": [[0, 360]],
        "size": 360,
        "data": "test",
        "slice": "all",
        "status": "ok",
        "values": [entry],
    }


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., types.ModuleType]:
    """Put a driver in the place of the real one that tells the given events, then does the given thing."""

    def install(
        events: list[dict[str, Any]], ending: Any, rows: list[dict[str, Any]] | None = None
    ) -> types.ModuleType:
        module = types.ModuleType("milepost.run.run")
        requests: list[Request] = []

        def run(request: Request, listen: Callable[[dict[str, Any]], None]) -> Any:
            requests.append(request)
            for event in events:
                listen(event)
            print("the user's own code prints this")
            if isinstance(ending, BaseException):
                raise ending
            summary = Summary(*ending)
            listen({"event": "done", **asdict(summary)})
            return summary

        vars(module).update(requests=requests, run=run, plan=lambda request, listen: rows)
        monkeypatch.setitem(sys.modules, "milepost.run.run", module)
        return module

    return install


@pytest.fixture
def evaluation(tmp_path: Path) -> str:
    """Make an evaluation file that nobody reads."""
    file = tmp_path / "eval.py"
    file.write_text("evaluation = None\n")
    return str(file)
