"""What a module's text comes to: a form that edits of comments, docstrings, layout and names of locals leave alone.

The form is taken from the compiler, without positions: a function's plain local variables are numbers in its code, so
that two texts have one form exactly where they compile to the same instructions and constants, with the same names of
everything but these locals.  Closures' variables, parameters, globals and attributes keep their names.

A name of a local is part of the form all the same where something may look it up: where any module of the evaluation
uses `locals`, `eval`, frames or the like (`introspects`), and where the name stands in a string (`words`), as in
`df.query("@limit < x")`, which pandas looks up in its caller's frame.
"""

import ast
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.evaluation.statements import acts_from, main_blocks

_WORD = re.compile(r"[^\W\d]\w*")
_TYPE_COMMENT = re.compile(rb"#\s*type:.*")
"""The one kind of comment that may decide something: torch.jit reads it."""

_LOOKS_UP = frozenset(
    {
        *("locals", "vars", "dir", "eval", "exec", "globals", "builtins", "__builtins__", "_getframe", "currentframe"),
        *("f_locals", "f_back", "stack", "trace", "getsource", "getsourcelines", "getclosurevars", "co_varnames"),
        *("__code__", "inspect", "evaluate", "query", "sql", "varname"),
    }
)
_VARIADIC = (0x04, 0x08)
"""Flags of `*args` and `**kwargs`, which are parameters too."""

_NOWHERE = {"lineno": 1, "end_lineno": 1, "col_offset": 0, "end_col_offset": 0}


@dataclass(frozen=True, slots=True)
class ModuleText:
    """A module's text, read by the compiler.

    `form`: the digest of its code without names of locals, which are `local_names`, in order.  `imports`: (module,
    names taken from it, level) of each import statement, wherever it stands.  `main_blocks` and `acts_from` are those
    of `statements`.
    """

    raw: str
    form: str
    local_names: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()
    introspects: bool = False
    imports: tuple[tuple[str, tuple[str, ...], int], ...] = ()
    main_blocks: tuple[tuple[int, int], ...] = ()
    acts_from: int | None = None

    def normalised(self, words: Collection[str] | None) -> str:
        """Return the digest of the form with those names of locals that are among `words`, or with all for None."""
        kept = [name if words is None or name in words or name.startswith("_") else "" for name in self.local_names]
        return digest([self.form, kept])[:16]


@lru_cache(maxsize=1024)
def source_of(raw: bytes) -> ModuleText:
    """Return what a text comes to; what does not compile stands for itself."""
    own = hashlib.sha256(raw).hexdigest()[:16]
    try:
        tree = ast.parse(raw)
        blocks, acts = main_blocks(tree), acts_from(tree)
        walked = _TreeWalk(tree)
        code = compile(tree, "", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        return ModuleText(own, own, acts_from=1)
    names = list[str]()
    form = [_form(code, names), [comment.decode("latin-1") for comment in _TYPE_COMMENT.findall(raw)]]
    return ModuleText(
        raw=own,
        form=digest(form)[:16],
        local_names=tuple(names),
        words=frozenset(walked.words),
        introspects=walked.introspects,
        imports=tuple(walked.imports),
        main_blocks=tuple(blocks),
        acts_from=acts,
    )


class _TreeWalk:
    """One way through a tree: takes docstrings and positions out of it, and notes imports, words and introspection."""

    def __init__(self, tree: ast.Module) -> None:
        self.words = set[str]()
        self.introspects = False
        self.imports = list[tuple[str, tuple[str, ...], int]]()
        waiting: list[ast.AST] = [tree]
        while waiting:
            node = waiting.pop()
            _drop_docstring(node)
            self._note(node)
            if hasattr(node, "lineno"):
                vars(node).update(_NOWHERE)  # layout leaves traces in the code
            waiting += ast.iter_child_nodes(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self.introspects |= node.id in _LOOKS_UP
        elif isinstance(node, ast.Attribute):
            self.introspects |= node.attr in _LOOKS_UP
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.words.update(_WORD.findall(node.value))
        elif isinstance(node, ast.Import):
            self.imports += [(alias.name, (), 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            self.imports.append((node.module or "", names, node.level))
            self.introspects |= not _LOOKS_UP.isdisjoint(names)


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body[:1] = (
            [] if len(node.body) > 1 or isinstance(node, ast.Module) else [ast.copy_location(ast.Pass(), first)]
        )


def form_of(code: CodeType) -> str:
    """Return a digest of compiled code, with the names of its locals."""
    names = list[str]()
    return digest([_form(code, names), names])


def _form(code: CodeType, names: list[str]) -> Json:
    """Return a code object as plain data without names of its locals, which are put into `names`."""
    parameters = code.co_argcount + code.co_kwonlyargcount + sum(bool(code.co_flags & flag) for flag in _VARIADIC)
    names += code.co_varnames[parameters:]
    return [
        code.co_name,
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_nlocals],
        code.co_varnames[:parameters],
        [code.co_names, code.co_cellvars, code.co_freevars],
        [code.co_code.hex(), code.co_exceptiontable.hex()],
        [_constant(value, names) for value in code.co_consts],
    ]


def _constant(value: Any, names: list[str]) -> Json:
    if isinstance(value, CodeType):
        return _form(value, names)
    if isinstance(value, tuple):
        return ["tuple", *(_constant(item, names) for item in value)]
    if isinstance(value, frozenset):
        return ["frozenset", *sorted(str(_constant(item, names)) for item in value)]
    return [type(value).__name__, repr(value)]
