"""A watch that cannot pin: what is deleted before its turn has vanished, whoever saw it; nothing is done twice."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests._material import Events, evaluation_of, request_of, save
from tests.watch._watching import FAST, ROWS, counts, deleting, go, made, states, values

from milepost.store.store import Store
from milepost.watch.watch import watch


class Died(BaseException):
    """What nothing in a watch catches, as a kill."""


@pytest.fixture(autouse=True)
def _no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def link(source: Any, target: Any, **options: Any) -> None:
        if str(tmp_path / "run") in str(source):
            raise OSError(18, "Invalid cross-device link")
        real(source, target, **options)

    monkeypatch.setattr(os, "link", link)


def test_without_links_it_is_reported_once_and_what_is_deleted_has_vanished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(1, 7):
        save(run / f"step-{step}.npz", made(step))
    (run / "DONE").touch()
    events = Events()
    request = request_of(evaluation_of(ROWS), run, store=tmp_path / "store", per_pass=2)
    watch(request, FAST, deleting(run, events, "step-5.npz", "step-6.npz"))
    assert counts(events) == {"evaluated": 4, "vanished": 2}
    assert events.notes.count("cannot be pinned") == 1
    assert events.failures["step-5.npz"].startswith("vanished: deleted before it could be evaluated")
    assert "raise keep-last (max_to_keep)" in events.failures["step-6.npz"]
    assert states(events, "step-5.npz") == ["seen", "complete", "vanished"]
    listing = Store.open(tmp_path / "store").listing()
    failed = {row["name"]: row["failure"]["kind"] for row in listing.checkpoints() if row["failure"]}
    assert failed == {"step-5": "vanished", "step-6": "vanished"}


def test_without_links_what_a_watch_that_died_had_seen_is_evaluated_or_has_vanished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(1, 6):
        save(run / f"step-{step}.npz", made(step))

    def listen(event: dict[str, Any]) -> None:
        if event.get("state") == "claimed" and event["step"] == 3:
            raise Died

    request = request_of(evaluation_of(ROWS), run, store=tmp_path / "store", per_pass=1)
    with pytest.raises(Died):
        watch(request, FAST, listen)
    (run / "step-1.npz").unlink()  # evaluated by then
    (run / "step-3.npz").unlink()
    (run / "step-4.npz").unlink()
    (run / "step-2.npz").rename(run / "kept-2.npz")
    (run / "DONE").touch()
    events = Events()
    watch(request, FAST, events.append)
    assert counts(events) == {"evaluated": 1, "up_to_date": 1, "vanished": 2}
    assert sorted(events.failures) == ["step-3.npz", "step-4.npz"]
    assert events.failures["step-4.npz"].startswith("vanished: deleted while no watch was there before it could be")
    assert not (tmp_path / "store" / "pins").exists()
    assert counts(go(tmp_path, run)) == {"up_to_date": 2}


@pytest.mark.parametrize("moment", ["progress", "record"])
def test_what_was_predicted_whole_by_a_watch_that_died_needs_no_checkpoint(moment: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run / "step-1.npz", made(1))
    (run / "DONE").touch()
    assert counts(go(tmp_path / "other", run)) == {"evaluated": 1}

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == moment:
            raise Died

    with pytest.raises(Died):
        watch(request_of(evaluation_of(ROWS), run, store=tmp_path / "store"), FAST, listen)
    (run / "step-1.npz").unlink()
    events = go(tmp_path, run)
    assert counts(events) == {"up_to_date": 1}
    assert values(tmp_path / "store") == values(tmp_path / "other" / "store")
