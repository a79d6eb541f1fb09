"""The reader: changes noticed, and the process that serves it: plain data in and out."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milepost._internal.serialization import from_plain, to_plain
from milepost.checkpoints.formats.torch_zip import TorchZip
from milepost.checkpoints.mapping import map_tensor
from milepost.checkpoints.reader import Reader
from milepost.core.types import CheckpointFiles, Extent, Table, Tensor
from milepost.errors import Corrupt, Torn, Unsupported, UsageError, Vanished


def saved(path: Path, *, packed: bool = False, **arrays: np.ndarray) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **(arrays or {"w": np.arange(6.0).reshape(2, 3)}))  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_crosses_as_json_and_maps(packed: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", packed=packed)
    (found,) = Reader().discover([str(path)])
    table = from_plain(Table, json.loads(json.dumps(to_plain(Reader().table(found, str(tmp_path))))))
    assert found.format == "npz"
    assert table.tensors[0].where.encoding == "raw"
    assert map_tensor(table.tensors[0]).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_file_that_changed_or_went_is_torn_or_vanished(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    (found,) = Reader().discover([str(path)])
    saved(path, w=np.zeros(9))
    with pytest.raises(Torn, match="changed since it was found"):
        Reader().table(found, str(tmp_path))
    path.unlink()
    with pytest.raises(Vanished, match="no longer there"):
        Reader().table(found, str(tmp_path))


def test_a_file_that_changes_while_it_is_read_is_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: PLC0415 - only this test writes such a file

    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2)}, path)
    (found,) = Reader().discover([str(path)])
    honest = TorchZip.read

    def meanwhile(self: TorchZip, checkpoint: CheckpointFiles) -> Table:
        table = honest(self, checkpoint)
        path.write_bytes(path.read_bytes() + b"more")
        return table

    monkeypatch.setattr(TorchZip, "read", meanwhile)
    with pytest.raises(Torn, match="changed while it was read"):
        Reader().table(found, str(tmp_path))


def test_a_failed_checkpoint_raises_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"\x01\x02nothing sensible")
    (found,) = Reader().discover([str(tmp_path)])
    with pytest.raises(Corrupt, match="no format knows"):
        Reader().table(found, str(tmp_path))


def test_inspect_is_of_one_checkpoint(tmp_path: Path) -> None:
    path = saved(tmp_path / "step-900.npz", w=np.zeros((2, 3), "float32"), global_step=np.array(7))
    inspection = Reader().inspect(str(path))
    assert (inspection.files.path, inspection.table.step) == (str(path), 7)
    assert [(item.role, item.shape) for item in inspection.table.tensors] == [("weights", (2, 3)), ("bookkeeping", ())]
    saved(tmp_path / "step-12.npz")
    with pytest.raises(UsageError, match="2 checkpoints, expected one"):
        Reader().inspect(str(tmp_path))


SERVER = """
import sys
from milepost.checkpoints import reader
reader.main()
print("a library that prints", flush=True)
heavy = {"torch", "tensorflow", "safetensors", "jax", "rich"} & set(sys.modules)
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("milepost.")}
print(sorted(heavy), sorted(rooms), file=sys.stderr)
"""


def test_the_process_answers_line_by_line_and_loads_nothing_else(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    (files,) = to_plain(Reader().discover([str(path)]))
    requests = [
        {"id": 1, "method": "discover", "arguments": {"paths": [str(path)]}},
        {
            "id": 2,
            "method": "table",
            "arguments": {"files": files, "spool": str(tmp_path)},
        },
        {"id": 3, "method": "launch", "arguments": {}},
        {"id": 4, "method": "inspect", "arguments": {"path": str(tmp_path / "gone")}},
        {"id": 5, "method": "table", "arguments": {"files": {}, "spool": ""}},
    ]
    lines = "".join(json.dumps(item) + "\n" for item in requests) + "no json\n"
    done = subprocess.run(
        [sys.executable, "-c", SERVER], input=lines.encode(), capture_output=True, timeout=60, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5, None]
    assert answers[0]["result"] == [files]
    assert answers[1]["result"]["format"] == "npz"
    assert answers[2]["error"]["types"][0] == answers[3]["error"]["types"][0] == "UsageError"
    assert answers[4]["error"]["types"] == ["ValueError"]
    errors = done.stderr.decode().splitlines()
    assert "a library that prints" in errors
    heavy, _, rooms = errors[-1].partition("] ")
    assert heavy == "["
    loaded = {room for room in json.loads(rooms.replace("'", chr(34))) if not room.startswith("_")}
    assert loaded == {"checkpoints", "core", "errors", "registry"}


def test_errors_carry_their_kind(tmp_path: Path) -> None:
    (found,) = Reader().discover([str(saved(tmp_path / "a.npz"))])
    found = replace(found, path="/x", paths=("/x",))
    request = json.dumps({"id": 1, "method": "table", "arguments": {"files": to_plain(found), "spool": ""}})
    command = [sys.executable, "-m", "milepost.checkpoints.reader"]
    done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["error"]["kind"] == "vanished"


@pytest.mark.parametrize(
    ("where", "error"),
    [
        (Extent("{}", 4, 8), Torn),
        (Extent("{}", 0, 4), Corrupt),
        (Extent("{}", -1, 8), Corrupt),
        (Extent("{}", 0, 8, "raw", (8,)), Corrupt),
        (Extent("{}", 0, 8, "raw", (-4,)), Corrupt),
        (Extent("{}", 0, 8, "raw", (4, 4)), Corrupt),
        (Extent("{}", 0, 8, "deflate"), Unsupported),
        (Extent("{}.gone", 0, 8), Vanished),
    ],
)
def test_places_that_do_not_fit_are_not_mapped(where: Extent, error: type[Exception], tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(8))
    place = Extent(where.file.format(path), where.offset, where.nbytes, where.encoding, where.strides)
    with pytest.raises(error):
        map_tensor(Tensor("t", "float32", (2,), place))


@pytest.mark.parametrize(("shape", "strides"), [((-2, -1), None), ((-2, -1), (4, 4)), ((-1, 0), None)])
def test_negative_sizes_are_not_mapped(shape: tuple[int, ...], strides: tuple[int, ...] | None, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(8))
    with pytest.raises(Corrupt, match="negative size"):
        map_tensor(Tensor("t", "float32", shape, Extent(str(path), 0, 0 if 0 in shape else 8, "raw", strides)))
