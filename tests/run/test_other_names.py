"""A run that was killed before the machine got another name, or was started again: the next takes over at once."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, MILEPOST, checkpoints, contents, import_path, leftovers, lines_of, process

from milepost.store.store import Store

ROOT = Path(__file__).parents[2]
EVALUATION = """
import os, time
from tests._material import evaluation_of, linear


def predict(weights, x):
    with open(os.environ["TEST_LOG"], "a") as log:
        log.write("x")
    while os.environ.get("TEST_HOLD"):
        time.sleep(0.01)  # until it is killed
    return linear(weights, x)


evaluation = evaluation_of(300, predict)
"""
RENAMED = ["unshare", "--uts", "sh", "-c", 'hostname as-it-was && exec "$@"', "sh"]
STARTED = ["unshare", "--mount", "sh", "-c", 'mount --bind "$BOOT" /proc/sys/kernel/random/boot_id && exec "$@"', "sh"]


@pytest.mark.parametrize("before", [RENAMED, STARTED], ids=["another host name", "another boot"])
def test_what_was_left_under_another_name(before: list[str], tmp_path: Path) -> None:
    (tmp_path / "boot").write_text("0b007000-0000-0000-0000-000000000000\n")
    log, store, calm = tmp_path / "log", tmp_path / "store", tmp_path / "calm"
    environment = {**ENVIRONMENT, "BOOT": str(tmp_path / "boot"), "TEST_LOG": str(log), "PYTHONPATH": import_path(ROOT)}
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], env=environment, check=False).returncode:
        pytest.skip("a process cannot be given a host name or boot id of its own here")
    folder = checkpoints(tmp_path / "lenet", 1, 2)
    (tmp_path / "ev.py").write_text(EVALUATION)
    words = ["run", tmp_path / "ev.py", folder, "--engine", "inprocess", "--json", "--store"]
    command = [*before, *MILEPOST, *map(str, words), str(store)]
    with subprocess.Popen(command, env={**environment, "TEST_HOLD": "1"}) as first:
        while not log.exists():
            assert first.poll() is None
            time.sleep(0.01)
        first.kill()
    names = [name for name in leftovers(store) if name.startswith("leases/")]
    opened = Store.open(store)
    for name in names:  # one elsewhere would be taken for alive until it had been watched for a minute
        key, _, attempt = name.removeprefix("leases/").partition(".")
        assert opened.lease(key, attempt.rpartition(".")[0], opened.worker()).holder() is None
    assert names
    ended = process(*words, store, env=environment)
    assert lines_of(ended.stdout).done == (2, 0, 0)
    assert leftovers(store) == []
    assert process(*words, calm, env=environment).returncode == 0
    assert contents(store) == contents(calm)
