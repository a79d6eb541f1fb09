"""The changelog, by fragments: `check` looks at them, `release YYYY-MM-DD` gathers them into CHANGELOG.md.

A change brings one file, changelog.d/NNN.kind.md: NNN is the number of its issue, kind one of those in pyproject
([tool.milepost.changelog]), and the text is what a user will notice.  So two changes never touch the same lines.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"(?P<issue>\d+)(?:-[a-z0-9-]+)?\.(?P<kind>[a-z]+)\.md")
VERSION = re.compile(r"^## (?P<version>\d+\.\d+\.\d+\S*) - (?P<date>unreleased|\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def pyproject() -> dict[str, Any]:
    """Read pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def fragments() -> list[Path]:
    """Return the fragments in order of their names; the folder's README is none."""
    return sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name not in ("README.md", ".gitkeep"))


def breaches(version: str, kinds: dict[str, str]) -> Iterator[str]:
    """Yield a line for every fragment of a wrong name or without text, and where the newest section is off."""
    for path in fragments():
        name = NAME.fullmatch(path.name)
        if name is None or name["kind"] not in kinds:
            yield f"changelog.d/{path.name}: name it NNN.kind.md or NNN-words.kind.md, kind one of {', '.join(kinds)}"
        elif not path.read_text(encoding="utf-8").strip():
            yield f"changelog.d/{path.name}: is empty; say what a user will notice"
    newest = VERSION.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    if newest is None or newest["version"] != version:
        found = newest["version"] if newest else "no version"
        yield f"CHANGELOG.md: begins with {found}, and pyproject.toml has {version}; add `## {version} - unreleased`"


def section(kinds: dict[str, str]) -> str:
    """Return the text of the fragments, by kind."""
    lines = []
    for kind, title in kinds.items():
        own = [path for path in fragments() if (name := NAME.fullmatch(path.name)) and name["kind"] == kind]
        if own:
            lines += [f"### {title}", *("- " + " ".join(path.read_text(encoding="utf-8").split()) for path in own), ""]
    return "\n".join(lines)


def release(date: str, version: str, kinds: dict[str, str]) -> None:
    """Move the fragments into the section of this version and date it."""
    page = ROOT / "CHANGELOG.md"
    text = page.read_text(encoding="utf-8")
    head = f"## {version} - unreleased\n"
    if head not in text:
        raise SystemExit(
            f"CHANGELOG.md has no line {head.strip()!r}: {version} is released already, or was never begun"
        )
    page.write_text(text.replace(head, f"## {version} - {date}\n\n{section(kinds)}", 1), encoding="utf-8")
    for path in fragments():
        path.unlink()


def main() -> int:
    """Run `check` or `release`."""
    parser = argparse.ArgumentParser(description="Check or gather the changelog's fragments.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("check")
    verbs.add_parser("release").add_argument("date", help="the day of the release, YYYY-MM-DD")
    arguments = parser.parse_args()
    settings = pyproject()
    version, kinds = settings["project"]["version"], settings["tool"]["milepost"]["changelog"]["kinds"]
    found = list(breaches(version, kinds))
    print(*found, sep="\n", end="\n" if found else "")
    if arguments.verb == "release" and not found:
        release(arguments.date, version, kinds)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
