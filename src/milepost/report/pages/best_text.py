"""The best in one sentence."""

from milepost.core.escaping import printable
from milepost.report._numbers import decimals, interval, number, span_of
from milepost.report.best import Best
from milepost.store.code_standing import is_earlier


def best_sentence(best: Best) -> str:
    """Return which checkpoint is the best, what its value is worth, and how many cannot be told apart from it."""
    record, places = best.best, max(decimals(best.best.get("n")), 4)
    spread = interval(*span_of(record), places)
    words = (
        f"best by {best.ranking.metric}: {record['label']}, {number(float(record['value']), places)} {spread}".rstrip()
    )
    if best.selection is not None:
        chosen = best.selection
        words += f"; selected among {chosen.among}, cross-fitted {number(chosen.value, places)} "
        words += interval(chosen.interval.low, chosen.interval.high, places)
    if best.test is not None:
        words += f"; {len(best.tied)} tied with it, {len(best.worse)} significantly worse"
    return printable(words + (" (earlier code)" if is_earlier(record["status"]) else ""))
