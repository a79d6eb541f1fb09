"""Check that every relative link of the Markdown files leads to a file, and to a heading where it names one."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def pages(root: Path) -> list[Path]:
    """Return the Markdown files at the top, in docs, in examples and beside the code, sorted."""
    folders = ("docs", "examples", "benchmarks", "src", "changelog.d")
    return sorted([*root.glob("*.md"), *(path for folder in folders for path in (root / folder).rglob("*.md"))])


def anchors(text: str) -> set[str]:
    r"""Return the anchors of a page's headings, made as code hosts make them.

    >>> sorted(anchors("# The store\n## What `gc` does\n"))
    ['the-store', 'what-gc-does']
    """
    titles = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def breaches(root: Path, page: Path) -> Iterator[str]:
    """Yield a line for every link of a page that leads nowhere."""
    text = page.read_text(encoding="utf-8")
    for link in LINK.findall(CODE.sub("", FENCE.sub("", text))):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else page.parent / name
        if not target.exists():
            yield f"{page.relative_to(root)}: {link} leads to no file"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{page.relative_to(root)}: {link} leads to no heading of {target.name}"


def main() -> int:
    """Check every page; return 1 where a link is broken."""
    found = [line for page in pages(ROOT) for line in breaches(ROOT, page)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
