"""Any bytes that a name may be go into a store and come out again, by every way that reads it."""

import json
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.core.types import Identity
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store

NAMES = st.binary(min_size=1, max_size=40).map(lambda name: name.translate(None, b"\0/")).filter(bool)


@settings(max_examples=20)
@given(NAMES, NAMES)
def test_bytes_come_back_from_records_rows_and_lines(folder: bytes, name: bytes) -> None:
    path = os.path.join("/runs", os.fsdecode(folder), os.fsdecode(name))
    with tempfile.TemporaryDirectory() as made:
        store = Store.create(Path(made, "evals"))
        run = store.run_of(os.path.dirname(path))
        record = CheckpointRecord(run, path, Identity(1, 2, 3, 4, 5), os.fsdecode(name), digest="d" * 64)
        assert store.add_checkpoint(record)
        assert Store.open(store.path).checkpoint(run, path, record.identity) == record
        assert list(store.checkpoints()) == [record]
        (row,) = json.loads(json.dumps(store.listing().checkpoints()))
        assert os.fsencode(row["path"]) == os.fsencode(path)
        assert os.fsencode(row["name"]) == name
        file = next(store.path.glob("runs/*/checkpoints/*.json"))
        assert file.read_bytes().isascii()
        assert os.fsencode(json.loads(file.read_bytes())["path"]) == os.fsencode(path)
