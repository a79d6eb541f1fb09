"""The project's page on a package index: README.md, its links made absolute by the address in [project.urls].

Hatchling runs this when it builds the package.  One line in pyproject.toml is all that a public address needs:

    [project.urls]
    Source = "https://example.org/milepost"

Until there is one, a relative link, which leads nowhere on an index, becomes its text.
"""

import importlib
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "Source"
_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z][a-z0-9+.-]*:)([^)]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def page(text: str, urls: Mapping[str, str]) -> str:
    """Return a README for an index.

    >>> page("See [the docs](docs/cli.md#run).", {"Source": "https://example.org/milepost/"})
    'See [the docs](https://example.org/milepost/blob/HEAD/docs/cli.md#run).'
    >>> page("See [the docs](docs/cli.md).", {})
    'See the docs.'
    """
    address = urls.get(KEY, "").rstrip("/")

    def absolute(found: re.Match[str]) -> str:
        image, words, target = found.groups()
        path, mark, anchor = target.partition("#")
        kind = "raw" if image else "blob"
        return f"{image}[{words}]({address}/{kind}/HEAD/{posixpath.normpath(path)}{mark}{anchor})" if address else words

    parts, end = [], 0
    for fence in _FENCE.finditer(text):  # code stays as it is
        parts += [_RELATIVE.sub(absolute, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _RELATIVE.sub(absolute, text[end:])])


def _interface() -> Any:
    try:
        return importlib.import_module("hatchling.metadata.plugin.interface").MetadataHookInterface
    except ModuleNotFoundError:  # tests need no builder
        return object


class ReadmeHook(_interface()):  # type: ignore[misc]  # the builder is there while it builds, and not before
    """What hatchling calls with the table [project]."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put the page into the metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(text, metadata.get("urls", {}))}
