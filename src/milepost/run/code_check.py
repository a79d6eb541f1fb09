"""The code check: does new code give the old numbers?  The files are compared, then 256 rows decide.

The code version is part of an evaluation's key.  Comments and docstrings are not part of the version.  When the version
is new, the first 256 rows of the newest checkpoint that has results are evaluated with the new code: where the integers
are equal and the floats within the difference that the model check measured, the fact is published that both versions
are equivalent, and the old results stand.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from milepost._internal.ranges import missing
from milepost._internal.text import counted, listed
from milepost.core.types import GRID, Array, CheckpointFiles, Part, Target, Unit
from milepost.run.driver import Driver
from milepost.store.code_versions import changed, edited
from milepost.store.keys import evaluation_key

_CODES = 5
"""How many earlier code versions are tried, the newest first."""

_NAMED = 8
"""How many of the things that changed are named."""

_SLACK = 2.0**-20
"""What a float column may differ by beyond the model check's difference: float32's rounding of it, times a few."""


def settle_code(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> None:
    """Decide under which code version each data set's evaluations stand, and report it in notes."""
    code = driver.spec.code
    known = driver.store.codes.all()
    same = [item for item in known if item["version"] == code["version"]]
    if same:
        names = edited(same[-1], code, "raw")
        if names:
            driver.reporter.note(
                f"only comments, docstrings, layout or names of locals changed in {', '.join(names)}: same code "
                f"version {code['version']}, nothing is re-evaluated for it"
            )
    earlier = [item for item in known if item["version"] != code["version"]]
    for name in driver.data if earlier else ():
        # A data set may have been left out (`--data`) until now, so that it has no results under this very code.
        if driver.items.code(name) == code["version"] and not any(
            _evaluated(driver, checkpoints, name, code["version"])
        ):
            _compare(driver, checkpoints, name, earlier)
    driver.store.codes.add(code)


def _compare(driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str, known: list[dict[str, Any]]) -> None:
    version = driver.spec.code["version"]
    for earlier in list(reversed(known))[:_CODES]:
        for target, key in _evaluated(driver, checkpoints, data, earlier["version"]):
            what = listed(changed(earlier, driver.spec.code), _NAMED) or "declared version"
            differences = _check(driver, target, key, data)
            begin = f"the code changed ({what}; version {earlier['version']} to {version})"
            if differences is None:
                break
            if differences:
                driver.reporter.note(
                    f"{begin}: a code check on {GRID} rows differs ({differences}), so all is re-evaluated on {data}"
                )
                return
            described = driver.data[data]
            evidence = {"rows": GRID, "path": target.files.path, "digest": target.digest}
            driver.store.codes.add_equivalent(
                described.digest, driver.items.task, version, earlier["version"], evidence
            )
            driver.items.codes.pop(data)
            driver.reporter.note(
                f"{begin}: a code check on {GRID} rows gives the same outcomes, so the results on {data} stand"
            )
            return
    driver.reporter.note(f"the code or the data is new (version {version}): no earlier result on {data} applies")


def _evaluated(
    driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str, version: str
) -> Iterator[tuple[Target, str]]:
    """Yield the newest checkpoint that has the first rows on record under a code version: at most one."""
    described = driver.data[data]
    code = driver.store.codes.equivalent(described.digest, driver.items.task, version)
    for files in reversed(checkpoints):
        for checkpoint in driver.identifier.identify(files):
            if checkpoint.digest is None:
                continue
            key = evaluation_key(checkpoint.digest, described.digest, driver.items.subject, code)
            coverage = driver.store.evaluation(key).state().coverage
            if not all(missing(have, _rows(driver, data)) for have in coverage.values()):
                yield Target(files, checkpoint.variant, checkpoint.digest), key
                return


def _rows(driver: Driver, data: str) -> int:
    return min(GRID, driver.data[data].size)


def _check(driver: Driver, target: Target, key: str, data: str) -> str | None:
    """Evaluate the first rows and compare: "" where equal, else what differs; None where they cannot be had."""
    rows, folder = _rows(driver, data), driver.store.evaluation(key)
    outcomes = [outcome for _, outcome in driver.session.run([Unit(0, rows, (target,), data)])]
    parts = [outcome for outcome in outcomes if isinstance(outcome, Part)]
    if not parts or len(parts) < len(outcomes):
        return None
    checked = float((parts[0].environment.get("model_check") or {}).get("max_difference", 0.0))
    for column_set in folder.column_sets():
        reader = folder.parts(column_set).read()
        shared = [name for name in parts[0].columns if name in reader.names]
        if shared and not missing(reader.coverage, rows):
            made = {name: np.concatenate([part.columns[name] for part in parts]) for name in shared}
            return differences(made, {name: reader.slice(name, 0, rows) for name in shared}, checked)
    return None


def differences(made: dict[str, Array], stored: dict[str, Array], checked: float) -> str:
    """Return which columns differ, in how many rows: integers at all, floats by more than the model check's difference.

    >>> differences({"rank": np.array([0, 1])}, {"rank": np.array([0, 2])}, 0.0)
    'rank in 1 row'
    """
    found = []
    for name, column in made.items():
        other = stored[name]
        if column.dtype.kind == "f":
            fine = np.isfinite(column) & np.isfinite(other)
            with np.errstate(invalid="ignore"):
                slack = 2.0 * checked + _SLACK * np.maximum(np.abs(column), np.abs(other))
                near = fine & (np.abs(column - other) <= slack)
            same = near | (column == other) | (np.isnan(column) & np.isnan(other))
        else:
            same = column == other
        rows = int(np.count_nonzero(~same))
        if rows:
            found.append(f"{name} in {counted(rows, 'row')}")
    return ", ".join(found)
