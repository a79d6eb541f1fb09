"""An evaluation file that is edited before its evaluator is opened again: no result lands under the earlier code."""

from pathlib import Path

import pytest
from tests._material import checkpoints, go, import_path, leftovers

from milepost.errors import EvaluationFileError
from milepost.store.store import Store

EVALUATION = """
import os
from tests._material import evaluation_of, linear

SCALE = 1


def predict(weights, x):
    if SCALE == 1 and os.path.exists(__file__ + ".edit"):
        os.remove(__file__ + ".edit")
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
        with open(__file__, "w", encoding="utf-8") as file:
            file.write(text.replace("SCALE = 1", "SCALE = EDITED", 1))
        os.kill(os.getpid(), 9)
    return SCALE * linear(weights, x)


evaluation = evaluation_of(300, predict, version=None)
"""


@pytest.mark.parametrize(("edited", "same"), [("-1", False), ("1  # the same", True)])
def test_an_edit_between_two_openings(edited: str, same: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", import_path(Path(__file__).parents[2]))
    folder, file, store = checkpoints(tmp_path / "lenet", 1, 2), tmp_path / "ev.py", tmp_path / "evals"
    file.write_text(EVALUATION.replace("EDITED", edited))
    (tmp_path / "ev.py.edit").touch()
    if same:
        assert go(file, folder, store=store).done == (2, 0, 0)
        return
    with pytest.raises(EvaluationFileError, match=r"had to be opened again, and its code is not what it was"):
        go(file, folder, store=store)
    assert not [key for key in Store.open(store).evaluations() if Store.open(store).evaluation(key).column_sets()]
    assert [name for name in leftovers(store) if name.startswith(("leases/", "workers/"))] == []
    assert go(file, folder, store=store).done == (2, 0, 0)
