"""What every test has: one Hypothesis profile, and the real data where it is."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests._material import checkpoints

ROOT = Path(__file__).resolve().parent.parent
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# No deadline, and no judgement on how long an example takes to make: a slow machine is not a wrong result.  In CI the
# examples are the same every time.
settings.register_profile(
    "house",
    deadline=None,
    max_examples=50,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("house")

# A shell's background job ignores Ctrl-C, and hands that on: tests that send it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer all faults where a third of them is the rule."""
    parser.addoption(
        "--every-operation", action="store_true", help="strike at every operation, or 20 times, instead of a third"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count tests of faults among the wide ones where they strike at every operation."""
    for item in items:
        if config.getoption("every_operation") and "stride" in getattr(item, "fixturenames", ()):
            item.add_marker("wide")


def pytest_collection_finish() -> None:
    """Keep what the imports made out of every later collection of garbage: frameworks are millions of objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def stride(request: pytest.FixtureRequest) -> int:
    """Return 3, so that a fault strikes at every third operation, or 1 with `--every-operation`."""
    return 1 if request.config.getoption("every_operation") else 3


@pytest.fixture(autouse=True)
def _no_settings_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the settings that were read before: an evaluation without a file counts all of its process as its own."""
    module = sys.modules.get("milepost.evaluation.settings")
    if module is not None:
        monkeypatch.setattr(module, "_readings", {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return where a store of the test's own may be made."""
    return tmp_path / "evals"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three small checkpoints: steps 100, 200 and 300."""
    return checkpoints(tmp_path / "lenet", 100, 200, 300)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the project's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real checkpoints and test sets, or skip."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data of real checkpoints is not here")
    return folder


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """Return the folder of Fashion-MNIST's four IDX files, or skip."""
    if not (FASHION_MNIST / "t10k-images-idx3-ubyte.gz").is_file():
        pytest.skip("Fashion-MNIST is not here; on Debian: apt-get install dataset-fashion-mnist")
    return FASHION_MNIST


@pytest.fixture
def nothing_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails, and forcing a store to disk is most of what some tests would do."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
