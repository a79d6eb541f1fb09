import subprocess
import sys
from pathlib import Path

import pytest
from tests.store._work import KEY

from milepost._internal.process import Owner
from milepost.errors import StoreError
from milepost.store.leases import Heartbeats, Lease, Worker
from milepost.store.store import Store

CHILD = """
import sys
from milepost.store.store import Store
store = Store.open(sys.argv[1])
worker = store.worker()
worker.__enter__()
print(store.lease(sys.argv[2], "0-256", worker).acquire(), flush=True)
sys.stdin.readline()
"""


def test_a_live_process_keeps_its_lease_and_a_killed_one_loses_it_at_once(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "s"), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    with store.worker() as mine, store.worker() as rival:
        lease = store.lease(KEY, "0-256", mine)
        assert not lease.acquire()
        assert lease.holder() is not None
        child.kill()
        child.communicate()
        assert lease.holder() is None
        assert lease.acquire()
        assert lease.holder() == mine.text
        assert not store.lease(KEY, "0-256", rival).acquire()
        assert store.lease(KEY, "256-512", rival).acquire()
        lease.release()
        assert store.lease(KEY, "0-256", rival).acquire()
    assert store.sweep() == 3  # the killed worker's heartbeat, and two leases that the rival, which has ended, had kept
    assert [path.name for path in (tmp_path / "s" / "workers").glob("*")] == []


def test_what_a_worker_could_not_release_is_free_once_it_has_ended(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    with store.worker() as earlier:
        assert store.lease(KEY, "0-256", earlier).acquire()
    with store.worker() as later:  # in the same process, as in a notebook
        assert store.lease(KEY, "0-256", later).acquire()


def test_sweep_removes_leases_of_dead_workers(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    me = Owner.me()
    dead = Owner(me.host, me.boot, me.pid, me.start + 1).text() + "-0"
    assert Lease(store.storage, KEY, "x", dead, Heartbeats(store.storage)).acquire()
    assert store.sweep() == 1
    assert not (tmp_path / "s" / "leases").exists()


class Hosts:
    """Two hosts on one store, and a clock that the test moves."""

    def __init__(self, store: Store) -> None:
        self.now = 100.0
        self.store = store
        self.heartbeats = Heartbeats(store.storage, ttl=60, clock=lambda: self.now)
        self.foreign = Worker(store.storage)
        self.foreign.text = "elsewhere-0b007.1-1-1-0"
        self.foreign.touch()

    def lease(self, worker: str) -> Lease:
        return Lease(self.store.storage, "01234567", "0-256", worker, self.heartbeats)


def test_a_foreign_holder_is_judged_by_its_heartbeat(tmp_path: Path) -> None:
    hosts = Hosts(Store.create(tmp_path / "s"))
    assert hosts.lease(hosts.foreign.text).acquire()
    mine = hosts.lease(f"{Owner.me().text()}-7")
    assert not mine.acquire()
    hosts.now += 59
    assert not mine.acquire()
    hosts.foreign.touch()
    hosts.now += 59
    assert not mine.acquire()
    hosts.now += 61
    assert mine.acquire()


def test_of_two_thieves_one_wins(tmp_path: Path) -> None:
    hosts = Hosts(Store.create(tmp_path / "s"))
    hosts.lease(hosts.foreign.text).acquire()
    first, second = (hosts.lease(f"{Owner.me().text()}-{number}") for number in (1, 2))
    for thief in (first, second):
        assert not thief.acquire()
    hosts.now += 61
    seen_by_second = second._attempts()
    assert first.acquire()
    second._attempts = lambda: seen_by_second  # type: ignore[method-assign]
    assert not second.acquire()


@pytest.mark.parametrize("key", ["", "../../etc", "ABC", "0123/4567"])
def test_keys_cannot_leave_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreError, match="hex digits"):
        Store.create(tmp_path / "s").evaluation(key)
