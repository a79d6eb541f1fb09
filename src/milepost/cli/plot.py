"""Draw a figure of a store: milepost plot curve --metric top1 -o curve.svg.

NAME is curve, gap, confusion, classes, reliability, compare or flips; the last two take two checkpoints, A and B, the
three before them one (default: the best).  The end of FILE says the kind: svg needs nothing; png, pdf and others need
`pip install 'milepost[plot]'`.  Without -o the figure is text.
"""

import argparse
import os
import shutil

from milepost._internal.targets import text_target
from milepost.cli._arguments import add_shared
from milepost.cli._store import open_store
from milepost.cli._streams import to_stderr
from milepost.core.escaping import escaped
from milepost.errors import UsageError
from milepost.registry import files, load

_TEXT = ("", "txt")
_LEAST_WIDTH = 40


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=", ".join(files("report.figures")))
    parser.add_argument("addresses", metavar="CKPT", nargs="*", help="the checkpoint, or the two to compare")
    parser.add_argument("-o", "--output", metavar="FILE", help="an .svg, .png, .pdf or .txt file (default: text here)")
    parser.add_argument("--metric", metavar="NAME", help="a value such as top1 (default: the table's first)")
    add_shared(parser, "run", "variant", "data", "slice", "store")


def execute(args: argparse.Namespace) -> int:
    from milepost.report.figures._request import Figure, FigureRequest  # noqa: PLC0415 - the help needs no NumPy

    kind: type[Figure] = load("report.figures", args.name)
    least, most = kind.needs
    if not least <= len(args.addresses) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}"
        raise UsageError(f"plot {args.name}: expected {wanted} checkpoints, found {len(args.addresses)}")
    if args.metric and not kind.takes_metric:
        raise UsageError(f"plot {args.name}: shows one thing, and takes no --metric {args.metric}")
    asked = FigureRequest(args.metric, args.data, args.run, args.variant, args.slice, tuple(args.addresses))
    chart = kind.of(open_store(args.store), asked).chart()
    ending = os.path.splitext(args.output or "")[1].lstrip(".").lower()
    if ending in _TEXT:
        from milepost.report.chart.text import text_lines  # noqa: PLC0415 - the one medium that is asked for

        width = max(_LEAST_WIDTH, shutil.get_terminal_size().columns) if args.output is None else 100
        text = "".join(f"{line}\n" for line in text_lines(chart, width))
    elif ending == "svg":
        from milepost.report.chart.svg import svg  # noqa: PLC0415 - the one medium that is asked for

        text = svg(chart) + "\n"
    else:
        from milepost.report.chart.pyplot import save  # noqa: PLC0415 - the one medium that is asked for

        save(chart, args.output, ending)
        text = ""
    if text:
        with text_target(args.output or "-") as stream:
            stream.write(text)
    if args.output:
        to_stderr(f"wrote {escaped(args.output)}")
    return 0
