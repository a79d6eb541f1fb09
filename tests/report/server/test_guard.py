"""Who may ask: attacks by name, by site, by method, by path and by guessing are refused, and nothing answers 500."""

import asyncio
import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.report.server.guard import COOKIE, Access, Guard


async def inner(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"inside"})


def ask(
    headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
    method: str = "GET",
    path: str = "/",
    query: str = "",
    access: Access | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one request."""
    given = {"host": "127.0.0.1:7654"} if headers is None else headers
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(Guard(inner, access or Access())(scope, receive, send))
    head = {name.decode("latin-1"): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, sent[1]["body"]


LOCAL = {"host": "localhost:8000"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7654", "localhost:1", "LOCALHOST", "[::1]:7654", "[::1]"])
def test_loopback_names_pass_at_any_port(host: str) -> None:
    assert ask({"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "0.0.0.0:7654", "a@localhost"]
)
def test_other_names_are_refused(host: str) -> None:
    status, _, body = ask({"host": host})
    assert status == 421
    assert b"--allowed-host" in body


def test_an_allowed_name_passes_and_no_other() -> None:
    access = Access(frozenset({"gpu7.lab"}))
    assert ask({"host": "gpu7.lab:7654"}, access=access)[0] == 200
    assert ask({"host": "gpu7.lab.evil.example"}, access=access)[0] == 421


def test_no_host_and_two_hosts_are_refused() -> None:
    assert ask({})[0] == 421
    assert ask([("host", "localhost"), ("host", "evil.example")])[0] == 421
    assert ask([("host", "evil.example"), ("Host", "localhost")])[0] == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil", "file://", "http://"])
def test_another_sites_origin_is_refused(origin: str) -> None:
    assert ask({**LOCAL, "origin": origin})[0] == 403


def test_ones_own_origin_passes() -> None:
    assert ask({**LOCAL, "origin": "http://localhost:8000"})[0] == 200


def test_a_cross_site_fetch_is_refused_and_a_link_that_is_followed_is_not() -> None:
    for mode, kind, status in (("no-cors", "image", 403), ("navigate", "iframe", 403), ("navigate", "document", 200)):
        fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": kind}
        assert ask({**LOCAL, **fetched})[0] == status
    assert ask({**LOCAL, "sec-fetch-site": "same-origin"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_nothing_can_be_changed(method: str) -> None:
    assert ask(method=method)[0] == 405


def test_an_oversized_address_is_refused() -> None:
    assert ask(path="/" + "a" * 5000)[0] == 414
    assert ask(query="a=" + "b" * 5000)[0] == 414


def test_every_answer_has_the_headers_of_a_careful_page() -> None:
    for status, head, _ in (ask(), ask({"host": "evil.example"}), ask(method="POST")):
        assert status
        policy = head["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert head["x-content-type-options"] == "nosniff"
        assert head["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in head


WORDS = "a-token-that-is-long"
TOKEN = Access(frozenset(), WORDS)


def test_without_the_token_nothing_is_shown() -> None:
    assert ask(access=TOKEN)[0] == 401
    assert ask({**LOCAL, "cookie": f"{COOKIE}=wrong"}, access=TOKEN)[0] == 401
    assert ask({**LOCAL, "cookie": "\x00;;=;"}, access=TOKEN)[0] == 401


def test_the_token_of_the_address_becomes_a_cookie_and_leaves_the_address() -> None:
    status, head, _ = ask(query="token=a-token-that-is-long", access=TOKEN)
    assert (status, head["location"]) == (303, "/")
    assert "HttpOnly" in head["set-cookie"]
    assert "SameSite=Strict" in head["set-cookie"]
    cookie = head["set-cookie"].partition(";")[0]
    assert ask({**LOCAL, "cookie": cookie}, access=TOKEN)[0] == 200


@given(st.text(alphabet=string.printable, max_size=40))
def test_a_guess_is_refused(guess: str) -> None:
    if guess != TOKEN.token:
        assert ask(query=f"token={guess}", access=TOKEN)[0] in (401, 414)


def test_a_token_is_no_way_around_the_host() -> None:
    assert ask({"host": "evil.example"}, query="token=a-token-that-is-long", access=TOKEN)[0] == 421


@given(
    st.lists(st.tuples(st.text("abcdeghost-:", min_size=1, max_size=12), st.text("\x00\x7f\xffa;=:/[]@", max_size=20))),
    st.text("/.%\\\x00a0\xff", max_size=40),
    st.text("token=&%\xff", max_size=40),
)
def test_no_malformed_request_is_an_error_of_ours(headers: list[tuple[str, str]], path: str, query: str) -> None:
    for access in (Access(), TOKEN):
        assert ask([*headers, ("host", "localhost")], path=path, query=query, access=access)[0] < 500
