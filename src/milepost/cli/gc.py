"""Delete checkpoints that are significantly worse than the best (a dry run unless --delete).

Worse is what `best` calls so: row by row, corrected for all pairs. Tied with the best or untested is kept. A file or
folder with several variants (raw, ema) is one checkpoint: its best variant counts, and it goes only if all are worse.
Never deleted: what is not evaluated as it is now, waits, is claimed, pinned or failed, is another name of something
kept, is a symbolic link or a link's target, or lies outside of the folder. One with a folder of its own
(`checkpoint-500/`) goes with all that lies in it, or not at all: below the table stands what that is besides weights.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milepost._internal.text import counted, listed
from milepost.cli import FAILED
from milepost.cli._arguments import add_shared, path_of, positive
from milepost.cli._gc_folder import Folder, Place
from milepost.cli._output import answer
from milepost.cli._store import open_whole_store
from milepost.core.escaping import escaped
from milepost.errors import MilepostError, UsageError
from milepost.report._align import align, shown
from milepost.report._numbers import count, size
from milepost.report._numbers import number as number_text
from milepost.report._printed import printed
from milepost.report.retention import Measured, Retention, keep
from milepost.store.store import Store

if TYPE_CHECKING:
    from milepost.report.best import Rival

_NAMED = 20
"""Other files of a folder that are named; `--json` has all."""

_HEADS = ("verdict", "run", "step", "name", "variant", "value", "files", "bytes", "reason")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN_FOLDER", type=path_of, help="the training run's folder of checkpoints")
    parser.add_argument("--metric", metavar="NAME", required=True, help="the value that decides, such as top1")
    parser.add_argument(
        "--keep-best",
        metavar="N",
        type=positive,
        default=5,
        help="how many of the best checkpoints to keep, and those as good as the last of them (default 5)",
    )
    parser.add_argument(
        "--keep-last",
        metavar="N",
        type=positive,
        default=2,
        help="how many of the last checkpoints to keep (default 2)",
    )
    parser.add_argument(
        "--even-if-tied",
        action="store_true",
        help="keep the best and the last only, by value: others go even if tied with the best, or untested",
    )
    add_shared(parser, "data", "delete", "store", "json")


def execute(args: argparse.Namespace) -> int:
    if not os.path.isdir(args.folder):
        raise UsageError(f"{args.folder}: expected a run's folder of checkpoints, found no such folder")
    store = open_whole_store(args.store)  # a hole would decide on what goes
    folder = Folder(store, args.folder)
    decided = _decided(store, folder, args)
    lines = [_done(folder, place, verdict, delete=args.delete) for place, verdict in decided]
    gone = [line for line in lines if not line["keep"]]
    summary = {
        "event": "done",
        "kept": len(lines) - len(gone),
        "deleted": sum(line["deleted"] for line in gone),
        "bytes": sum(line["bytes"] for line in gone),
        "dry_run": not args.delete,
    }
    answer(
        [*lines, summary],
        [*_table(lines, variants=_several(decided)), "", *_others(gone), _sentence(summary, len(gone))],
        as_json=args.json,
    )
    return FAILED if any(line["problem"] for line in lines) else 0


def _decided(store: Store, folder: Folder, args: argparse.Namespace) -> list[tuple[Place, Retention]]:
    """Decide run by run: a folder may hold others below it, and each has its own best and last."""
    decided: list[tuple[Place, Retention]] = []
    refusals: list[UsageError] = []
    for run in sorted({place.run for place in folder.places}):
        places = [place for place in folder.places if place.run == run]
        measured, higher = dict[str, Measured](), True
        try:
            measured, higher = _measured(store, run, {one for place in places for one in place.held.weights}, args)
        except UsageError as error:
            refusals.append(error)
        held = [place.held for place in places]
        verdicts = keep(held, measured, higher=higher, best=args.keep_best, last=args.keep_last)
        decided += zip(places, verdicts, strict=True)
    if not any(verdict.value is not None for _, verdict in decided):
        raise refusals[0] if refusals else UsageError(f"{args.folder}: no checkpoint in it has a whole {args.metric}")
    return decided


def _measured(
    store: Store, run: str, there: Collection[str], args: argparse.Namespace
) -> tuple[dict[str, Measured], bool]:
    """Return the values that may decide, and whether higher is better.

    These are values over all rows, of weights restored whole, on the data of the best.  The best is that of the weights
    that are `there`; those that are gone count among the pairs.
    """
    from milepost.report._ranking import ranking_of, value_of_record  # noqa: PLC0415 - the help needs no NumPy
    from milepost.report.best import rivals_of  # noqa: PLC0415 - the same

    if run not in {known["id"] for known in store.runs()}:
        raise UsageError(f"nothing of {args.folder} is on record in {args.store}; `milepost run` evaluates it")
    listing = store.listing()
    ranking = ranking_of(store, listing, args.metric, args.data, run, "all")
    digests = [str(record["checkpoint"]["digest"]) for record in ranking.ranked]
    best = next((record for record, one in zip(ranking.ranked, digests, strict=True) if one in there), None)
    if best is None or ranking.ranked[0]["status"] != "ok":
        return {}, ranking.direction == "higher"
    values = dict(zip(digests, map(value_of_record, ranking.ranked), strict=True))
    if args.even_if_tied:
        found = {one: Measured(value, may_go=True, why="by value, even if tied") for one, value in values.items()}
        return found, ranking.direction == "higher"
    rivals, _ = rivals_of(store, listing, ranking, best)
    words = {str(rival.record["checkpoint"]["digest"]): _verdict(rival) for rival in rivals}
    found = {one: Measured(value, *words.get(one, (False, "the best"))) for one, value in values.items()}
    return found, ranking.direction == "higher"


def _verdict(rival: "Rival") -> tuple[bool, str]:
    """Say whether a checkpoint may go, and why (or why not)."""
    if rival.pair is None:
        return False, f"untested: {rival.why}"
    if rival.pair.worse:
        return True, f"significantly worse than the best (p = {rival.pair.p_value:.2g})"
    return False, "tied with the best"


def _done(folder: Folder, place: Place, verdict: Retention, *, delete: bool) -> dict[str, Any]:
    problem = None
    if delete and not verdict.keep:
        try:
            folder.delete(place)
        except MilepostError as error:
            problem = str(error)
        except OSError as error:
            problem = f"could not be deleted: {error.strerror or error}"
    return {
        "event": "gc",
        "run": place.run,
        "path": place.held.path,
        "name": place.held.name,
        "step": place.held.step,
        "variant": verdict.variant,
        "value": verdict.value,
        "keep": verdict.keep or problem is not None,
        "reason": problem or verdict.reason,
        "bytes": place.nbytes,
        "files": len(place.files),
        "others": [{"file": file, "bytes": nbytes} for file, nbytes in place.others],
        "deleted": delete and not verdict.keep and problem is None,
        "problem": problem,
    }


def _several(decided: Sequence[tuple[Place, Retention]]) -> bool:
    """Say whether anything was evaluated as more than one variant, so that a row must name its own."""
    return len({variant for place, _ in decided for variant in place.held.variants.values()}) > 1


def _table(lines: Sequence[Mapping[str, Any]], *, variants: bool) -> list[str]:
    rows = []
    for line in map(printed, lines):
        word = "keep" if line["keep"] else "deleted" if line["deleted"] else "delete"
        value = "-" if line["value"] is None else number_text(line["value"], 4)
        rows.append(
            (
                word,
                line["run"],
                shown(line["step"]),
                line["name"],
                shown(line["variant"]),
                value,
                count(line["files"]),
                size(line["bytes"]),
                line["reason"],
            )
        )
    columns = [at for at, head in enumerate(_HEADS) if variants or head != "variant"]
    return align([_HEADS[at] for at in columns], [[row[at] for at in columns] for row in rows])


def _others(gone: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what goes with folders besides weights: a line for all folders that hold files of the same names."""
    alike = defaultdict[tuple[str, ...], list[Mapping[str, Any]]](list)
    for line in gone:
        if line["others"]:
            alike[tuple(other["file"] for other in line["others"])].append(line)
    texts = []
    for names, lines in alike.items():
        nbytes = sum(other["bytes"] for line in lines for other in line["others"])
        folders = listed([f"{escaped(line['name'])}/" for line in lines], 3)
        each, in_all = (" each", " in all") if len(lines) > 1 else ("", "")
        files = listed([escaped(name) for name in names], _NAMED)
        texts.append(f"{folders}: {counted(len(names), 'other file')}{each}, {size(nbytes)}{in_all}: {files}")
    return [*texts, ""] if texts else []


def _sentence(summary: Mapping[str, Any], gone: int) -> str:
    freed = f"{size(summary['bytes'])} freed"
    dry = f"{gone} would be deleted, {freed}: --delete does it"
    return f"{summary['kept']} kept; {dry if summary['dry_run'] else f'{gone} deleted, {freed}'}"
