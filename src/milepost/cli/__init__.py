"""The command line: one verb a file, found by file; the only place that turns strings into objects.

A verb's file offers `add(parser)`, which declares its arguments, and `execute(args)`, which returns the exit code; the
first line of its docstring is its help.  Only the file of the verb that is asked for is imported.

Exit codes: 0 done, 2 usage or data, 3 some checkpoints failed or files of the store were left out, 130 stopped by
Ctrl-C.
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from milepost.cli._damage import damage_reported
from milepost.cli._help import grouped
from milepost.cli._streams import all_encodable, restart_in_utf8, to_stderr, to_stdout
from milepost.core.escaping import escaped, one_line
from milepost.errors import CheckpointError, MilepostError

USAGE, FAILED, PIPE, INTERRUPTED = 2, 3, 141, 130


def verbs() -> list[str]:
    """Return the names of all verbs, sorted, without importing any."""
    return sorted(item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_"))


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; with `only`, every verb is listed but just this one's file is imported ("" imports none).

    >>> build_parser().parse_args(["ls", "--all"]).all
    True
    """
    parser = _Parser(prog="milepost", usage="milepost VERB ...", description=_DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    choices = parser.add_subparsers(
        dest="verb", metavar="VERB", required=True, prog="milepost", parser_class=_VerbParser
    )
    for verb in verbs():
        about = _about(verb)
        child = choices.add_parser(
            verb, help=about.partition("\n")[0].rstrip("."), description=about, allow_abbrev=False
        )
        child.formatter_class = argparse.RawDescriptionHelpFormatter
        if only is None or verb == only:
            module = importlib.import_module(f"{__name__}.{verb}")
            module.add(child)
            child.set_defaults(execute=module.execute)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; no error of Milepost's own ends in a traceback."""
    if argv is None:
        restart_in_utf8()
    with all_encodable():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> int:
    verb = next((word for word in arguments if not word.startswith("-")), "")
    try:
        args = build_parser(verb).parse_args(arguments)
        with damage_reported() as damage:
            code = int(args.execute(args)) or (FAILED if damage else 0)
        sys.stdout.flush()
    except SystemExit as leaving:  # argparse has said what was wrong, or printed the help
        return leaving.code if isinstance(leaving.code, int) else USAGE
    except BrokenPipeError:
        _close_stdout()
        return PIPE
    except KeyboardInterrupt:
        to_stderr("milepost: stopped")
        return INTERRUPTED
    except CheckpointError as error:
        to_stderr(f"milepost: error: {error.kind}: {_worded(error, arguments)}")
        return FAILED
    except MilepostError as error:
        to_stderr(f"milepost: error: {_worded(error, arguments)}")
        return USAGE
    return code


def _worded(error: MilepostError, arguments: Sequence[str]) -> str:
    """Return an error's message with the command's own words, of any signs, in their printed form."""
    text = str(error)
    for word in arguments:
        text = text if word.isprintable() else text.replace(word, escaped(word))
    return text


_DESCRIPTION = "Evaluates the checkpoints that training leaves behind: every one, exactly once, recorded for good."


class _VerbParser(argparse.ArgumentParser):
    """A parser whose errors hold the words of the command as they are printed."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words, and leave."""
        super().error(one_line(message))


class _Parser(_VerbParser):
    """The command's own parser, whose help lists the verbs by purpose."""

    def format_help(self) -> str:
        """Return what `milepost --help` prints."""
        return grouped(_DESCRIPTION, {verb: _about(verb).partition("\n")[0] for verb in verbs()})


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help=str(options.get("help")))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        metadata = importlib.import_module("importlib.metadata")
        to_stdout([f"milepost {metadata.version('milepost')}"])
        parser.exit()


def _about(verb: str) -> str:
    """Read a verb's docstring from its text, so that listing the verbs imports none of them."""
    return Path(__file__).with_name(f"{verb}.py").read_text("utf-8").split('"""', 2)[1].strip()


def _close_stdout() -> None:
    """Point standard output nowhere, so that the interpreter's last flush finds no broken pipe."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
