"""Check the house's limits: sizes of files, functions, classes and of the package; one class a name; true seams.

A function's docstring does not count, nor do a dataclass's fields.  Compat is excepted from the limit on parameters:
the ancestors' signatures are as they are.  Prints one line a breach.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60
PARAMETERS = 8
CLASS_LINES = 250
MEMBERS = 15
ROOMS = 22
LOOSE = 4
ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "scripts", "benchmarks", "examples")
FREE_SIGNATURES = "src/milepost/compat/"
SEAMS = ("src/milepost/core/protocols.py", "src/milepost/core/sessions.py")
# The helper itself, and the contract suites, which judge what they are handed.
MAY_PROBE = ("src/milepost/core/capabilities.py", "src/milepost/testing/")
# What a seam's object is called: whether it has a member is for the helper to say.  Others' objects may be asked.
SEAMED = re.compile(r"_?(model|metric|task|source|form|format|session|engine|evaluator|export)")

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
        elif isinstance(node, ast.ClassDef):
            yield from _class(path, node)


def _function(path: str, node: Function) -> Iterator[str]:
    where = f"{path}:{node.lineno}: {node.name}"
    length = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
    if length > FUNCTION_LINES:
        yield f"{where} has {length} lines, at most {FUNCTION_LINES}"
    count = len(_parameters(node))
    if count > PARAMETERS and not path.startswith(FREE_SIGNATURES):
        yield f"{where} has {count} parameters, at most {PARAMETERS}"


def _class(path: str, node: ast.ClassDef) -> Iterator[str]:
    where = f"{path}:{node.lineno}: {node.name}"
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > CLASS_LINES:
        yield f"{where} has {length} lines, at most {CLASS_LINES}"
    members = {item.name for item in node.body if isinstance(item, Function)}
    if not any("Enum" in ast.unparse(base) for base in node.bases):  # members of an enumeration are values
        members |= {name.id for item in node.body if isinstance(item, ast.Assign) for name in _names(item)}
    public = sorted(name for name in members if not name.startswith("_"))
    if len(public) > MEMBERS and path.startswith("src/"):
        yield f"{where} has {len(public)} public members, at most {MEMBERS}: {', '.join(public)}"


def _names(node: ast.Assign) -> list[ast.Name]:
    return [target for target in node.targets if isinstance(target, ast.Name)]


def house(texts: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for what the package's files are only together: too many, of one name, or blind to a seam."""
    below = {path.split("/")[2] for path in texts if path.startswith("src/milepost/")}
    loose = sorted(name for name in below if name.endswith(".py") and name != "__init__.py")
    rooms = sorted(name for name in below if not name.endswith(".py"))
    for names, most, what in ((rooms, ROOMS, "rooms"), (loose, LOOSE, "loose modules")):
        if len(names) > most:
            yield f"src/milepost: {len(names)} {what}, at most {most}: {', '.join(names)}"
    trees = {path: ast.parse(text, path) for path, text in texts.items() if path.startswith("src/")}
    first: dict[str, str] = {}
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (known := first.setdefault(node.name, path)) != path:
                yield f"{path}:{node.lineno}: {known} has a class {node.name} too: give one of them another name"
    members = {name for seam in SEAMS for name in _members(trees.get(seam, ast.Module([], [])))}
    for path, tree in trees.items():
        if not path.startswith(MAY_PROBE):
            yield from (f"{path}:{line}" for line in _probes(tree, members))


def _members(tree: ast.Module) -> Iterator[str]:
    for protocol in tree.body:
        for item in protocol.body if isinstance(protocol, ast.ClassDef) else ():
            if isinstance(item, Function):
                yield item.name
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                yield item.target.id


def _probes(tree: ast.Module, members: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("getattr" | "hasattr" as how), [asked, ast.Constant(str(member)), *_]):
                name = ast.unparse(asked).rpartition(".")[2]
                if member in members and SEAMED.fullmatch(name):
                    yield f"{node.lineno}: {how} looks for {member!r} of a {name}: ask core.capabilities"


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
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    found = [line for path, text in texts.items() for line in breaches(path, text)]
    found += house(texts)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
