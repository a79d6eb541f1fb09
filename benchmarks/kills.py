"""Is anything lost, doubled or left over, or a traceback, whichever verb is killed with -9, and whenever?

Verbs of one process (score, gc --delete, export, ls with cold caches, forget, best --link, failures --retry) are killed
before operations on files that a seed draws; `run` and `plan`, their evaluators and readers, and those of three watches
that share a store beside a trainer, at moments that it draws.  The laws, after each kill:

- lost: what was in the store, or lay in the training folder, is there unless the verb was to delete it; the same verb
  again, and then a `run`, bring what they bring undisturbed, bit for bit.
- doubled: that run predicts what it predicts undisturbed: nothing, but for what was forgotten.
- left over: then there is no temporary file or folder, lease, heartbeat, pin or process.
- traceback: nobody sees one, and every process that was not killed ends with an exit code that it usually has.

`--few` does a handful of the first kind; `--seed N` draws others.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")  # forks need a process of one

from _figures import ROOT, Figure, main

sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

import soak  # noqa: E402 - the folder of the tests has to be found first
from _killed_runs import RunWorld, killed_runs, killed_watches  # noqa: E402 - the same
from _killed_verbs import VERBS, Outcome, World, import_all, killed_verb  # noqa: E402 - the same

FEW = ("score", "gc --delete", "export csv", "ls, cold", "forget --data")
RUNS = {"run": 60, "plan": 10}
WATCHES, STEPS = 3, 200


def verbs(place: Path, seed: int, kills: Mapping[str, int]) -> dict[str, Outcome]:
    """Kill verbs of one process, each so many times."""
    import_all()
    world, outcomes = World(place / "world"), dict[str, Outcome]()
    for name, times in kills.items():
        began = time.monotonic()
        outcomes[name] = killed_verb(world, name, times, random.Random(f"{seed} {name}"))
        outcomes[name].seconds = time.monotonic() - began
        show(name, outcomes[name])
    return outcomes


def processes(place: Path, seed: int) -> dict[str, Outcome]:
    """Kill runs, plans and watches."""
    outcomes = dict[str, Outcome]()
    world = RunWorld(place / "runs")
    for verb, kills in RUNS.items():
        began = time.monotonic()
        outcomes[verb] = killed_runs(world, verb, kills, random.Random(f"{seed} {verb}"))
        outcomes[verb].seconds = time.monotonic() - began
        show(verb, outcomes[verb])
    clean = soak.clean_run(place / "clean", [soak.Scenario("", steps=STEPS)])
    for number in range(WATCHES):
        began, name = time.monotonic(), f"three watches, {number + 1}"
        outcomes[name] = killed_watches(place / f"watches-{number}", STEPS, seed * 1000 + number, clean)
        outcomes[name].seconds = time.monotonic() - began
        show(name, outcomes[name])
    return outcomes


HEAD = ("kills", "lost", "doubled", "left over", "tracebacks", "other")


def show(name: str, outcome: Outcome | None) -> None:
    """Print a line of the table, its head where there is no outcome, with what did not hold below it."""
    numbers = HEAD if outcome is None else numbers_of(outcome)
    seconds = "" if outcome is None else f"{outcome.seconds:>8.0f} s"
    print(f"{name:<22}" + "".join(f"{item:>12}" for item in numbers) + seconds, file=sys.stderr, flush=True)
    for words in [] if outcome is None else outcome.broken():
        print(f"  {words}", file=sys.stderr, flush=True)


def numbers_of(outcome: Outcome) -> tuple[int, ...]:
    """Return the numbers of a line."""
    counted = (outcome.lost, outcome.doubled, outcome.left, outcome.tracebacks, outcome.other)
    return outcome.kills, *map(len, counted)


def figures_of(outcomes: dict[str, Outcome]) -> list[Figure]:
    """Return a line for each verb, and their sum."""
    total = Outcome()
    for item in outcomes.values():
        total.kills += item.kills
        for name in ("lost", "doubled", "left", "tracebacks", "other"):
            getattr(total, name).extend(getattr(item, name))
    figures = []
    for name, item in {**outcomes, "all": total}.items():
        found = ", ".join(f"{number} {what}" for number, what in zip(numbers_of(item), HEAD, strict=True))
        figures.append(Figure(name, found, "0 of each but kills", item.held))
    return figures


def killed(seed: int, *, few: bool) -> dict[str, Outcome]:
    """Do all, or the few that tests have time for."""
    show("", None)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(os.path.realpath(folder))
        outcomes = {} if few else processes(place, seed)  # first: it starts threads, and forks want none
        kills = dict.fromkeys(FEW, 1) if few else {name: times for name, (times, _) in VERBS.items()}
        return outcomes | verbs(place, seed, kills)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    results = killed(given.seed, few=given.few)
    main("Is anything lost, doubled or left over, whichever verb is killed, and whenever?", lambda: figures_of(results))
    sys.exit(not all(item.held for item in results.values()) and not given.json)
