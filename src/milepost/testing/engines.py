"""The laws of an engine: whatever it starts, what comes back is what this process would have computed.

```python
def test_my_engine() -> None:
    check_engine(MyEngine, Job("eval.py", "evaluation"), Unit(0, 1000, targets, "test"))

def test_my_engine_survives() -> None:
    check_survival(MyEngine, job, good, [("crashed", unit_that_kills)], [("timeout", target_that_hangs)])
```
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from milepost._internal.serialization import from_plain, to_plain
from milepost.core.sessions import Engine, Session
from milepost.core.types import Failure, Job, Part, Target, Unit
from milepost.engines.inprocess import InProcess
from milepost.errors import MilepostError, UsageError
from milepost.testing._refusals import refused

Make = Callable[[], Engine]
Key = tuple[str, str, int, int]
T = TypeVar("T")

_LONGEST_MESSAGE = 20_000
"""Characters of a failure's message: a row, not a log."""


def check_engine(make: Make, job: Job, *units: Unit) -> None:
    """Check an engine against every law, on one job and the units given; raise `AssertionError` where it fails.

    Units may hold checkpoints that fail and evaluations that raise, print or exit: each has to come back as it does
    from the engine in this process.  Units that kill their process would kill the tests: none of those.
    """
    for law in (_gives_the_same, _repeats, _answers_plainly, _cleans_up, _cleans_up_when_left, _refuses_when_closed):
        law(make, job, units)


def check_survival(
    make: Make, job: Job, good: Unit, units: Iterable[tuple[str, Unit]], loads: Iterable[tuple[str, Target]] = ()
) -> None:
    """Check that an engine with processes of its own outlives them; raise `AssertionError` where it does not.

    `units` kill, hang or flood the process that evaluates them, and `loads` that which loads them, each with the kind
    of row that has to come of it (`crashed`, `timeout`). Afterwards the unit `good` has to come out as before, and once
    the session is closed nothing may be left. For a hang the job needs the option `timeout`.
    """
    before = _processes(), _spools()
    with closing(make().open(job)) as session:
        expected = _outcome_of(session, good)
        for kind, unit in units:
            _check_rows(session, unit, kind)
            assert _outcome_of(session, good) == expected, f"after unit {unit.data!r} another comes out differently"
        for kind, target in loads:
            (row,) = session.identify(target.files, [target.variant])
            _check_failure(row.failure or Failure("ok", ""), kind, target.files.path)
            assert _outcome_of(session, good) == expected, f"after {target.files.path} a unit comes out differently"
    assert (_processes(), _spools()) == before, "processes that died or hung leave processes or spool folders"


def _check_rows(session: Session, unit: Unit, kind: str) -> None:
    """Check that each target has all its rows, or one failure of the kind, and that there is such a failure."""
    rows, failed = dict.fromkeys(unit.targets, 0), set[Target]()
    for target, outcome in session.run([unit]):
        if isinstance(outcome, Part):
            rows[target] += outcome.stop - outcome.start
            continue
        assert target not in failed, f"unit {unit.data!r}: two failures of one checkpoint"
        failed.add(target)
        _check_failure(outcome, kind, unit.data)
    assert failed, f"unit {unit.data!r}: expected a failure of kind {kind!r}, found none"
    whole = {target for target, count in rows.items() if count >= unit.stop - unit.start}
    assert whole | failed == set(unit.targets), f"unit {unit.data!r}: a checkpoint has neither its rows nor a failure"


def _check_failure(failure: Failure, kind: str, what: str) -> None:
    assert failure.kind == kind, f"{what!r}: expected a failure of kind {kind!r}, found {failure}"
    assert failure.message.strip(), f"{what!r}: the failure says nothing"
    assert len(failure.message) <= _LONGEST_MESSAGE, f"{what!r}: the failure has {len(failure.message)} characters"


def _outcome_of(session: Session, unit: Unit) -> dict[Any, Any]:
    """Run a unit and return what came as comparable values: bits of parts, failures, and the error that ended it."""
    found: dict[Any, Any] = {}
    try:
        for target, outcome in session.run([unit]):
            key, value = _comparable(target, outcome)
            assert found.setdefault(key, value) == value, f"{key} came twice and differs"
    except MilepostError as error:
        found["error"] = (type(error), str(error))
    return found


