"""Addresses: from what people write down (a step, a name, a digest's first digits, a run's name) to what it names."""

from collections.abc import Iterable
from pathlib import Path

from milepost.errors import UsageError
from milepost.report.table import Plain, checkpoints_of, each
from milepost.store.store import Store

_SHORTEST = 4
_SHOWN = 12


def run_id(store: Store, name: str | None) -> str | None:
    """Return the id of the run with an id or a folder's name, None for None; a `UsageError` lists the runs."""
    if name is None:
        return None
    runs = store.runs()
    fitting = [run["id"] for run in runs if run["id"] == name] or [run["id"] for run in runs if run["name"] == name]
    if len(fitting) != 1:
        expected = ", ".join(fitting or sorted(run["id"] for run in runs)) or "none"
        found = "names several runs" if fitting else "is no run of this store"
        raise UsageError(f"{name!r} {found}; expected one of: {expected}")
    return str(fitting[0])


def find(checkpoints: Iterable[Plain], address: str) -> Plain:
    """Return the one checkpoint at an address: step, run:step, name, or digest prefix; a `UsageError` lists several.

    A step or name goes before a digest prefix, so that what people write down stays reachable.

    >>> find([{"run": "a-01234567", "step": 9, "name": "step-9", "digest": "beef01"}], "beef")["step"]
    9
    """
    rows = list(checkpoints)
    fitting = [row for row in rows if _named(row, address)]
    if not fitting and len(address) >= _SHORTEST:
        fitting = [row for row in rows if str(row.get("digest") or "").startswith(address.lower())]
    if not fitting:
        raise UsageError(
            f"no checkpoint is at {address!r} in this store of {len(rows)}; expected a step, run:step, a name, or at "
            f"least {_SHORTEST} digits of a digest; `milepost ls --all` lists them"
        )
    if len(fitting) > 1:
        more = [f"  ... and {len(fitting) - _SHOWN:,} more"] if len(fitting) > _SHOWN else []
        several = "\n".join([*map(_described, fitting[:_SHOWN]), *more])
        raise UsageError(f"{address!r} fits {len(fitting):,} checkpoints; name one of:\n{several}")
    return fitting[0]


def find_evaluated(checkpoints: Iterable[Plain], address: str, purpose: str) -> Plain:
    """Return the one checkpoint at an address; a `UsageError` says that it failed, so that there are no outcomes."""
    row = find(checkpoints, address)
    if not row["digest"]:
        raise UsageError(f"{address}: this checkpoint failed, so there are no outcomes to {purpose}")
    return row


def _named(row: Plain, address: str) -> bool:
    for checkpoint in checkpoints_of(row, current=True):
        path = str(checkpoint.get("path") or "")
        words = {str(checkpoint[key]) for key in ("step", "name") if checkpoint.get(key) is not None}
        words |= {path, Path(path).name} - {""}
        run = str(checkpoint.get("run") or row.get("run") or "")
        # A run's id is its folder's name and 8 digits that tell equal names apart; the name alone will do.
        if address in words or any(address == f"{known}:{word}" for known in (run, run[:-9]) for word in words):
            return True
    return False


def _described(row: Plain) -> str:
    address = f"{row.get('run')}:{row.get('step')}" if row.get("step") is not None else str(row.get("run"))
    digest = str(row.get("digest") or "failed")[:12]
    return f"  {digest:12}  {address}  {', '.join(each(row, 'name', current=True))}  {row.get('variant') or 'raw'}"
