"""Make the documentation site: `make_site.py [FOLDER]`; build/site where no folder is named.

The pages keep their places, so that their links hold here and on a code host.  The API reference is written from the
code: a new metric, source or format appears in it without an edit.  A warning of Sphinx is an error.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import milepost
from milepost.registry import classes

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples")
LAZY = ("data", "tasks", "metrics")
ROOMS = {
    "data": "Data",
    "models": "Models",
    "tasks": "Tasks",
    "metrics": "Metrics",
    "engines": "Engines",
    "exports": "Exports",
    "checkpoints.formats": "Checkpoint formats",
}
"""Rooms whose classes are found by their files, in the order of the reference."""
MODULES = {
    "milepost.report.results": "Results of a run",
    "milepost.report.reader": "A store, read from Python",
    "milepost.signals": "What a trainer may read",
    "milepost.errors": "Errors",
    "milepost.core.types": "Shared types",
    "milepost.core.protocols": "Protocols",
    "milepost.core.sessions": "Protocols of engines",
    "milepost.testing": "Contract suites",
}
"""Modules that are documented member by member."""
FRONT = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html"><title>Milepost</title>\n'


def heading(title: str) -> str:
    """Return a title as reStructuredText has it.

    >>> print(heading("Data"), end="")
    Data
    ====
    <BLANKLINE>
    """
    return f"{title}\n{'=' * len(title)}\n\n"


def room_page(room: str) -> str:
    """Return the page of a room: every class that it registers, under the name that a user imports."""
    found = sorted(classes(room).values(), key=lambda item: item.__name__)
    places = [f"milepost.{room}" if room in LAZY else item.__module__ for item in found]
    lines = [
        f".. autoclass:: {place}.{item.__name__}\n   :members:\n" for place, item in zip(places, found, strict=True)
    ]
    return heading(ROOMS[room]) + "\n".join(lines)


def package_page() -> str:
    """Return the page of what `import milepost` gives."""
    kinds = {name: "class" if isinstance(getattr(milepost, name), type) else "function" for name in milepost.__all__}
    return heading("The package") + "".join(
        f".. auto{kind}:: milepost.{name}\n{'   :members:' if kind == 'class' else ''}\n\n"
        for name, kind in kinds.items()
    )


def module_page(name: str) -> str:
    """Return the page of a module: what it says of itself, then its public names that the package does not give."""
    given = ", ".join(item for item in milepost.__all__ if getattr(milepost, item).__module__ == name)
    excluded = f"   :exclude-members: {given}\n" if given else ""
    return heading(MODULES[name]) + f".. automodule:: {name}\n   :members:\n{excluded}"


def reference() -> dict[str, str]:
    """Return the pages of the API reference by file name, the index among them."""
    pages = {"milepost.rst": package_page()}
    pages |= {f"milepost.{room}.rst": room_page(room) for room in ROOMS}
    pages |= {f"{name}.rst": module_page(name) for name in MODULES}
    listed = "".join(f"   {name.removesuffix('.rst')}\n" for name in pages)
    return pages | {"index.rst": heading("API reference") + ".. toctree::\n   :maxdepth: 1\n\n" + listed}


def add_toctree(page: Path) -> None:
    """Put the pages that a page links to below it, in that order."""
    text = page.read_text(encoding="utf-8")
    listed = "\n".join(dict.fromkeys(re.findall(r"\]\(([^)#:]+)\.(?:md|rst)\)", text)))
    page.write_text(f"{text}\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n", encoding="utf-8")


def lay_out(source: Path) -> None:
    """Copy the pages, and write those that are made from the code."""
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, source / name)
    folder = source / "docs" / "reference"
    folder.mkdir()
    for name, text in reference().items():
        (folder / name).write_text(text, encoding="utf-8")
    front = source / "docs" / "index.md"
    front.write_text(front.read_text(encoding="utf-8") + "- [API reference](reference/index.rst)\n", encoding="utf-8")
    for page in (front, source / "docs" / "design" / "README.md"):
        add_toctree(page)


def main() -> int:
    """Make the site; return Sphinx's exit status."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    with tempfile.TemporaryDirectory() as place:
        source = Path(place)
        lay_out(source)
        sphinx = (sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs"))
        status = subprocess.run((*sphinx, place, str(out)), stdin=subprocess.DEVNULL, check=False).returncode
    if status == 0:
        (out / "index.html").write_text(FRONT, encoding="utf-8")
        print(f"{out / 'index.html'}: written")
    return status


if __name__ == "__main__":
    sys.exit(main())