def _processes() -> frozenset[int]:
    """Return the numbers of this process's children; none where the system has no /proc."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(int(number) for number in file.read_text().split())
    return frozenset(found)


def _spools() -> frozenset[str]:
    return frozenset(item.name for item in Path(tempfile.gettempdir()).glob(f"milepost-spool-{os.getpid()}-*"))


def _gives_the_same(make: Make, job: Job, units: Iterable[Unit]) -> None:
    with closing(InProcess().open(job)) as here, closing(make().open(job)) as there:
        for unit in units:
            expected, found = _outcome_of(here, unit), _outcome_of(there, unit)
            assert list(map(str, sorted(found, key=str))) == list(map(str, sorted(expected, key=str))), (
                f"unit {unit.data!r} [{unit.start}, {unit.stop}): the engine and this process give different rows"
            )
            for key, value in expected.items():
                assert found[key] == value, f"unit {unit.data!r}: {key} differs between the engine and this process"


def _repeats(make: Make, job: Job, units: Iterable[Unit]) -> None:
    with closing(make().open(job)) as session:
        for unit in units:
            assert _outcome_of(session, unit) == _outcome_of(session, unit), f"unit {unit.data!r} does not repeat"


def _answers_plainly(make: Make, job: Job, units: Iterable[Unit]) -> None:
    with closing(make().open(job)) as session:
        described = session.describe()
        assert _crossed(described) == described, "describe is no plain data"
        for target in {target for unit in units for target in unit.targets}:
            rows = session.identify(target.files, [target.variant])
            assert [_crossed(row) for row in rows] == rows, "identify is no plain data"
            assert [row.variant for row in rows] == [target.variant], "identify gives one row a variant"
            assert all((row.digest is None) != (row.failure is None) for row in rows), "digest or failure, not both"


def _crossed(value: T) -> T:
    return from_plain(type(value), json.loads(json.dumps(to_plain(value))))


def _cleans_up(make: Make, job: Job, units: Iterable[Unit]) -> None:
    before = _processes(), _spools()
    with closing(make().open(job)) as session:
        for unit in units:
            _outcome_of(session, unit)
    session.close()
    assert (_processes(), _spools()) == before, "a closed session leaves processes or spool folders"


def _cleans_up_when_left(make: Make, job: Job, units: Sequence[Unit]) -> None:
    before = _processes(), _spools()
    for unit in units[:1]:
        with closing(make().open(job)) as session:
            expected = _outcome_of(session, unit)
            _leave(session, unit)
            assert _outcome_of(session, unit) == expected, (
                f"unit {unit.data!r}: what was left in it leaks into the next"
            )
            _leave(session, unit)
    assert (_processes(), _spools()) == before, "a session closed in the middle of a unit leaves something"


def _leave(session: Session, unit: Unit) -> None:
    with contextlib.suppress(MilepostError):
        next(iter(session.run([unit])), None)


def _refuses_when_closed(make: Make, job: Job, units: Iterable[Unit]) -> None:
    session = make().open(job)
    session.close()
    session.close()
    for ask in (session.describe, session.sandbox_warning, lambda: session.discover([])):
        with refused(UsageError, "a closed session raises a UsageError"):
            ask()
    for unit in units:
        with refused(UsageError, "a closed session raises a UsageError"):
            list(session.run([unit]))


def _comparable(target: Target, outcome: Part | Failure) -> tuple[Any, Any]:
    if isinstance(outcome, Failure):
        return (target.files.path, target.variant, "failure"), (target, outcome)
    columns = {name: _bits(np.asarray(column)) for name, column in outcome.columns.items()}
    states = {name: bytes(state) for name, state in outcome.states.items()}
    return (target.files.path, target.variant, outcome.start, outcome.stop), (target, columns, states)


def _bits(column: np.ndarray[Any, Any]) -> tuple[str, tuple[int, ...], bytes]:
    return column.dtype.str, column.shape, column.tobytes()
