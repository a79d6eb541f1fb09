"""The code check: does new code give the old numbers?  Files are compared, then a random sample of the rows decides.

The code version is part of an evaluation's key.  Comments and docstrings are not part of the version.  When the version
is new, rows drawn at random are evaluated with the new code, of the newest and the oldest checkpoint that have results
and are still there: where every column is the same within rounding, the fact is published that both versions are
equivalent, with the bound on the rows that may differ all the same, and the old results stand.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from milepost._internal.text import listed
from milepost.core.types import CheckpointFiles, Target
from milepost.run.code_sample import Recorded, check_sample
from milepost.run.driver import Driver
from milepost.run.publishing import file_of
from milepost.store.code_versions import changed, edited
from milepost.store.keys import evaluation_key

_CODES = 5
"""How many earlier code versions are tried, the newest first."""

_NAMED = 8
"""How many of the things that changed are named."""


def settle_code(driver: Driver, checkpoints: Sequence[CheckpointFiles]) -> None:
    """Decide under which code version each data set's evaluations stand, and report it in notes."""
    code, codes = driver.spec.code, driver.store.codes
    # First of all: whatever comes of the check, what earlier code gave is no longer what the code of now gives.
    file, place = file_of(driver.spec), driver.spec.file or ""
    before = codes.use(file, driver.spec.entry, code["version"], driver.spec.signature, place)
    if before is not None and os.path.exists(before) and not os.path.samefile(before, place):
        driver.reporter.note(
            f"results of {before} count as of earlier code from now on: the store knows this file by the same name, "
            f"{file}; if they are two projects, rename a folder or give each a store of its own"
        )
    known = codes.all()
    same = [item for item in known if item["version"] == code["version"]]
    if same:
        names = edited(same[-1], code, "raw")
        if names:
            driver.reporter.note(
                f"only comments, docstrings, layout or names of locals changed in {', '.join(names)}: same code "
                f"version {code['version']}, nothing is re-evaluated for it"
            )
    for name in driver.data:
        if lacks_code(driver, checkpoints, name):
            _settle(driver, checkpoints, name)
    codes.add(code)


@dataclass(frozen=True, slots=True)
class DueCheck:
    """A code check that is due: what is on record under an earlier code, as it is described, and of which checkpoints.

    `begin` says what changed since.
    """

    earlier: Mapping[str, Any]
    recorded: Sequence[Recorded]
    begin: str

    @property
    def names(self) -> list[str]:
        """The checkpoints of which rows are predicted."""
        return [one.name for one in self.recorded]


def lacks_code(driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str) -> bool:
    """Return whether the store knows earlier code, and no result of these checkpoints on this data of the code of now.

    A data set may have been left out (`--data`) until now, so that it has no results under this very code.
    """
    if driver.items.again or not _earlier(driver) or len(driver.items.standing(data)) > 1:
        return False
    return not any(_recorded(driver, checkpoints, data, driver.spec.code["version"]))


def due_check(driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str) -> DueCheck | None:
    """Return the check against the newest earlier version that has results of these checkpoints, where `lacks_code`."""
    version = driver.spec.code["version"]
    for earlier in list(reversed(_earlier(driver)))[:_CODES]:
        if recorded := _newest_and_oldest(driver, checkpoints, data, earlier["version"]):
            what = listed(changed(earlier, driver.spec.code), _NAMED) or "declared version"
            return DueCheck(earlier, recorded, f"the code changed ({what}; version {earlier['version']} to {version})")
    return None


def standing_if_same(driver: Driver, data: str, check: DueCheck) -> list[str]:
    """Return the code versions whose evaluations stand where a check finds no difference: this one first."""
    equal = driver.store.codes.standing().chain(driver.data[data].digest, driver.items.task, check.earlier["version"])
    return [str(driver.spec.code["version"]), *equal]


