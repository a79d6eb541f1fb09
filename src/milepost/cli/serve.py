"""Show stores in a browser, live while runs and watches go on: milepost serve, then open the address that it prints.

Pages are for this machine alone unless --host says otherwise, which needs --token and the names by which it is reached
(--allowed-host).  It only reads: nothing can be changed or opened through it.  Through `ssh -L` any port will do.
"""

import argparse
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress

from milepost.cli._arguments import STORE, positive
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.errors import UsageError

_PORT = 7654
_PARTING = 1
"""Seconds that open pages have to end when the server does."""
_ALONE = ("127.0.0.1", "localhost", "::1")


def add(parser: argparse.ArgumentParser) -> None:
    about = f"a store, several times too (default: ./{STORE})"
    parser.add_argument("--store", metavar="DIR", action="append", help=about)
    parser.add_argument("--port", metavar="N", type=positive, default=_PORT, help=f"default: {_PORT}")
    parser.add_argument("--host", metavar="ADDRESS", default=_ALONE[0], help="the address to listen at (this machine)")
    parser.add_argument("--token", action="store_true", help="ask for a token, as on a machine that others use too")
    parser.add_argument(
        "--allowed-host", metavar="NAME", action="append", default=[], help="a name by which browsers reach it"
    )
    parser.add_argument("--root-path", metavar="PATH", default="", help="where a proxy shows it, such as /proxy/7654")


def execute(args: argparse.Namespace) -> int:
    import uvicorn  # noqa: PLC0415 - the help needs no server

    from milepost.exports.openmetrics import openmetrics  # noqa: PLC0415 - the same
    from milepost.report.server.app import application  # noqa: PLC0415 - the same
    from milepost.report.server.guard import Access, Guard  # noqa: PLC0415 - the same
    from milepost.report.server.stores import OpenStores  # noqa: PLC0415 - the same

    _check(args.host, args.allowed_host, token=args.token)
    root = args.root_path.rstrip("/")
    if root and not root.startswith("/"):
        raise UsageError(f"--root-path {args.root_path}: expected a path that begins with /, such as /proxy/7654")
    stores = OpenStores([open_store(path) for path in args.store or [STORE]])
    token = secrets.token_urlsafe(24) if args.token else ""
    guarded = Guard(application(stores, openmetrics, root), Access(frozenset(map(str.lower, args.allowed_host)), token))
    # An open page listens for as long as it is open: when the server ends it is not waited for.
    config = uvicorn.Config(guarded, log_config=None, access_log=False, timeout_graceful_shutdown=_PARTING)
    server = uvicorn.Server(config)
    with _listening(args.host, args.port) as listening:
        where = f"[{args.host}]" if ":" in args.host else args.host
        address = f"http://{where}:{args.port}/" + (f"?token={token}" if token else "")
        to_stderr(f"milepost: {address}  (Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise a UsageError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"port {port} of {host} cannot be had ({why}); name another with --port") from None


def _check(host: str, allowed: Sequence[str], *, token: bool) -> None:
    """Raise a UsageError where others could reach the pages without a token."""
    if host not in _ALONE and not (token and allowed):
        raise UsageError(
            f"--host {host}: others could read the stores; add --token, and --allowed-host NAME for the name by which "
            "their browsers reach this machine; or keep to this machine, and come by `ssh -L`"
        )
