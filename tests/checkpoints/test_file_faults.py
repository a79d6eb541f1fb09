"""Files that fail, change, grow or become something else at each operation of a reader in a process of its own.

What lies under a name afterwards is never taken for what was found: only the weights that were there, or a row.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from safetensors.torch import save as safe
from tests.checkpoints import _tf_writer as tf
from tests.checkpoints import hdf5_files
from tests.checkpoints.fuzz.faults import ERRORS, KINDS
from tests.checkpoints.fuzz.judge import Judge, put, verdict
from tests.checkpoints.fuzz.specimens import _hf_shards, _plain, arrays
from tests.sixty.pieces import npz, saved

RETRIED = {"EIO", "ESTALE", "ETIMEDOUT", "EMFILE"}


def files_of(seed: int) -> dict[str, Mapping[str, bytes]]:
    """Return checkpoints of one layout, each with other weights for another seed."""
    weights = arrays(seed)
    half = {name: weights[name] for name in weights if weights[name].dtype != "float16"}
    keras = {"dense/0": weights["fc1.weight"], "dense/1": weights["fc1.bias"]}
    return {
        "npz": {"step-1.npz": npz(weights)},
        "npz, deflated": {"step-1.npz": npz(weights, packed=True)},
        "torch": {"step-1.pt": saved(_plain(seed))},
        "torch, legacy": {"step-1.pt": saved(_plain(seed), _use_new_zipfile_serialization=False)},
        "safetensors": {"step-1.safetensors": safe(_plain(seed))},
        "shards": _hf_shards("safetensors", lambda one: safe({name: one[name] + seed for name in one})),
        "HDF5": {"step-1.weights.h5": hdf5_files.made(hdf5_files.layers(keras))},
        "bundle": tf.bundle("model.ckpt-1", weights, shards=2, parts={"fc1.weight": 3}),
        "Saver V1": {"model.ckpt-1": tf.saver_v1(half)},
    }


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Return a child that reads, warm."""
    with Judge.started(list(files_of(1).values())) as made:
        yield made


@pytest.mark.parametrize("name", files_of(1))
def test_each_operation_meets_each_fault(name: str, judge: Judge, stride: int, tmp_path: Path) -> None:
    files = files_of(1)[name]
    put(str(tmp_path), files_of(2)[name])
    whole = judge.read(files)
    none = {"kind": "none", "number": 0, "spare": str(tmp_path)}
    count = judge.read_at(judge.folder, none).operations
    assert count > 10
    kinds, step = set[str](), 37 if stride > 1 else 1
    for place, kind in enumerate(KINDS):
        for number in range(1 + 5 * place % step, count + 1, step):
            judge.put(files)
            read = judge.read_at(judge.folder, {**none, "kind": kind, "number": number})
            given = verdict(whole, read, sealed=False)
            assert given.outcome in {"same", "row", "nothing"}, f"{kind} at operation {number}: {given}"
            if kind == "short":
                assert given.outcome == "same"
            if kind in ERRORS:
                kinds |= {f"{kind} {one}" for one in given.kinds if "cannot be listed" not in str(read.rows)}
    assert kinds <= {f"{kind} {one}" for kind in RETRIED for one in ("torn", "vanished", "usage")} | {
        f"EACCES {one}" for one in ("corrupt", "usage")
    }
