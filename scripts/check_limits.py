"""Check the size limits: a file at most 400 lines, a function at most 60 without its docstring, 8 parameters at most.

Compat is excepted from the limit on parameters: the ancestors' signatures are as they are.  Prints one line a breach.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 8
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "scripts", "benchmarks", "examples")
FREE_SIGNATURES = "src/milepost/compat/"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def breaches(path: str, text: str) -> Iterator[str]:
    """Yield a line for everything in a source text that is too long."""
    lines = len(text.splitlines())
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, at most {FILE_LINES}: split it where its second idea begins"
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        yield f"{path}:{error.lineno}: is not Python: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield from _function(path, node)


def _function(path: str, node: Function) -> Iterator[str]:
    where = f"{path}:{node.lineno}: {node.name}"
    length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
    if length > FUNCTION_LINES:
        yield f"{where} has {length} lines, at most {FUNCTION_LINES}"
    count = len(_parameters(node))
    if count > PARAMETERS and not path.startswith(FREE_SIGNATURES):
        yield f"{where} has {count} parameters, at most {PARAMETERS}"


def _docstring_lines(node: Function) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return 0
    return (first.end_lineno or first.lineno) - first.lineno + 1


def _parameters(node: Function) -> list[str]:
    names = [item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def main() -> int:
    """Check every Python file of the project; return 1 where one is over a limit."""
    found: list[str] = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += breaches(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
