"""Addresses of the dashboard's pages; names in them are encoded, and nothing of them is ever a path of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from milepost.report.table import Plain


@dataclass(frozen=True, slots=True)
class Links:
    """The addresses of one store's pages; `root` is where the dashboard stands, `store` the store's number.

    >>> Links("", 0).run("a/b", metric="top1")
    '/0/run?run=a%2Fb&metric=top1'
    """

    root: str
    store: int

    def run(self, run: str, **asked: str | None) -> str:
        """Return the page of a run, with what is asked of it: data, part."""
        return self._page("run", {"run": run, **asked})

    def checkpoint(self, row: Plain) -> str:
        """Return the page of a checkpoint that was evaluated, by its weights and variant."""
        return self._page("checkpoint", {"digest": str(row.get("digest")), "variant": str(row.get("variant") or "raw")})

    def compare(self, **asked: str | None) -> str:
        """Return the page that compares two checkpoints: a, b, metric, data, part."""
        return self._page("compare", asked)

    def failures(self) -> str:
        """Return the page of what failed."""
        return self._page("failures", {})

    def _page(self, name: str, asked: Mapping[str, str | None]) -> str:
        given = {key: value for key, value in asked.items() if value is not None}
        query = urlencode(given, quote_via=quote, errors="surrogateescape")
        return f"{self.root}/{self.store}/{name}" + (f"?{query}" if query else "")
