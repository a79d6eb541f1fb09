import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from milepost._internal import atomic
from milepost._internal.process import Owner
from milepost.errors import StoreError


def test_owner_of_a_dead_process_is_dead(tmp_path: Path) -> None:
    code = "from milepost._internal.process import Owner; print(Owner.me().text())"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    owner = Owner.parse(text)
    assert owner is not None
    assert owner.alive() is False
    assert Owner.me().alive() is True


def test_a_reused_process_number_is_not_mistaken() -> None:
    me = Owner.me()
    assert Owner(me.host, me.boot, me.pid, me.start + 1).alive() is False


def test_a_killed_child_that_nobody_waited_for_is_dead() -> None:
    code = "from milepost._internal.process import Owner; print(Owner.me().text(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    owner = Owner.parse(child.stdout.readline().strip())
    assert owner is not None
    assert owner.alive() is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert owner.alive() is False
    child.communicate()


def test_a_host_that_was_renamed_is_the_same() -> None:
    me = Owner.me()
    assert Owner("as-it-was-called", me.boot, me.pid, me.start).alive() is True
    assert Owner("as-it-was-called", me.boot, me.pid, me.start + 1).alive() is False


def test_of_a_process_elsewhere_a_day_without_a_sign_is_enough() -> None:
    me, elsewhere = Owner.me(), Owner("elsewhere", "0b007.1", 1, 1)
    assert not me.over(0)
    assert Owner(me.host, me.boot, me.pid, me.start + 1).over(time.time())
    for hours, over in ((-2, False), (0, False), (2, False), (25, True)):
        assert elsewhere.over(time.time() - 3600 * hours) is over


def test_what_cannot_be_known_is_none() -> None:
    me = Owner.me()
    boot, _, space = me.boot.partition(".")
    assert Owner("another-host", f"0ther.{space}", me.pid, me.start).alive() is None
    assert Owner("another-host", f"0.{space}", me.pid, me.start).alive() is None
    assert Owner(me.host, f"{boot}.{int(space) + 1}", me.pid, me.start).alive() is None
    assert Owner(me.host, f"0ther.{space}", me.pid, me.start).alive() is False


@pytest.mark.parametrize("text", ["", "a-b-c", "host-boot-12-x", "host-boot-1-"])
def test_foreign_text_is_no_owner(text: str) -> None:
    assert Owner.parse(text) is None


def test_a_host_with_hyphens_survives() -> None:
    owner = Owner("my-host-01", "ab12.34", 5, 6)
    assert Owner.parse(owner.text()) == owner


def test_sweep_removes_dead_owners_files_only(tmp_path: Path) -> None:
    me = Owner.me()
    (tmp_path / "deep").mkdir()
    dead = tmp_path / "deep" / f"{atomic.PREFIX}{Owner(me.host, me.boot, me.pid, me.start + 1).text()}-0"
    mine = tmp_path / f"{atomic.PREFIX}{me.text()}-0"
    foreign = tmp_path / f"{atomic.PREFIX}{Owner('elsewhere', '0b007.1', 1, 1).text()}-0"
    odd = tmp_path / f"{atomic.PREFIX}somebody"
    for path in (dead, mine, foreign, odd):
        path.write_bytes(b"x")
    old = tmp_path / f"{atomic.PREFIX}{Owner('elsewhere', '0b007.1', 1, 1).text()}-1"
    old.write_bytes(b"x")
    os.utime(old, (1, 1))
    assert atomic.sweep(tmp_path) == 2
    assert sorted(path.name for path in tmp_path.rglob(f"{atomic.PREFIX}*")) == sorted(
        [mine.name, foreign.name, odd.name]
    )


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_publish_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def no_link(*_: object) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr(os, "link", no_link)
    assert atomic.publish(tmp_path / "a", b"first")
    assert not atomic.publish(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_dead_claim_is_taken_over_and_a_fresh_one_is_not(tmp_path: Path) -> None:
    for name, age, won in (("fresh", 0, False), ("old", 3600, True)):
        claim = tmp_path / name
        claim.touch()
        os.utime(claim, (claim.stat().st_mtime - age,) * 2)
        assert atomic.publish(claim, b"whole") is won
        assert claim.read_bytes() == (b"whole" if won else b"")


def test_a_link_whose_answer_was_lost_is_a_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def twice(source: str, target: str) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "asked again")

    monkeypatch.setattr(os, "link", twice)
    assert atomic.publish(tmp_path / "a", b"mine")


def test_other_errors_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="full"):
        atomic.publish(tmp_path / "a", b"1")
    assert os.listdir(tmp_path) == []


def test_bounded_reads(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert atomic.read_bounded(path, 5) == b"12345"
    with pytest.raises(StoreError, match="at most 4 bytes, found 5"):
        atomic.read_bounded(path, 4)
    path.write_bytes(b"{")
    with pytest.raises(StoreError, match="expected JSON"):
        atomic.read_json(path)
