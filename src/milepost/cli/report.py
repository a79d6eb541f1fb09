"""Write a report on a store: milepost report -o report.html, one file that works offline and prints well.

It has the curves, the best of each data set and what is tied with it, a row for each checkpoint, failures with what to
do, and the best, the newest and the tied checkpoints in full.  --markdown writes it for a pull request, with curves as
text; without -o it goes to standard output.
"""

import argparse
import os

from milepost._internal.targets import text_target
from milepost.cli._arguments import add_shared
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.errors import UsageError

_PAGES = 10


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", default="-", help="a file (default: standard output)")
    parser.add_argument("--markdown", action="store_true", help="Markdown instead of HTML")
    parser.add_argument(
        "--pages", metavar="N", type=int, default=_PAGES, help=f"describe N checkpoints in full (default: {_PAGES})"
    )
    add_shared(parser, "run", "store")


def execute(args: argparse.Namespace) -> int:
    from milepost.report.pages.html_page import page_html  # noqa: PLC0415 - the same
    from milepost.report.pages.markdown import page_markdown  # noqa: PLC0415 - the same
    from milepost.report.pages.report_page import report_page  # noqa: PLC0415 - the same

    known = (".md", ".markdown", ".txt") if args.markdown else (".html", ".htm")
    ending = os.path.splitext(args.output)[1].lower()
    if args.output != "-" and ending not in (*known, ""):
        kind = "Markdown" if args.markdown else "HTML; a browser prints it as PDF"
        raise UsageError(f"-o {args.output}: the report is {kind}: name a file that ends in {known[0]}")
    page = report_page(open_store(args.store), args.run, max(0, args.pages))
    text = page_markdown(page) if args.markdown else page_html(page)
    with text_target(args.output) as stream:
        stream.write(text)
    if args.output != "-":
        to_stderr(f"wrote {escaped(args.output)}, {len(text.encode()):,} bytes")
    return 0
