"""Which statements of a module run where: those of its main block, and the first that may read something."""

import ast
from collections.abc import Iterator

_MAIN = "__main__"
_VARIABLES = "os.environ"
_HARMLESS = frozenset(
    {
        *("Path", "pathlib.Path", "os.path.join", "os.path.dirname", "os.path.abspath", "os.path.realpath"),
        *("sys.path.insert", "sys.path.append", "logging.getLogger", "logging.basicConfig"),
        *("warnings.filterwarnings", "warnings.simplefilter", "random.seed", "np.random.seed", "numpy.random.seed"),
        *("np.random.default_rng", "numpy.random.default_rng", "torch.manual_seed", "torch.set_num_threads"),
        *("torch.no_grad", "torch.inference_mode", "dataclass", "field", "dataclasses.dataclass", "dataclasses.field"),
        *("TypeVar", "typing.TypeVar"),
    }
)
"""Calls that read no file and no variable that could decide a result."""

_HARMLESS_METHODS = frozenset({"resolve", "absolute", "with_name", "with_suffix", "joinpath"})
_ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb"})


def main_blocks(tree: ast.Module) -> list[tuple[int, int]]:
    r"""Return the first and last line of every block of a module that runs only where it is `__main__`.

    >>> main_blocks(ast.parse("import a\nif __name__ == '__main__':\n    a.run()\n    a.stop()\n"))
    [(3, 4)]
    """
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and _asks_for_main(node.test)]
    return [(body[0].lineno, body[-1].end_lineno or body[-1].lineno) for body in blocks]


def _asks_for_main(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(map(_asks_for_main, test.values))
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = [test.left, test.comparators[0]]
    named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    return named and any(isinstance(side, ast.Constant) and side.value == _MAIN for side in sides)


def acts_from(tree: ast.Module) -> int | None:
    r"""Return the line of the first statement that may read a file or a variable; None where none does.

    Imports may not: what they run is looked at by itself.

    >>> acts_from(ast.parse("import json\nHERE = Path(__file__).parent\nM = json.load(open('a.json'))\n"))
    3
    """
    return next((_line(node) for node in tree.body if not all(map(_is_inert, _run(node)))), None)


def _line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(item.lineno for item in decorators)])


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when a statement does: not the bodies of functions."""
    waiting = [node]
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*item.decorator_list, *item.args.defaults, *filter(None, item.args.kw_defaults)]
        elif isinstance(item, ast.Lambda):
            waiting += [*item.args.defaults, *filter(None, item.args.kw_defaults)]
        elif isinstance(item, ast.Subscript) and isinstance(item.ctx, ast.Store) and _dotted(item.value) == _VARIABLES:
            waiting.append(item.slice)  # a variable is set, and none is read
        else:
            waiting += ast.iter_child_nodes(item)


def _is_inert(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in _HARMLESS_METHODS:
            return True
        return _dotted(node.func) in _HARMLESS
    if isinstance(node, ast.Name):
        return node.id not in _ENVIRONMENT
    if isinstance(node, ast.Attribute):
        return node.attr not in _ENVIRONMENT
    # Decorators that are no calls, loops over what may be a file, `with`: none of them is looked into.
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return all(isinstance(item, ast.Call) or _dotted(item) in _HARMLESS | _PLAIN for item in node.decorator_list)
    return not isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.With | ast.AsyncWith | ast.comprehension)


_PLAIN = frozenset({"property", "staticmethod", "classmethod", "cache", "functools.cache", "functools.wraps"})


def _dotted(node: ast.expr) -> str:
    """Return `a.b.c` of names and attributes; "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""
