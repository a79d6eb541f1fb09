"""Write the stubs of the packages that hand their names on lazily; `--check` compares instead of writing.

Type checkers and editors do not see through `__getattr__`: for them every such package has an `__init__.pyi`.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import milepost
from milepost._internal import lazy

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "milepost"
ROOMS = ("data", "metrics", "tasks")
HEAD = "# Written by scripts/make_stubs.py: do not edit.\n"


def stub(names: dict[str, str]) -> str:
    """Return the text of a stub: names with the module that each comes from.

    >>> print(stub({"TopK": "milepost.metrics.top_k"}))
    # Written by scripts/make_stubs.py: do not edit.
    from milepost.metrics.top_k import TopK as TopK
    <BLANKLINE>
    __all__ = ["TopK"]
    <BLANKLINE>
    """
    lines = [f"from {module} import {name} as {name}\n" for name, module in sorted(names.items())]
    quoted = ", ".join(f'"{name}"' for name in sorted(names))
    listed = f"__all__ = [{quoted}]\n" if names else "__all__: list[str] = []\n"
    return HEAD + "".join(lines) + ("\n" if lines else "") + listed


def stubs() -> Iterator[tuple[Path, str]]:
    """Yield every stub that there should be: its path and its text."""
    addresses: dict[str, str] = vars(milepost)["_ADDRESSES"]
    yield PACKAGE / "__init__.pyi", stub({name: address.partition(":")[0] for name, address in addresses.items()})
    for room in ROOMS:
        package = importlib.import_module(f"milepost.{room}").__name__
        names = {name: f"{package}.{file}" for name, file in lazy.classes(package).items()}
        yield PACKAGE / room / "__init__.pyi", stub(names)


def main() -> int:
    """Write the stubs, or with `--check` return 1 where one is missing or old."""
    parser = argparse.ArgumentParser(description="Write or check the stubs of lazy packages.")
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    old = [(path, text) for path, text in stubs() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path, text in old:
        if not check:
            path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {'is not what make docs writes' if check else 'written'}")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
