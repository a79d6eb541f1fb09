"""The dashboard's pages over a real store: every link works, every name is text, a change reaches an open page."""

import asyncio
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests._material import checkpoints, evaluation_of, go
from tests.report.server.conftest import HOSTILE

from milepost.exports.openmetrics import openmetrics
from milepost.metrics.cross_entropy import CrossEntropy
from milepost.report.server.app import application
from milepost.report.server.guard import Access, Guard
from milepost.report.server.stores import OpenStores
from milepost.store.store import Store


class Shown(HTMLParser):
    """The links of a page, its elements, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.harm: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.harm += [f"{tag} {name}" for name, _ in attrs if name.startswith("on") or name == "style"]
        self.links += [str(value) for name, value in attrs if name in {"href", "src", "action"}]

    def handle_data(self, data: str) -> None:
        self.words += data


def client_of(*places: Path, root: str = "") -> TestClient:
    stores = OpenStores([Store.open(place) for place in places])
    guarded = Guard(application(stores, openmetrics, root), Access())
    return TestClient(guarded, base_url="http://127.0.0.1:7654", raise_server_exceptions=True)


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    with client_of(place) as held:
        yield held


def crawled(client: TestClient, first: str = "/") -> dict[str, str]:
    """Return every page that links lead to, by address."""
    found: dict[str, str] = {}
    waiting = [first]
    while waiting:
        address = waiting.pop()
        if address in found or address.startswith("#") or "static" in address:
            continue
        answer = client.get(address)
        assert answer.status_code == 200, address
        found[address] = answer.text
        waiting += [link for link in Shown(answer.text).links if link.startswith("/")]
    return found


def test_every_link_leads_to_a_page_and_no_name_is_markup(client: TestClient) -> None:
    pages = crawled(client)
    kinds = {re.sub(r"\?.*", "", address) for address in pages}
    assert kinds == {"/", "/0/run", "/0/checkpoint", "/0/compare", "/0/failures"}
    assert len(pages) > 10
    for address, text in pages.items():
        shown = Shown(text)
        assert not shown.harm, address
        assert shown.tags.count("script") == 1, address
        assert "img" not in shown.tags, address
        assert not [link for link in shown.links if link.startswith(("http", "//", "data:", "javascript"))], address
    everything = " ".join(Shown(text).words for text in pages.values())
    assert HOSTILE in everything
    assert "<script>3" in everything


def test_the_pages_say_the_values_of_the_store(client: TestClient, place: Path) -> None:
    pages = crawled(client)
    words = " ".join(Shown(text).words for text in pages.values())
    for record in Store.open(place).listing().records(slices=None):
        if record["estimator"] == "exact" and record.get("headline") is not False and record["value"] is not None:
            assert f"{record['value']:.3f}" in words


@pytest.mark.parametrize(
    "address",
    [
        "/nothing",
        "/1/run?run=lenet",
        "/0/run?run=no",
        "/0/run",
        "/0/run?run=lenet&data=no",
        "/0/checkpoint?digest=../../etc/passwd",
        "/0/checkpoint",
        "/static/../../app.py",
        "/static/..%2f..%2fapp.py",
        "/static/app.py",
        "/99999999999999999999/run",
        "/0/run?run=%ff%00",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "def " not in answer.text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "Name two checkpoints"),
        ("?a=lenet:100&b=lenet:900", "top1 on test"),
        ("?a=lenet:100&b=nothing", "no checkpoint is at"),
        ("?a=lenet:100&b=lenet:900&metric=nothing", "no value"),
        ("?a=lenet:100&b=lenet:900&metric=calibration_error", "is no mean over rows"),
        (f"?a={HOSTILE}&b=1", "no checkpoint is at"),
    ],
)
def test_compare_answers_what_is_asked_of_it(client: TestClient, query: str, words: str) -> None:
    answer = client.get(f"/0/compare{query}")
    assert answer.status_code == 200
    assert words in Shown(answer.text).words
    assert "img" not in Shown(answer.text).tags


def test_a_monitor_reads_every_value(client: TestClient) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert answer.text.count("milepost_value{") > 20


def test_behind_a_proxy_every_address_begins_where_the_proxy_says(place: Path) -> None:
    with client_of(place, root="/user/me/proxy/7654") as client:
        links = Shown(client.get("/").text).links
        assert all(link.startswith(("/user/me/proxy/7654/", "#")) for link in links)


def test_several_stores_have_pages_of_their_own(place: Path, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "empty")
    with client_of(place, Path(other.path)) as client:
        words = Shown(client.get("/").text).words
        assert "This store is empty" in words
        assert client.get("/1/failures").status_code == 200


def test_a_new_result_reaches_the_pages_and_those_who_listen(tmp_path: Path) -> None:
    runs = checkpoints(tmp_path / "lenet", 100)
    go(evaluation_of(), runs, store=tmp_path / "evals")
    stores = OpenStores([Store.open(tmp_path / "evals")])
    received: list[str] = []
    end = stores.listen(lambda: received.append("changed"))
    asyncio.run(stores.look())
    assert not received
    checkpoints(tmp_path / "lenet", 900)
    go(evaluation_of(), runs, store=tmp_path / "evals")
    asyncio.run(stores.look())
    assert len(received) == 1
    assert {row["step"] for row in stores.held[0].checkpoints} == {100, 900}
    end()


def test_a_new_result_is_not_missed_where_a_page_took_it_in_first(tmp_path: Path) -> None:
    runs = checkpoints(tmp_path / "lenet", 100)
    go(evaluation_of(), runs, store=tmp_path / "evals")
    stores = OpenStores([Store.open(tmp_path / "evals")])
    checkpoints(tmp_path / "lenet", 900)
    go(evaluation_of(), runs, store=tmp_path / "evals")
    asyncio.run(stores.run(stores.held[0].store.listing))
    asyncio.run(stores.look())
    assert stores.version == 1
    assert {row["step"] for row in stores.held[0].checkpoints} == {100, 900}
    asyncio.run(stores.look())
    assert stores.version == 1


def test_the_best_on_the_overview_is_that_of_the_metric_whichever_way_is_better(tmp_path: Path) -> None:
    go(evaluation_of(metrics=[CrossEntropy()]), checkpoints(tmp_path / "lenet", 100, 900), store=tmp_path / "evals")
    records = Store.open(tmp_path / "evals").listing().records(metric="cross_entropy")
    best = min((one for one in records if one["estimator"] == "exact"), key=lambda one: float(one["value"]))
    stores = OpenStores([Store.open(tmp_path / "evals")])
    with TestClient(Guard(application(stores, openmetrics), Access()), base_url="http://localhost") as client:
        cells = re.findall(r"<td[^>]*>(.*?)</td>", client.get("/").text)
    assert cells[5] == str(best["checkpoint"]["step"])


def test_a_store_that_went_away_keeps_what_it_showed(tmp_path: Path) -> None:
    go(evaluation_of(), checkpoints(tmp_path / "lenet", 100), store=tmp_path / "evals")
    stores = OpenStores([Store.open(tmp_path / "evals")])
    (tmp_path / "evals").rename(tmp_path / "elsewhere")
    asyncio.run(stores.look())
    with TestClient(Guard(application(stores, openmetrics), Access()), base_url="http://localhost") as client:
        assert client.get("/").status_code == 200
        assert [row["step"] for row in stores.held[0].checkpoints] == [100]
        assert "cannot be read, and this is what it held before" in Shown(client.get("/").text).words
        (tmp_path / "elsewhere").rename(tmp_path / "evals")
        asyncio.run(stores.look())
        assert not stores.held[0].problem


def test_events_begin_with_the_version(place: Path) -> None:
    stores = OpenStores([Store.open(place)])
    served = Guard(application(stores, openmetrics), Access())

    async def first_words() -> str:
        gone = asyncio.Event()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                gone.set()

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"", "http_version": "1.1"}
        scope |= {"headers": [(b"host", b"localhost")], "scheme": "http", "server": ("localhost", 80), "root_path": ""}
        await asyncio.wait_for(served({**scope, "client": ("127.0.0.1", 1)}, receive, send), 30)
        return b"".join(message.get("body", b"") for message in sent).decode()

    assert f"data: {stores.version}\n\n" in asyncio.run(first_words())
