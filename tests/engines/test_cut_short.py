"""A checkpoint's file that another process cuts short while the evaluation reads it: a row, and no dead process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from tests._material import ENVIRONMENT, import_path

from milepost.checkpoints import mapping
from milepost.core.types import Extent, Tensor
from milepost.errors import Torn

ROWS = 4096  # the weights take more than a page: what is left of the last page of a map still reads as zeros
SCRIPT = """
import subprocess
import sys

import numpy as np

from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

TARGET = "step-1.npz"


def cut():
    subprocess.run([sys.executable, "-c", f"import os; os.truncate({TARGET!r}, 1000)"], check=True)


class Cutting(FunctionModel):
    def variables(self):
        if sys.argv[1:2] == ["variables"]:
            Cutting.calls = getattr(Cutting, "calls", 0) + 1
            if Cutting.calls == 2:  # the first describes the evaluation, the second is asked with the table at hand
                cut()
        return super().variables()

    def load(self, tensors):
        if sys.argv[1:2] != ["variables"]:
            cut()
        return super().load(tensors)


evaluation = Evaluation(
    model=Cutting(lambda weights, inputs: inputs @ weights["w"], variables={"w": (4096, 2)}),
    data={"test": Arrays(np.ones((40, 4096), "f4"), np.zeros(40, int))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
if __name__ == "__main__":
    results = evaluation.run(TARGET, engine=sys.argv[2])
    print("ALIVE", *(row["failure"]["kind"] + ": " + row["failure"]["message"] for row in results.failures))
"""


def cut_short(folder: Path, when: str, engine: str) -> str:
    """Run an evaluation during which another process cuts the checkpoint short; return what it printed at its end."""
    np.savez(folder / "step-1.npz", w=np.ones((ROWS, 2), "f4"))
    (folder / "evaluate.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "evaluate.py", when, engine],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": import_path()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


@pytest.mark.parametrize("when", ["variables", "load"])
def test_in_process_a_file_cut_short_is_a_torn_row_and_the_process_goes_on(when: str, tmp_path: Path) -> None:
    printed = cut_short(tmp_path, when, "inprocess")
    assert printed.startswith("ALIVE torn: ")
    assert "tensor 'w' ends at byte 32,951, the file has 1,000" in printed


def test_locally_the_evaluator_dies_of_its_map_and_the_row_is_torn(tmp_path: Path) -> None:
    printed = cut_short(tmp_path, "load", "local")
    assert printed.startswith("ALIVE torn: ")
    assert "cut off while it was read" in printed


def test_a_file_cut_short_between_two_pieces_is_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "raw", os.preadv
    path.write_bytes(bytes(4000))
    tensor = Tensor("w", "float32", (1000,), Extent(str(path), 0, 4000))

    def cutting(descriptor: int, buffers: Any, offset: int) -> int:
        count = read(descriptor, buffers, offset)
        subprocess.run([sys.executable, "-c", f"import os; os.truncate({str(path)!r}, 1500)"], check=True)
        return count

    monkeypatch.setattr(mapping, "_PIECE", 1000)
    assert mapping.read_tensor(tensor).tolist() == [0.0] * 1000
    monkeypatch.setattr(os, "preadv", cutting)
    with pytest.raises(Torn, match=r"tensor 'w' ends at byte 4,000, the file has 1,500"):
        mapping.read_tensor(tensor)


@given(st.sampled_from(["<f4", ">i2", "bool", "<c8"]), array_shapes(min_dims=0, min_side=0), st.data())
def test_what_is_read_is_what_is_mapped(dtype: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    array = np.arange(int(np.prod(shape))).astype(dtype).reshape(shape)
    axes = data.draw(st.permutations(range(array.ndim)))
    turned = array.transpose(axes)
    strides = None if axes == list(range(array.ndim)) or 0 in shape else turned.strides
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "raw").write_bytes(b"abc" + array.tobytes())
        where = Extent(str(Path(folder, "raw")), 3, array.nbytes, strides=strides)
        tensor = Tensor("w", dtype, (array if strides is None else turned).shape, where)
        mapped, read = mapping.map_tensor(tensor), mapping.read_tensor(tensor)
    wanted = array if strides is None else turned
    assert mapped.dtype == read.dtype == wanted.dtype
    assert np.array_equal(mapped, wanted) or array.size == 0
    assert np.array_equal(read, wanted)
    assert read.flags.writeable
    assert not mapped.flags.writeable
