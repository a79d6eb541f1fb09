"""What a process on another host left is swept once it gave no sign for a day, and not before."""

import os
from pathlib import Path

from milepost.store.leases import Worker
from milepost.store.store import Store

KEY = "0123456789abcdef0123456789abcdef"


def test_leases_and_heartbeats_of_elsewhere(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    foreign = Worker(store.storage)
    foreign.text = "elsewhere-0b007.1-1-1-0"
    foreign.touch()
    assert store.lease(KEY, "0-100", foreign).acquire()
    heartbeat, lease = (next(store.path.rglob(name)) for name in ("elsewhere-*", "*0-100.1"))
    os.utime(lease, (1, 1))
    assert store.sweep() == 0  # a lease is not touched while it is held
    os.utime(heartbeat, (1, 1))
    assert store.sweep() == 2
    assert not heartbeat.exists()
    assert not lease.exists()
    assert store.lease(KEY, "0-100", foreign).acquire()
    assert store.sweep() == 0  # it has just been taken by one whose heartbeat could not be put
