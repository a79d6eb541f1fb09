"""What training deletes while the evaluation is still being loaded is pinned before."""

from pathlib import Path

import pytest
from tests._material import Events, request_of, save
from tests.watch._watching import FAST, counts, made, values

from milepost.errors import MilepostError
from milepost.watch.watch import watch

EVALUATION = """
import sys, time
from pathlib import Path

sys.path.insert(0, {root!r})
from tests._material import evaluation_of
from tests.watch._watching import made
from tests._material import save

run = Path({run!r})
(run / "step-1.npz").unlink(missing_ok=True)
if not (run / "DONE").exists():
    save(run / "new.tmp.npz", made(2))
    (run / "new.tmp.npz").rename(run / "step-2.npz")
    limit = time.monotonic() + 20
    while len(list(Path({store!r}, "pins").glob("*/step-2.npz"))) < 1 and time.monotonic() < limit:
        time.sleep(0.01)
    (run / "step-2.npz").unlink()
    (run / "DONE").touch()
{last}
"""


def prepared(folder: Path, last: str) -> Path:
    """Write an evaluation file that deletes checkpoints as it is loaded."""
    run, store = folder / "run", folder / "store"
    run.mkdir(exist_ok=True)
    file = folder / "ev.py"
    root = str(Path(__file__).parents[2])
    file.write_text(EVALUATION.format(root=root, run=str(run), store=str(store), last=last))
    return file


def test_what_is_deleted_while_the_evaluation_is_loaded_is_evaluated(tmp_path: Path) -> None:
    file = prepared(tmp_path, "evaluation = evaluation_of(300)")
    save(tmp_path / "run" / "step-1.npz", made(1))
    events = Events()
    watch(request_of(file, tmp_path / "run", store=tmp_path / "store"), FAST, events.append)
    assert counts(events) == {"evaluated": 2}
    assert set(values(tmp_path / "store")) == {1, 2}
    assert not (tmp_path / "store" / "pins").exists()


def test_where_loading_fails_the_next_watch_has_what_was_there(tmp_path: Path) -> None:
    file = prepared(tmp_path, "raise ValueError('no such model')")
    save(tmp_path / "run" / "step-1.npz", made(1))
    request = request_of(file, tmp_path / "run", store=tmp_path / "store")
    with pytest.raises(MilepostError, match="no such model"):
        watch(request, FAST, lambda _: None)
    prepared(tmp_path, "evaluation = evaluation_of(300)")
    events = Events()
    watch(request, FAST, events.append)
    assert counts(events) == {"evaluated": 2}
