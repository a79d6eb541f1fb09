"""What the benchmarks share: timing in pairs, medians, and rows for the table in docs/benchmarks.md."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number: what, how much with its unit, and whether the promise (if there is one) held."""

    what: str
    found: str
    promise: str = ""
    held: bool | None = None


def at_most(what: str, value: float, limit: float, unit: str, digits: int = 2) -> Figure:
    """Return a figure that is promised to be no larger than a limit."""
    return Figure(what, f"{value:.{digits}f} {unit}", f"at most {limit:g} {unit}", value <= limit)


def plain_figure(what: str, value: float, unit: str, digits: int = 2) -> Figure:
    """Return a figure without a promise."""
    return Figure(what, f"{value:,.{digits}f} {unit}")


def seconds(function: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def in_turn(functions: Sequence[Callable[[], object]], rounds: int, warm: int = 1) -> list[list[float]]:
    """Time functions A B C, A B C, ...: so that each is met by the same moods of the machine; a list for each.

    Ratios are to be taken round by round.
    """
    for _ in range(warm):
        for function in functions:
            function()
    found: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for times, function in zip(found, functions, strict=True):
            times.append(seconds(function))
    return found


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def machine() -> str:
    """Say in a line what this was measured on."""
    model = "unknown processor"
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, load {load:.1f} before, Python {sys.version.split()[0]}"


def memory_kib(name: str) -> int:
    """Return a line of this process's /proc status in KiB: `RssAnon` is memory of its own, mapped files aside."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        found = next(line for line in lines if line.startswith(f"{name}:"))
    return int(found.split()[1])


def main(question: str, measure: Callable[[], list[Figure]]) -> None:
    """Measure and print: lines to read, or with --json one JSON object for the table."""
    where = machine()
    figures = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps({"question": question, "machine": where, "figures": [asdict(item) for item in figures]}))
        return
    print(f"{question}\n  ({where})")
    width = max(len(item.what) for item in figures)
    for item in figures:
        verdict = {None: "", True: "  held", False: "  NOT HELD"}[item.held]
        print(f"  {item.what:<{width}}  {item.found:>14}  {item.promise}{verdict}")
