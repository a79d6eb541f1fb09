"""The dashboard's addresses: which page each one is, and how a change reaches an open page."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from milepost.core.escaping import printable
from milepost.errors import MilepostError, UsageError
from milepost.report.chart._xml import text
from milepost.report.pages.blocks import Block, Choice, Heading, PageCell, Paragraph
from milepost.report.pages.checkpoint import checkpoint_blocks
from milepost.report.pages.compare_page import CompareAsked, compare_blocks
from milepost.report.pages.failures_page import failures_blocks
from milepost.report.pages.html_page import blocks_html, sheet
from milepost.report.pages.links import Links
from milepost.report.pages.overview_page import overview_blocks
from milepost.report.pages.run_page import RunAsked, run_blocks
from milepost.report.server.stores import OpenStore, OpenStores

_BEAT = 15.0
"""Seconds after which a silent line says that it still stands, so that proxies between do not cut it."""
_QUIET = 0.3
"""Seconds within which several changes are one."""
_PARTS = {"app.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}

Blocks = Callable[[OpenStore, Mapping[str, str], Links], Iterable[Block]]
Samples = Callable[[Iterable[Mapping[str, Any]]], tuple[str, str]]


def application(stores: OpenStores, metrics: Samples, root: str = "") -> Starlette:
    """Return the dashboard on some stores; `root` is where a proxy shows it, such as /user/me/proxy/7654.

    `metrics` turns records into what a monitor reads at /metrics: the text and its type.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(stores.watch())
        yield
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
        stores.close()

    pages = Pages(stores, metrics, root)
    routes = [
        Route("/", pages.overview),
        Route("/events", pages.events),
        Route("/metrics", pages.metrics),
        Route("/static/{name}", pages.static),
        *(Route(f"/{{store:int}}/{name}", pages.of(name, make)) for name, make in _PAGES.items()),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: pages.missing})


