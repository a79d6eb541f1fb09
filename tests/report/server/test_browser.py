"""The dashboard in a real browser, from a real server: no complaint of its console, live, and at every width."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests._material import checkpoints, evaluation_of, go
from tests.report.server._browser import BROWSER, Browser
from tests.report.server.awkward import awkward, empty, lonely, thousand_classes

pytestmark = [pytest.mark.wide, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]
COMMAND = "import sys; from milepost.cli import main; sys.exit(main(sys.argv[1:]))"
SHOTS = os.environ.get("MILEPOST_SCREENSHOTS")


@contextmanager
def served(store: Path, *words: str) -> Iterator[str]:
    """Serve a store and yield the address that the command prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [sys.executable, "-c", COMMAND, "serve", "--store", str(store), "--port", str(port), *words]
    with subprocess.Popen(given, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("milepost: http://127.0.0.1"), line
        try:
            yield line.split()[1]
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_every_page_opens_without_a_complaint_at_every_width(place: Path, browser: Browser, tmp_path: Path) -> None:
    folder = Path(SHOTS or tmp_path)
    assert look_at_every_page(place, browser, folder / "plain", "compare?a=lenet:100&b=lenet:900") >= 20


@pytest.mark.parametrize("make", [awkward, thousand_classes, lonely, empty])
def test_stores_that_are_hard_to_show_fit_every_width(
    make: Callable[[Path], Path], browser: Browser, tmp_path: Path
) -> None:
    folder = Path(SHOTS or tmp_path) / make.__name__
    assert look_at_every_page(make(tmp_path / "made"), browser, folder, "compare") >= 12


def look_at_every_page(store: Path, browser: Browser, folder: Path, compare: str) -> int:
    """Keep pictures of every kind of page, light and dark, and return how many; fail where one is too wide."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = 0
    with served(store) as address:
        wait_for_server(browser, address)
        browser.open(address)
        pages = {"overview": address, "failures": f"{address}0/failures", "compare": f"{address}0/{compare}"}
        runs = browser.ask("[...document.querySelectorAll('td a')].map(a => a.href)")
        for place, run in enumerate(run for run in dict.fromkeys(runs) if not run.endswith("failures")):
            pages[f"run-{place}"] = run
        if "run-0" in pages:
            browser.open(pages["run-0"])
            links = browser.ask("[...document.querySelectorAll('td a')].map(a => a.href)")
            pages["checkpoint"] = next(link for link in links if "checkpoint" in link)
        for name, page in pages.items():
            browser.open(page)
            browser.until("document.getElementById('live').textContent === 'live'")
            for width in (1440, 390):
                for scheme in ("light", "dark"):
                    browser.look(width, scheme)
                    browser.picture(folder / f"{name}-{width}-{scheme}.png")
                    taken += 1
                    assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), (
                        f"{name} at {width} is too wide"
                    )
            assert browser.ask("document.querySelectorAll('h1').length") == 1, name
        assert not browser.complaints
    return taken


def test_a_new_result_appears_without_a_reload(tmp_path: Path, browser: Browser) -> None:
    runs = checkpoints(tmp_path / "lenet", 100, 200)
    go(evaluation_of(), runs, store=tmp_path / "evals")
    with served(tmp_path / "evals") as address:
        wait_for_server(browser, address)
        browser.open(address)
        browser.open(browser.ask("document.querySelector('td a').href"))
        browser.until("document.getElementById('live').textContent === 'live'")
        browser.ask("window.stillTheSame = 1; document.querySelector('details').open = true")
        assert browser.ask("document.querySelectorAll('tbody tr').length") > 2
        checkpoints(tmp_path / "lenet", 900)
        go(evaluation_of(), runs, store=tmp_path / "evals")
        browser.until("document.querySelector('main').textContent.includes('step-900')")
        assert browser.ask("window.stillTheSame") == 1
        assert browser.ask("document.querySelector('details').open")


def test_with_a_token_only_the_printed_address_opens(place: Path, browser: Browser) -> None:
    with served(place, "--token") as address:
        wait_for_server(browser, address.partition("?")[0])
        browser.open(address.partition("?")[0])
        assert "token is missing" in browser.ask("document.body.textContent")
        browser.open(address)
        browser.until("document.querySelector('h1') !== null")
        assert "token" not in browser.ask("location.href")


def wait_for_server(browser: Browser, address: str) -> None:
    """Wait until the server answers: it prints its address before it listens."""
    for _ in range(300):
        browser.call("Page.navigate", url=address)
        if not browser.ask("location.href").startswith("chrome-error"):
            break
    browser.complaints.clear()
