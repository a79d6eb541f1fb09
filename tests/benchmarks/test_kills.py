"""A handful of the kills that `benchmarks/kills.py` does in hundreds, at operations that a seed draws."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_a_kill_of_each_verb_loses_doubles_and_leaves_nothing(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "kills.py"), "--few"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "NOT HELD" not in done.stdout
    assert " 0 lost, 0 doubled, 0 left over, 0 tracebacks, 0 other" in done.stdout.splitlines()[-1]
