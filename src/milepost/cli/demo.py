"""Train a small network on real data, evaluate all its checkpoints, and show that nothing is left to do then."""

import argparse
import io
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stdout
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from milepost import cli
from milepost.cli._arguments import add_shared
from milepost.cli._streams import to_stderr
from milepost.errors import MissingExtra, UsageError

_TRAIN, _EVAL = "train_digits.py", "eval_digits.py"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", metavar="DIR", default="demo", help="where everything is written (default: ./demo)")
    add_shared(parser, "json")


def execute(args: argparse.Namespace) -> int:
    if find_spec("sklearn") is None:
        raise MissingExtra("scikit-learn", "demo")
    folder = Path(args.folder)
    prepare(folder)
    began = time.monotonic()
    _say(f"training: {_TRAIN} in {folder}")
    train(folder)
    _say(f"trained in {time.monotonic() - began:.1f} s\n")
    command = ["run", str(folder / _EVAL), str(folder / "runs" / "digits"), "--store", str(folder / "milepost-store")]
    command += ["--json"] if args.json else []
    _say(f"$ milepost {shlex.join(command)}")
    if code := cli.main(command):
        return code
    _say(f"\nthe same command again\n$ milepost {shlex.join(command)}")
    with redirect_stdout(sys.stdout if args.json else io.StringIO()):  # the same table need not be shown twice
        code = cli.main(command)
    _say(_next(folder))
    return code


def prepare(folder: Path) -> None:
    """Put the two scripts into the folder; scripts that the user has changed are left as they are."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_TRAIN, _EVAL):
            text = files("milepost.cli").joinpath("_demo_files", f"{name}.txt").read_text("utf-8")
            if not (folder / name).exists():
                (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: the demo cannot be written here ({error.strerror}); choose a --folder") from error


def train(folder: Path) -> None:
    """Run the training script in a process of its own, unless its checkpoints are there already."""
    if (folder / "runs" / "digits" / "last.npz").exists() and (folder / "validation.npz").exists():
        _say("the checkpoints are there already")
        return
    done = subprocess.run([sys.executable, _TRAIN], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if done.returncode:
        raise UsageError(f"{folder / _TRAIN} failed; it printed:\n{done.stderr.strip()}")
    _say(done.stdout.strip())


def _next(folder: Path) -> str:
    store = folder / "milepost-store"
    run = folder / "runs" / "digits"
    # Out of a virtual environment that is not active, the bare word would not be found.
    command = "milepost" if shutil.which("milepost") or not Path(sys.argv[0]).is_file() else sys.argv[0]
    tries = (
        ("serve", "--store", store),
        ("ls", "--store", store),
        ("show", "last", "--store", store),
        ("show", "last", "--store", store, "--batch-size", "359"),
        ("inspect", run / "last.npz"),
        ("plan", folder / _EVAL, run, "--store", store),
    )
    return "\n".join(["\nwhat to try next", *(f"  {shlex.join([command, *map(str, words)])}" for words in tries)])


def _say(text: str) -> None:
    for line in text.split("\n"):  # of our own, or what the scripts print
        to_stderr(line)
