"""Arguments that several verbs share."""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from milepost.core.escaping import unescaped
from milepost.errors import UsageError

STORE = "milepost-store"
_EVALUATION = "the evaluation file, which holds `evaluation`, or `evaluations` by name: all of them, or the one named"


def path_of(text: str) -> str:
    """Return the path that was typed; where nothing is there, the one whose printed form it is, if that is there."""
    exact = unescaped(text)
    return exact if not os.path.lexists(text) and os.path.lexists(exact) else text


_SHARED: dict[str, dict[str, Any]] = {
    "store": {
        "metavar": "DIR",
        "default": STORE,
        "type": path_of,
        "help": f"where results are kept (default: ./{STORE})",
    },
    "json": {"action": "store_true", "help": "print JSON lines on stdout, everything else on stderr"},
    "run": {"metavar": "RUN", "help": "only this run: its id, or its folder's name, path or end of path"},
    "variant": {"metavar": "NAME", "type": unescaped, "help": "only this set of weights: raw, ema"},
    "slice": {
        "metavar": "NAME[=VALUE]",
        "type": unescaped,
        "default": "all",
        "help": "values on a slice of the rows only",
    },
    "data": {"metavar": "NAME", "type": unescaped, "help": "the data set, where several are on record"},
    "delete": {"action": "store_true", "help": "delete in earnest; without it nothing is touched"},
}


def add_shared(parser: argparse._ActionsContainer, *names: str) -> None:
    for name in names:
        parser.add_argument(f"--{name}", **_SHARED[name])


def add_request(parser: argparse.ArgumentParser) -> None:
    """Declare what to evaluate: shared by `run` and `plan`."""
    parser.add_argument("evaluation", metavar="EVAL.py[:NAME]", help=_EVALUATION)
    parser.add_argument(
        "checkpoints", metavar="CKPTS", nargs="+", type=path_of, help="checkpoint files, or folders of them"
    )
    parser.add_argument("--match", metavar="GLOB", help="only checkpoints whose path fits this pattern")
    parser.add_argument("--limit", metavar="N", type=positive, help="only the first N rows of the order")
    parser.add_argument("--data", metavar="NAME", help="only this data set, such as test or clean/test")
    parser.add_argument("--device", metavar="NAME", help="where the model runs, as its framework names it")
    parser.add_argument("--again", action="store_true", help="evaluate once more what is already there")
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="variables that a checkpoint lacks keep the model's own values; the result is marked PARTIAL for ever",
    )
    parser.add_argument("--engine", metavar="NAME", default="local", help="local (default: own process) or inprocess")
    parser.add_argument(
        "--per-pass", metavar="N", type=positive, default=4, help="checkpoints that share one pass over the data (4)"
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=1,
        help="evaluator processes side by side, each with model, data and --per-pass checkpoints of its own (1)",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        type=patience,
        default="30m",
        help="end an evaluator or reader that gives no sign of life (a batch done, a file read) for so long, and "
        "record a `timeout`: 90s, 30m (default), 2h; none waits for ever, as --engine inprocess does",
    )
    add_shared(parser, "store", "json")


def seconds(text: str) -> float:
    """Turn a time above 0 (`90`, `90s`, `30m`, `2h`, `1d`) into seconds; argparse words the error.

    >>> seconds("90"), seconds("30m"), seconds("1.5h")
    (90.0, 1800.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    value = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a time above 0 such as 90s, 10m, 2h or 1d, found {text!r}")
    return value


def patience(text: str) -> float | None:
    return None if text == "none" else seconds(text)


def positive(text: str) -> int:
    """Turn text into a whole number of at least 1; argparse words the error."""
    digits = text.replace("_", "")
    if not digits.isdecimal() or int(digits) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(digits)


def evaluation_file(text: str) -> tuple[str, str]:
    """Split EVAL.py[:NAME] into an existing file and the name of the evaluation in it.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "eval.py")
    ...     _ = file.write_text("")
    ...     evaluation_file(f"{file}:large")[1], evaluation_file(str(file))[1]
    ('large', 'evaluation')
    """
    file, colon, attribute = text, "", ""
    if not Path(text).exists():
        file, colon, attribute = text.rpartition(":")
        file = file if colon else text
    if not Path(file).is_file():
        hint = "a folder; the evaluation file comes first, then the checkpoints"
        found = hint if Path(file).is_dir() else "no such file"
        raise UsageError(f"{file}: expected an evaluation file (Python), found {found}")
    if colon and not re.fullmatch(r"[^\W\d][\w.+-]*", attribute):
        raise UsageError(f"{text}: expected the name of an evaluation after the colon, found {attribute!r}")
    return file, attribute or "evaluation"
