"""Write docs/cli.md from the parser of the command line; `--check` compares instead of writing.

The parser is walked rather than asked for its help text, whose layout differs between versions of Python.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"
HEAD = "<!-- Written by scripts/make_cli_reference.py: do not edit. -->\n# The command line\n"


def reference(parser: argparse.ArgumentParser) -> str:
    """Return the page: a section for the command and one for each verb."""
    return HEAD + "".join(_section(parser, parser.prog, 1))


def _section(parser: argparse.ArgumentParser, title: str, depth: int) -> Iterator[str]:
    if depth > 1:  # the page's own title is the command's
        yield f"\n{'#' * min(depth, 6)} `{title}`\n"
    if parser.description:
        yield f"\n{_text(parser, parser.description)}\n"
    yield f"\n```console\n$ {' '.join([title, *_usage(parser)])}\n```\n"
    rows = [_row(parser, action) for action in _actions(parser) if not _is_verbs(action)]
    if rows:
        yield "\n| argument | meaning |\n| --- | --- |\n" + "".join(rows)
    if parser.epilog:
        yield f"\n{_text(parser, parser.epilog)}\n"
    for verb, child in _verbs(parser):
        yield from _section(child, f"{title} {verb}", depth + 1)


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]  # noqa: SLF001 - no public list
    return [action for action in shown if not isinstance(action, argparse._HelpAction)]  # noqa: SLF001 - the same


def _is_verbs(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - argparse has no public name for it


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield verbs in the order in which they were added; a second name of the same verb is left out."""
    seen: set[int] = set()
    for action in filter(_is_verbs, _actions(parser)):
        for name, child in dict(action.choices or {}).items():
            if id(child) not in seen:
                seen.add(id(child))
                yield name, child


def _usage(parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = _actions(parser)
    if any(action.option_strings for action in actions):
        yield "[OPTIONS]"
    for action in actions:
        if _is_verbs(action):
            yield "VERB ..."
        elif not action.option_strings:
            yield _value(action)


def _value(action: argparse.Action) -> str:
    """Return how the values of an argument are written: "N", "CKPTS [CKPTS ...]", "[NAME]", or "" for a flag."""
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        name = "{" + ",".join(str(choice) for choice in action.choices) + "}"
    elif isinstance(action.metavar, tuple):
        name = " ".join(action.metavar)
    else:
        name = action.metavar or action.dest.upper()
    if isinstance(action.nargs, int) and not isinstance(action.metavar, tuple):
        return " ".join([name] * action.nargs)
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)


def _row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    value = _value(action)
    names = [f"{flag} {value}".strip() for flag in action.option_strings] or [value]
    argument = ", ".join(f"`{name}`" for name in names)
    return f"| {argument.replace('|', chr(92) + '|')} | {_help(parser, action).replace('|', chr(92) + '|')} |\n"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the help of an argument with its `%(default)s` and the like filled in."""
    words = {**vars(action), "prog": parser.prog}
    return " ".join(((action.help or "") % words).split())


def _text(parser: argparse.ArgumentParser, text: str) -> str:
    return (text % {"prog": parser.prog}).strip()


def main() -> int:
    """Write the page, or with `--check` return 1 where it is missing or old."""
    arguments = argparse.ArgumentParser(description="Write or check docs/cli.md.")
    arguments.add_argument("--check", action="store_true", help="compare only")
    check = arguments.parse_args().check
    page = reference(importlib.import_module("milepost.cli").build_parser())
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    if not check:
        PAGE.write_text(page, encoding="utf-8")
    print(f"docs/cli.md: {'is not what make docs writes' if check else 'written'}")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main())
