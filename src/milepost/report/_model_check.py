"""What `show` says of a model check, and of the rows that rounding could move."""

from dataclasses import dataclass

from milepost._internal.text import counted
from milepost.report.table import Plain


@dataclass(frozen=True, slots=True)
class NearTies:
    """How many of `rows` are `near` a tie: their margin is below 2 `relative` of their scale, the largest score.

    No score of another row could turn over unless rounding moved it by more than `relative` of its row's scale, which
    is the most that model checks measured on `measured` rows.
    """

    near: int
    rows: int
    relative: float
    measured: int


def model_check_text(check: Plain) -> str:
    """Return what a model check measured, in units of the scores.

    >>> model_check_text({"rows": 64, "repeat": 0.0, "company": 1e-6, "spread": 8.0})
    '64 rows predicted twice differ by 0, in halves by 1e-06; the scores span 8'
    >>> model_check_text({"kind": "light", "rows": 32, "company": 1e-6, "spread": 8.0})
    '32 rows predicted again beside other rows differ by 1e-06; the scores span 8'
    """
    rows, company = counted(check["rows"], "row"), check.get("company")
    if check.get("kind") == "light":
        found = f"{rows} predicted again beside other rows differ by {company:.3g}"
    else:
        halved = "halves were not tried" if company is None else f"in halves by {company:.3g}"
        found = f"{rows} predicted twice differ by {check['repeat']:.3g}, {halved}"
    return f"{found}; the scores span {check['spread']:.3g}{_doubt(check)}"


def rounding_text(ties: NearTies, what: str) -> str:
    """Return how many rows rounding could move, and what that rests on.

    >>> rounding_text(NearTies(near=3, rows=10_000, relative=1.2e-7, measured=64), "top1").partition(" if ")[0]
    'top1 could move by at most 3 of 10,000 rows'
    >>> rounding_text(NearTies(near=0, rows=360, relative=0.0, measured=12), "top1")
    'no score moved by rounding (measured on 12 rows, never guaranteed)'
    """
    if not ties.measured:
        return "not measured: the model check had batches of one size only, or rows whose scores hardly vary"
    measured = f"(measured on {counted(ties.measured, 'row')}, never guaranteed)"
    if not ties.relative and not ties.near:
        return f"no score moved by rounding {measured}"
    return (
        f"{what} could move by at most {ties.near:,} of {counted(ties.rows, 'row')} if rounding stays below "
        f"{ties.relative:.2g} of a row's largest score {measured}"
    )


def _doubt(check: Plain) -> str:
    if check.get("constant"):
        return "; every row has the same scores, which proves nothing"
    if check["rows"] > 1 and check.get("proves") is False:
        return "; they hardly vary from row to row, which proves nothing"
    return ""
