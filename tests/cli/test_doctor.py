"""`milepost doctor`: what works, line by line; 1 where something that was asked for does not."""

import importlib.metadata
import os
import stat
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from tests._material import ENVIRONMENT, Events, command, lines_of

from milepost.cli import _disk_space, doctor
from milepost.sandbox import confine, landlock, seccomp

whole = pytest.mark.skipif(
    not landlock.abi() or seccomp.lacking() is not None, reason="this kernel lacks a part of the sandbox"
)


def examined(place: Path, *words: str, code: int = 0, **env: str) -> Events:
    done = command("doctor", *words, "--json", cwd=place, env={**ENVIRONMENT, **env})
    assert done.returncode == code, done.stdout + done.stderr
    events = lines_of(done.stdout)
    assert {item["event"] for item in events} == {"doctor"}
    assert {item["state"] for item in events} <= {"ok", "warning", "failed"}
    return events


def states(events: Events, check: str) -> list[str]:
    return [item["state"] for item in events if item["check"] == check]


def messages(events: Events, check: str) -> str:
    return "\n".join(item["message"] for item in events if item["check"] == check)


def test_everything_is_examined_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    events = examined(tmp_path, "runs", "--store", "evals")
    checks = [item["check"] for item in events]
    assert checks[:6] == ["python", "platform", "milepost", "processors", "memory", "temporary folder"]
    assert {"extra torch", "extra images", "store", "checkpoints runs"} < set(checks)
    assert [check for check in checks if check.startswith("sandbox ")][: len(confine.MEASURES)] == [
        f"sandbox {name}" for name in confine.MEASURES
    ]
    assert "hard links work" in messages(events, "store")
    assert "pinned by hard link" in messages(events, "checkpoints runs")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert list((tmp_path / "runs").iterdir()) == []


@whole
def test_the_sandbox_is_tried_and_its_version_shown(tmp_path: Path) -> None:
    events = examined(tmp_path)
    assert f"ABI {landlock.abi()}:" in messages(events, "sandbox landlock")
    own_root = states(events, "sandbox namespaces") == ["ok"]
    assert messages(events, "sandbox trial").splitlines() == [
        "to read a checkpoint: works",
        "to write into the spool: works",
        "to read a foreign file: refused",
        f"to ask for a foreign file's size: {'refused' if own_root else 'NOT refused'}",
        "to write into the checkpoints' folder: refused",
        "to open a network connection: refused",
        "to start a program: refused",
    ]


def test_a_sandbox_that_is_switched_off_is_a_warning_with_what_could_happen(tmp_path: Path) -> None:
    events = examined(tmp_path, MILEPOST_SANDBOX="off")
    assert "switched off by the environment variable" in messages(events, "sandbox sandbox")
    assert states(events, "sandbox sandbox") == ["warning"]
    assert states(events, "sandbox trial") == ["ok", "ok", *["warning"] * 5]
    assert "to start a program: NOT refused" in messages(events, "sandbox trial")


def test_what_was_asked_for_and_does_not_work_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    events = examined(tmp_path, "gone", code=1)
    assert messages(events, "checkpoints gone") == "no such file or folder"
    events = examined(tmp_path, "--store", "file", code=1)
    assert states(events, "store") == ["failed"]


def test_a_leak_of_a_whole_sandbox_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [asdict(confine.Measure("landlock", active=True, detail="ABI 7"))]
    tried = {"read a checkpoint": "refused", "read a foreign file": "done", "start a program": "refused"}
    monkeypatch.setattr(doctor, "try_out", lambda: {"measures": parts, "tried": tried})
    assert [(line.check, line.state) for line in doctor._sandbox()] == [
        ("sandbox landlock", "ok"),
        ("sandbox trial", "failed"),
        ("sandbox trial", "failed"),
        ("sandbox trial", "ok"),
    ]


def test_without_a_root_of_its_own_sizes_and_links_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"read a foreign file": "refused", "ask for a foreign file's size": "done"}
    for active, expected in ((False, ["warning", "ok", "warning"]), (True, ["ok", "ok", "failed"])):
        parts = [asdict(confine.Measure("namespaces", active=active, detail="not permitted"))]
        monkeypatch.setattr(doctor, "try_out", lambda parts=parts: {"measures": parts, "tried": tried})
        lines = list(doctor._sandbox())
        assert [line.state for line in lines] == expected
        assert ("sizes of foreign files and where links lead (stat, readlink)" in lines[0].advice) == (not active)


def test_another_build_of_a_package_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"plain_name": ["numpy"]})
    assert doctor._version("plain-name") == np.__version__
    assert doctor._version("other-name") is None


def test_lines_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    lines = {line.check: line for line in doctor._extras()}
    assert lines["extra torch"].advice == "if you need it: pip install 'milepost[torch]'"
    assert "extra dev" not in lines
    monkeypatch.setattr(_disk_space, "trouble_with_links", lambda folder: "Operation not permitted")
    (store,) = doctor._store(str(tmp_path), asked=True)
    assert store.state == "warning"
    assert "hard links do not work: Operation not permitted" in store.message
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", stat.S_IRWXU | stat.S_IRWXO)  # noqa: S103 - what is warned of
    assert ("warning", "chmod o-w") in [
        (line.state, line.advice) for line in doctor._folder(str(tmp_path / "open"), str(tmp_path))
    ]


def test_without_json_one_line_a_finding(tmp_path: Path) -> None:
    done = command("doctor", cwd=tmp_path)
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("ok       python: 3.")
    assert all(line.split()[0] in ("ok", "warning", "->") for line in rest)
