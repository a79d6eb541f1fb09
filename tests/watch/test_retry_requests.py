"""`failures --retry` reaches a watch that is running: what was requested is tried once more, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from tests._material import Events, evaluation_of, linear, request_of, save
from tests.watch._watching import FAST, ROWS, counts, made, states, values

from milepost.cli import main
from milepost.core.types import Array
from milepost.watch import watch as watch_module
from milepost.watch.watch import watch


def test_what_is_requested_is_tried_again_while_the_watch_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch_module, "RETRY_SECONDS", 0.0)
    run, store = tmp_path / "run", tmp_path / "store"
    run.mkdir()
    save(run / "step-1.npz", made(1))
    save(run / "step-2.npz", made(2))
    (run / "step-3.pt").write_bytes(b"<html>not found</html>")
    events = Events()
    state = {"broken": True, "asked": 0}

    def predict(weights: dict[str, Array], inputs: Array) -> Array:
        if state["broken"]:
            raise RuntimeError("no such luck")
        return linear(weights, inputs)

    def ask(*which: str) -> None:
        state["asked"] += 1
        assert main(["failures", "--store", str(store), "--retry", *which]) == 0

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "failed" and state["asked"] == 0 and len(failed()) == 3:
            state["broken"] = False
            ask("1")
        elif event.get("state") == "done":
            ask("3")
        elif event.get("state") == "failed" and len(failed()) == 4:
            (run / "DONE").touch()

    def failed() -> list[str]:
        return [item["name"] for item in events.of("checkpoint") if item["state"] == "failed"]

    watch(request_of(evaluation_of(ROWS, predict), run, store=store), FAST, listen)
    assert states(events, "step-1.npz") == ["seen", "complete", "claimed", "failed", "complete", "claimed", "done"]
    assert states(events, "step-2.npz") == ["seen", "complete", "claimed", "failed"]
    assert sorted(failed()) == ["step-1", "step-2", "step-3", "step-3"]
    assert [event["attempts"] for event in events.of("failure") if event["path"].endswith("3.pt")] == [1, 2]
    assert counts(events) == {"evaluated": 1, "failed": 2}
    assert list(values(store)) == [1]
    assert "by a running one" in capsys.readouterr().out


def test_what_is_gone_or_was_not_requested_stays_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "RETRY_SECONDS", 0.0)
    run, store = tmp_path / "run", tmp_path / "store"
    run.mkdir()
    bad = run / "step-1.pt"
    bad.write_bytes(b"<html>not found</html>")
    events = Events()

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("state") == "failed":
            assert main(["failures", "--store", str(store), "--retry"]) == 0
            bad.unlink()
            save(run / "step-2.npz", made(2))
        if event.get("state") == "done":
            (run / "DONE").touch()

    watch(request_of(evaluation_of(ROWS), run, store=store), FAST, listen)
    assert counts(events) == {"evaluated": 1, "failed": 1}
