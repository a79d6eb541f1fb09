"""What a run would do, as rows: one a checkpoint, variant and data set.

Where the run begins with a code check, what it finds decides.  Such a row has the action "check", and says both: what
comes where the outcomes are the same ("if_same"), and that all is evaluated otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from milepost._internal.text import listed
from milepost.core.types import CheckpointFiles, Json
from milepost.run.code_check import DueCheck, due_check, lacks_code, nothing_applies, standing_if_same
from milepost.run.driver import Driver
from milepost.run.items import Item
from milepost.run.planning import Decision
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.evaluations import partial_of


@dataclass(frozen=True, slots=True)
class Planned:
    """What a run does with one checkpoint on one data set, or the failure on record of one.

    `if_same` is decided in its place where the code check of the data set, `check`, finds no difference.
    """

    decided: CheckpointRecord | Item
    if_same: Decision | None = None
    check: DueCheck | None = None


def due_checks(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> dict[str, DueCheck | None]:
    """Return the code check of each data set that has no results of the code of now; None where nothing is checked."""
    lacking = [data for data in driver.data if lacks_code(driver, checkpoints, data)]
    return {data: due_check(driver, checkpoints, data) for data in lacking}


def planned(
    driver: Driver, checkpoints: Sequence[CheckpointFiles], due: Mapping[str, DueCheck | None]
) -> Iterator[Planned]:
    """Yield what a run would do, in its order; `due` are its code checks."""
    checks = {data: check for data, check in due.items() if check is not None}
    supposed = driver.supposing({data: standing_if_same(driver, data, check) for data, check in checks.items()})
    for files in checkpoints:
        for decided, same in zip(driver.decided(files), supposed.decided(files), strict=True):
            if isinstance(decided, Item) and isinstance(same, Item) and decided.decision != same.decision:
                yield Planned(decided, same.decision, checks[decided.data])
            else:
                yield Planned(decided)


def planned_rows(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> Iterator[dict[str, Json]]:
    """Yield the rows of `milepost plan`."""
    paces = {data: _pace(driver, data) for data in driver.data}
    due = due_checks(driver, checkpoints)
    for data, check in due.items():
        if check is None:
            driver.reporter.note(nothing_applies(driver, data))
            continue
        driver.reporter.note(
            f"{check.begin}: the run begins with a code check of {listed(check.names)} on {data}, which decides "
            "whether earlier results stand"
        )
    for one in planned(driver, checkpoints, due):
        checkpoint = one.decided.checkpoint if isinstance(one.decided, Item) else one.decided
        row = {key: getattr(checkpoint, key) for key in ("run", "path", "name", "step", "variant", "digest")}
        if isinstance(one.decided, Item):
            yield row | _decided(one.decided, one.if_same, paces[one.decided.data])
        else:
            kind, message = checkpoint.failure or ("", "")
            reason = f"{kind}: {message}"
            yield {**row, "data": None, "action": "failed", "reason": reason, "rows": 0, "seconds": None}


def _decided(item: Item, if_same: Decision | None, pace: float | None) -> dict[str, Json]:
    """Return the columns of an item; `rows` and `seconds` are those of the longer way."""
    decision = item.decision
    action, same, reason = decision.action, {}, decision.reason
    if if_same is not None:
        same = {"if_same": if_same.action}
        reason = f"a code check decides: {if_same.action} ({if_same.reason}) or {action} ({reason})"
    reasons = filter(None, [reason, partial_of(item.checkpoint.notes)])
    pace = pace if decision.rows else 0.0
    return {
        "data": item.data,
        "action": action if if_same is None else "check",
        "reason": "; ".join(reasons),
        "rows": decision.rows,
        "seconds": None if pace is None else pace * decision.rows,
        **same,
    }


def _pace(driver: Driver, data: str) -> float | None:
    """Return seconds a row, from what the store has of the same data; None where it has nothing."""
    for key in reversed(driver.store.evaluations()[-50:]):
        folder = driver.store.evaluation(key)
        spec = folder.spec()
        for name in folder.column_sets() if spec is not None and spec["data"] == driver.data[data].digest else ():
            environments = folder.parts(name).read().environments()
            rows = sum(item["rows"] for item in environments)
            seconds = sum(sum(item.get("timings", {}).values()) for item in environments)
            if rows and seconds:
                return float(seconds / rows)
    return None
