"""Runs every benchmark and writes docs/benchmarks.md: `make bench`.  With names of files, only those, and no page."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Each table answers one question and names the command that makes it; `make bench` makes them all and writes this page.
Numbers are medians over repetitions, and ratios are taken pair by pair within one run, because machines drift. What
exactly is counted stands at the head of each file in `benchmarks/`. A promise that did not hold when this page was
written says so.

On two cores the loop's promise wants a second look: outputs are reduced in a thread while the next batch is predicted,
so that the work shows up as a slower forward pass rather than as time between two. `run()` beside the bare loop is the
whole price.
"""


def section(file: str, measured: dict[str, Any]) -> str:
    """Return one benchmark's part of the page.

    >>> figure = {"what": "a|b", "found": "1 s", "promise": "at most 2 s", "held": True}
    >>> print(section("x.py", {"question": "Quick?", "machine": "one core", "figures": [figure]}).splitlines()[-1])
    | a\\|b | 1 s | at most 2 s: held |
    """
    lines = [f"## {measured['question']}", "", f"`python benchmarks/{file}` on {measured['machine']}.", ""]
    lines += ["| What | Measured | Promised |", "| --- | ---: | --- |"]
    for item in measured["figures"]:
        verdict = {None: "", True: ": held", False: ": **not held**"}[item["held"]]
        what = item["what"].replace("|", "\\|")
        lines.append(f"| {what} | {item['found']} | {item['promise']}{verdict} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and write."""
    named = sys.argv[1:]
    sections = []
    for file in sorted(HERE.glob("[!_]*.py")):
        if not named or file.name in named:
            done = subprocess.run([sys.executable, str(file), "--json"], check=True, stdout=subprocess.PIPE, text=True)
            sections.append(section(file.name, json.loads(done.stdout.splitlines()[-1])))
            print(sections[-1], flush=True)
    if not named:
        PAGE.write_text("\n".join([HEAD, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