class Pages:
    """Answers requests; pages are made in the thread that reads the stores."""

    def __init__(self, stores: OpenStores, metrics: Samples, root: str) -> None:
        self._stores = stores
        self._metrics = metrics
        self._root = root

    async def overview(self, _: Request) -> Response:
        """Show the runs of all stores."""

        def part(number: int, one: OpenStore) -> str:
            def made() -> str:
                blocks = overview_blocks(one.name, one.store, one.listing, one.checkpoints, Links(self._root, number))
                return blocks_html([*_problem(one), *blocks])

            return one.page("", made)

        def make() -> str:
            return "".join(part(number, one) for number, one in enumerate(self._stores.held))

        return self._page("Milepost", blocks_html([Heading("Runs", 1)]) + await self._stores.run(make))

    def of(self, name: str, make: Blocks) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers one kind of page of a store."""

        async def answer(request: Request) -> Response:
            number = int(request.path_params["store"])
            if number >= len(self._stores.held):
                return await self.missing(request)
            one = self._stores.held[number]
            links = Links(self._root, number)

            def page() -> str:
                return blocks_html([*_problem(one), *make(one, _asked(request), links)])

            try:
                inside = await self._stores.run(lambda: one.page(f"{name}?{request.url.query}", page))
            except UsageError as error:
                return self._page("Not found", blocks_html(_sorry(str(error))), status=404)
            except (MilepostError, OSError) as error:
                return self._page("Cannot be read", blocks_html(_sorry(str(error))), status=503)
            return self._page(f"{name} - {one.name}", inside)

        return answer

    async def missing(self, _: Request, __: Exception | None = None) -> Response:
        """Say that there is no such page."""
        return self._page("Not found", blocks_html(_sorry("There is no such page.")), status=404)

    async def metrics(self, _: Request) -> Response:
        """Give every value to a monitor."""

        def make() -> tuple[str, str]:
            return self._metrics(record for one in self._stores.held for record in one.listing.records())

        held, kind = await self._stores.run(make)
        return Response(held, media_type=kind)

    async def static(self, request: Request) -> Response:
        """Give a part of the pages: the sheet, the script."""
        name = request.path_params["name"]
        if name not in _PARTS:
            return PlainTextResponse("no such part\n", status_code=404)
        held = sheet() if name == "page.css" else (files("milepost.report.server") / name).read_text("utf-8")
        return Response(held, media_type=_PARTS[name])

    async def events(self, request: Request) -> Response:
        """Say the version at once, and each new one; a comment now and then keeps the line open."""
        changed = asyncio.Event()
        end = self._stores.listen(changed.set)

        async def lines() -> AsyncIterator[str]:
            try:
                yield f"retry: 2000\ndata: {self._stores.version}\n\n"
                while not await request.is_disconnected():
                    try:
                        await asyncio.wait_for(changed.wait(), _BEAT)
                    except TimeoutError:
                        yield ": still here\n\n"
                        continue
                    await asyncio.sleep(_QUIET)
                    changed.clear()
                    yield f"data: {self._stores.version}\n\n"
            finally:
                end()

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    def _page(self, title: str, inside: str, status: int = 200) -> Response:
        root = text(self._root)
        head = (
            "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
            f"<title>{text(printable(title))}</title><link rel='icon' href='{root}/static/icon.svg'>"
            f"<link rel='stylesheet' href='{root}/static/page.css'><script src='{root}/static/app.js' defer></script>"
        )
        pages = "".join(
            f"<a href='{root}/{number}/{page}'>{page}{f' ({text(one.name)})' * (len(self._stores.held) > 1)}</a>"
            for number, one in enumerate(self._stores.held)
            for page in ("compare", "failures")
        )
        return HTMLResponse(
            f"<!doctype html>\n<html lang='en' data-version='{self._stores.version}' data-events='{root}/events'>"
            f"<head>{head}</head><body><a class='skip' href='#main'>to the content</a>"
            f"<header><nav aria-label='pages'><a class='home' href='{root}/'>Milepost</a>{pages}"
            f"<span class='live' id='live' role='status'></span></nav></header>"
            f"<main id='main'>\n{inside}</main></body></html>\n",
            status_code=status,
        )


def _run(one: OpenStore, asked: Mapping[str, str], links: Links) -> Iterable[Block]:
    request = RunAsked(asked.get("run", ""), asked.get("data"), asked.get("part", "all"))
    return run_blocks(one.store, one.listing, one.checkpoints, request, links)


def _checkpoint(one: OpenStore, asked: Mapping[str, str], links: Links) -> Iterable[Block]:
    digest, variant = asked.get("digest", ""), asked.get("variant", "raw")
    found = (row for row in one.checkpoints if row["digest"] == digest and str(row["variant"]) == variant)
    row = next(found, None)
    if row is None:
        raise UsageError(f"no checkpoint with the digest {digest[:12]!r} and the variant {variant!r} in this store")
    label = one.labels.of(row)
    run = str(row["run"])
    yield Choice("run", [PageCell(printable(run), links.run(run)), PageCell("compare", links.compare(a=label))])
    yield from checkpoint_blocks(one.store, one.listing, row, one.labels, level=1)


def _compare(one: OpenStore, asked: Mapping[str, str], _: Links) -> Iterable[Block]:
    metric = asked.get("metric") or "top1"
    request = CompareAsked(asked.get("a"), asked.get("b"), metric, asked.get("data"), asked.get("part") or "all")
    return compare_blocks(one.store, one.listing, one.checkpoints, request, one.labels)


def _failures(one: OpenStore, _: Mapping[str, str], __: Links) -> Iterable[Block]:
    found = list(failures_blocks(one.checkpoints, level=1))
    return found or [Heading("Failures", 1), Paragraph("Nothing failed.", "good")]


_PAGES: dict[str, Blocks] = {
    "run": _run,
    "checkpoint": _checkpoint,
    "compare": _compare,
    "failures": _failures,
}


def _asked(request: Request) -> dict[str, str]:
    """Return what an address asks, the first of each name; bytes that are no UTF-8 come back as they were."""
    return dict(reversed(request.query_params.multi_items()))


def _problem(one: OpenStore) -> list[Block]:
    if not one.problem:
        return []
    return [Paragraph(printable(f"{one.name} cannot be read, and this is what it held before: {one.problem}"), "bad")]


def _sorry(message: str) -> list[Block]:
    return [Heading("Sorry", 1), *(Paragraph(printable(line), "bad") for line in message.splitlines())]