def _earlier(driver: Driver) -> list[dict[str, Any]]:
    return [item for item in driver.store.codes.all() if item["version"] != driver.spec.code["version"]]


def _settle(driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str) -> None:
    """Check against earlier results, if there are any, and publish that they stand where nothing differs."""
    check = due_check(driver, checkpoints, data)
    if check is None:
        driver.reporter.note(nothing_applies(driver, data))
        return
    driver.reporter.checked.update(check.names)
    found = check_sample(driver, check.recorded, data)
    if isinstance(found, str):
        driver.reporter.note(f"{check.begin}: a code check differs ({found}), so all is re-evaluated on {data}")
        return
    described, version = driver.data[data], driver.spec.code["version"]
    driver.store.codes.add_equivalent(described.digest, driver.items.task, version, check.earlier["version"], found)
    driver.items.codes.pop(data)
    driver.reporter.note(
        f"{check.begin}: {found.check()} finds the same outcomes, so the results on {data} stand: {found.bound()}; "
        "--again evaluates all again"
    )


def nothing_applies(driver: Driver, data: str) -> str | None:
    """Return why no earlier result on a data set applies; None where there is none."""
    new = _what_is_new(driver, data)
    return f"{new}: no earlier result on {data} applies" if new else None


def _what_is_new(driver: Driver, data: str) -> str:
    """Say why no earlier result applies: other data, or code that no checkpoint of these was evaluated with.

    "" where there is no earlier result on data of this name: all failed, or the name is new.
    """
    store, version = driver.store, driver.spec.code["version"]
    evaluated = (store.evaluation(key) for key in store.evaluations())
    specs = [spec for one in evaluated if any(one.state().coverage.values()) and (spec := one.spec())]
    if any(spec["data"] == driver.data[data].digest for spec in specs):
        return f"the code is new (version {version}), and none of these checkpoints has results of earlier code"
    known = any(spec.get("data_name") == data for spec in specs)
    return f"the data of {data} is new or was changed" if known else ""


def _newest_and_oldest(
    driver: Driver, checkpoints: Sequence[CheckpointFiles], data: str, version: str
) -> list[Recorded]:
    """Return the newest and the oldest checkpoint of those with the most rows on record: two, one, or none."""
    size = driver.data[data].size
    newest = _widest(_recorded(driver, list(reversed(checkpoints)), data, version), size)
    oldest = _widest(_recorded(driver, checkpoints, data, version), size)
    both = [one for one in (newest, oldest) if one is not None]
    return list({one.key: one for one in both}.values())


def _widest(recorded: Iterable[Recorded], size: int) -> Recorded | None:
    """Return the first that has all rows, else the first of those that have the most."""
    found: Recorded | None = None
    for one in recorded:
        if one.stop == size:
            return one
        found = one if found is None or one.stop > found.stop else found
    return found


def _recorded(driver: Driver, checkpoints: Iterable[CheckpointFiles], data: str, version: str) -> Iterator[Recorded]:
    """Yield the checkpoints with rows on record from the first one on, of a code version or one that it equals."""
    digest = driver.data[data].digest
    codes = driver.store.codes.standing().chain(digest, driver.items.task, version)
    for files in checkpoints:
        for checkpoint in driver.identifier.identify(files):
            keys = [evaluation_key(str(checkpoint.digest), digest, driver.items.subject, code) for code in codes]
            known = ((key, _covered(driver, key)) for key in keys if checkpoint.digest is not None)
            key, stop = next((one for one in known if one[1]), ("", 0))
            if stop:
                target = Target(driver.identifier.place(files), checkpoint.variant, checkpoint.digest)
                yield Recorded(checkpoint.label, target, key, stop)


def _covered(driver: Driver, key: str) -> int:
    """Return how many rows are on record from the first one on."""
    coverage = driver.store.evaluation(key).state().coverage.values()
    return max((ranges[0][1] for ranges in coverage if ranges and ranges[0][0] == 0), default=0)
