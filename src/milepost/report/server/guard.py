"""Who may ask the dashboard: a browser on this machine, or one that knows the token; never a page of another site.

Against DNS rebinding the Host must be a loopback name or one that the user allowed; against requests that another
site's page makes, Origin and Sec-Fetch-Site are checked.  Only GET and HEAD are answered: nothing can be changed here.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "milepost-token"
_LONGEST = 4096
"""Most bytes of a path with its query; no address of ours is nearly as long."""
_LOG = logging.getLogger("milepost.serve")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs: a Host among loopback's and `hosts`, and `token` in a cookie, unless that is "".

    Loopback names pass at any port: a forwarded one is another.
    """

    hosts: frozenset[str] = frozenset()
    token: str = ""


class Guard:
    """Wraps an application: refuses what may not ask, and puts the headers of a careful page on every answer."""

    def __init__(self, application: Application, access: Access) -> None:
        self._application = application
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        refused = self._refused(scope, headers)
        if refused is not None:
            status, why = refused
            _LOG.warning("refused: %s %.200r: %s", scope["method"], scope["path"], why)
            await _answer(send, status, f"{why}\n")
            return
        given = _token_in_query(scope)
        if given is not None and self._access.token:
            await self._take_token(scope, given, send)
            return
        await self._application(scope, receive, _careful(send))

    def _refused(self, scope: Scope, headers: list[tuple[str, str]]) -> tuple[int, str] | None:
        """Return status and reason where a request is refused."""
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "only GET and HEAD: the dashboard only reads"
        if len(scope["path"]) + len(scope.get("query_string", b"")) > _LONGEST:
            return 414, "the address is too long"
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 421, "unknown host: start `milepost serve` with --allowed-host NAME to be reached by this name"
        held: Mapping[str, str] = dict(headers)
        origin = held.get("origin")
        if origin is not None and not (urlsplit(origin).netloc and self._is_ours(urlsplit(origin).netloc)):
            return 403, "a page of another site may not ask"
        navigation = held.get("sec-fetch-mode") == "navigate" and held.get("sec-fetch-dest") == "document"
        if held.get("sec-fetch-site") == "cross-site" and not navigation:
            return 403, "a page of another site may not ask"
        if self._access.token and _token_in_query(scope) is None and not self._knows(_cookie(headers)):
            return 401, "the token is missing: open the address that `milepost serve` printed"
        return None

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return name.lower() in LOOPBACK or name.lower() in self._access.hosts

    def _knows(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self._access.token.encode())

    async def _take_token(self, scope: Scope, token: str, send: Send) -> None:
        """Turn a right token of the address into a cookie, and send the browser on to the address without it."""
        if not self._knows(token):
            _LOG.warning("refused: a wrong token")
            await _answer(send, 401, "the token is wrong: open the address that `milepost serve` printed\n")
            return
        place = f"{scope.get('root_path', '')}/"
        cookie = f"{COOKIE}={self._access.token}; HttpOnly; SameSite=Strict; Path={place}"
        await _answer(send, 303, "", {"location": place, "set-cookie": cookie})


def _token_in_query(scope: Scope) -> str | None:
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=None)
    return next(iter(query.get("token", [])), None)


def _cookie(headers: Iterable[tuple[str, str]]) -> str | None:
    for name, value in headers:
        if name == "cookie":
            try:
                found = SimpleCookie(value).get(COOKIE)
            except CookieError:
                continue
            if found is not None:
                return str(found.value)
    return None


def _careful(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message["headers"]}
            more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in known]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sent


async def _answer(send: Send, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
    head = {"content-type": "text/plain; charset=utf-8", **_HEADERS, **(headers or {})}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": text.encode()})
