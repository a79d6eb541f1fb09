"""Does any damaged or crafted checkpoint hang the reader, fill memory, give a traceback or other weights unnoticed?

Mutants of whole checkpoints of every format, small ones that are made here and the real ones where they are, are read
in a child under limits, as a run reads them: discovery, table, every tensor mapped, and what `milepost inspect` shows.
A mutant is made from the seed and its number alone, on one version of the libraries that write the whole checkpoints.

    python benchmarks/fuzz.py --count 20000 --seed 1 --keep failing   # failing mutants are written to a folder
    python benchmarks/fuzz.py --replay failing/17-changed.json         # reads one of them again
    python benchmarks/fuzz.py --read FILE ...                          # reads files of any origin under the same limits
"""

import argparse
import json
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from _figures import ROOT, Figure, machine, plain_figure

sys.path.insert(0, str(ROOT))

from tests.checkpoints.fuzz.judge import BAD, OUTCOMES, Judge, Reading, Verdict, difference, verdict  # noqa: E402 - the tests' own
from tests.checkpoints.fuzz.mutants import Mutant, found, kept, mutant  # noqa: E402 - the same
from tests.checkpoints.fuzz.specimens import Specimen, every  # noqa: E402 - the same


def main() -> int:
    """Fuzz, or replay one mutant; 1 where an outcome is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="mutants to read (%(default)s)")
    parser.add_argument("--seed", default="1", help="of all mutants (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant (%(default)s)")
    parser.add_argument("--only", default="", metavar="PATTERN", help="formats whose names it matches")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where failing mutants are written")
    parser.add_argument("--json", action="store_true", help="print the figures for the table of all benchmarks")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read a failing mutant again")
    parser.add_argument("--read", nargs="+", type=Path, metavar="FILE", help="read files, each by itself")
    args = parser.parse_args()
    if args.read:
        return _read_files(args.read)
    if args.replay:
        return _replay(args.replay)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    return _fuzz(args)


def _fuzz(args: argparse.Namespace) -> int:
    where = machine()
    specimens = [one for one in every() if re.search(args.only, one.form)]
    numbers = [range(args.first + job, args.first + args.count, args.jobs) for job in range(args.jobs)]
    with ThreadPoolExecutor(args.jobs) as pool:
        counts: Counter[tuple[str, str]] = sum(pool.map(lambda one: _read(args, specimens, one), numbers), Counter())
    if args.json:
        found = {outcome: sum(count for (_, one), count in counts.items() if one == outcome) for outcome in OUTCOMES}
        figures = [Figure(one, f"{found[one]:,}", *(("0", not found[one]) if one in BAD else ())) for one in OUTCOMES]
        figures.insert(0, plain_figure(f"mutants of {len(specimens)} checkpoints", args.count, "mutants", 0))
        question = "Does a damaged or crafted checkpoint hang, fill memory, give a traceback or other weights?"
        print(json.dumps({"question": question, "machine": where, "figures": [asdict(one) for one in figures]}))
        return 0
    print(f"{args.count:,} mutants of {len(specimens)} checkpoints, seed {args.seed}")
    _print(counts)
    return int(any(Verdict(outcome).bad for _, outcome in counts))


def _read(args: argparse.Namespace, specimens: list[Specimen], numbers: range) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    with Judge.started([one.files for one in specimens]) as judge:
        whole = {id(one): judge.read(one.files) for one in specimens}
        data = {id(one): whole[id(one)].data(judge.folder) for one in specimens}
        for number in numbers:
            made = mutant(f"{args.seed}/{number}", specimens, data)
            read = judge.read(made.files)
            given = verdict(whole[id(made.specimen)], read, sealed=made.sealed)
            counts[made.specimen.form, given.outcome] += 1
            if given.bad:
                _report(args, number, made, given, read.cpu)
    return counts


def _report(args: argparse.Namespace, number: int, made: Mutant, given: Verdict, cpu: float) -> None:
    name = f"{number}-{given.outcome}.json"
    out = sys.stderr if args.json else sys.stdout
    print(f"{name}  {made.specimen.form}, {made.specimen.name}: {made.what[:200]}  ({cpu:.1f} s)", file=out, flush=True)
    print(f"    {given.detail.strip().splitlines()[-1][:400] if given.detail else ''}", file=out, flush=True)
    if args.keep:
        kept(args.keep / name, made, asdict(given))


def _replay(path: Path) -> int:
    made = found(path)
    with Judge.started([made.specimen.files]) as judge:
        whole, read = judge.read(made.specimen.files), judge.read(made.files)
    given = verdict(whole, read, sealed=made.sealed)
    print(f"{made.specimen.form}, {made.specimen.name}: {made.what}")
    for row in read.rows:
        print(f"  {row['path']}: {row.get('refused') or difference({}, row['holds'])}")
    print(f"{given.outcome}, {read.cpu:.1f} s of processor time, {read.peak >> 10:,} MiB\n{given.detail}")
    return int(given.bad)


def _read_files(paths: list[Path]) -> int:
    """Read files that were made from nothing that is known: they may be read, or be rows."""
    bad = 0
    with Judge.started([one.files for one in every()]) as judge:
        for path in paths:
            read = judge.read_at(str(path.resolve()))
            given = verdict(Reading((), (), "", 0, 0), read, sealed=True)
            bad += given.bad
            rows = [row.get("refused") or f"{len(row['holds']):,} tensors" for row in read.rows]
            took = f"{read.cpu:6.2f} s  {read.peak >> 10:5,} MiB"
            print(f"{given.outcome:<10}  {took}  {path.name}: {given.detail or str(rows)[:160]}", flush=True)
    return int(bad > 0)


def _print(counts: Counter[tuple[str, str]]) -> None:
    forms = sorted({form for form, _ in counts})
    rows = [["format", *OUTCOMES]]
    rows += [[form, *(f"{counts[form, outcome]:,}" for outcome in OUTCOMES)] for form in [*forms]]
    rows.append(["all", *(f"{sum(counts[form, outcome] for form in forms):,}" for outcome in OUTCOMES)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


if __name__ == "__main__":
    sys.exit(main())
