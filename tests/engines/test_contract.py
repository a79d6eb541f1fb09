"""Both engines keep the published laws, on units that print, fail, raise and flood."""

from collections.abc import Callable

import pytest

from milepost.core.sessions import Engine
from milepost.core.types import CheckpointFiles, Job, Target, Unit
from milepost.engines.inprocess import InProcess
from milepost.engines.local import Local
from milepost.registry import classes
from milepost.testing.engines import check_engine, check_survival


def test_are_registered() -> None:
    assert {"inprocess": InProcess, "local": Local}.items() <= classes("engines").items()


@pytest.mark.parametrize("engine", [InProcess, Local])
def test_contract(engine: Callable[[], Engine], job: Callable[..., Job], unit: Callable[..., Unit]) -> None:
    quiet = ["quiet", "fail", "data", "usage", "unstable", "extra", "oom", "memory", "bug", "exit"]
    check_engine(engine, job(), *(unit(data) for data in quiet), unit(paths=("a", "torn", "b")), unit(paths=("torn",)))


def test_survives(job: Callable[..., Job], unit: Callable[..., Unit], found: Callable[[str], CheckpointFiles]) -> None:
    deadly = [("crashed", "segfault"), ("crashed", "flood"), ("crashed", "exit"), ("timeout", "hang in c")]
    loads = [("crashed", "killer"), ("timeout", "sleeper"), ("timeout", "drowsy"), ("crashed", "die")]
    check_survival(
        Local,
        job(timeout=2),
        unit("quiet"),
        [(kind, unit(data)) for kind, data in deadly],
        [(kind, Target(found(path), "raw")) for kind, path in loads],
    )
