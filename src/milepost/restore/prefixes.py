"""Prefixes that wrappers put before names: DataParallel's `module.`, the compiler's `_orig_mod.`, Lightning's `model.`.

They are taken off, in any order and nesting, one at a time and only as far as all names carry them; whether the result
fits the model exactly is the caller's to check.  The model's own names may be the wrapped ones.  Models whose framework
has several ways of naming (Keras) give the others themselves, by scheme.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

_LEADING = ("module.", "_orig_mod.", "_forward_module.", "model.", "net.", "network.")
_ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def stripped(names: Iterable[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the full names by the names as they are, then with one more prefix off each time, and what was taken off.

    Ends where two names would become one.

    >>> [taken for _, taken in stripped(["module._orig_mod.w", "module._orig_mod.b"])]
    ['', '_orig_mod.', '_orig_mod. module.']
    >>> [taken for _, taken in stripped(["model.w", "other.w"])]
    ['']
    """
    full = {name: name for name in names}
    taken: list[str] = []
    yield full, ""
    for mark in _ANYWHERE:
        if any(mark in name for name in full):
            shorter = {name.replace(mark, ""): whole for name, whole in full.items()}
            if len(shorter) < len(full):
                return
            full = shorter
            taken.append(mark)
            yield full, " ".join(taken)
    while full:
        prefix = next((item for item in _LEADING if all(name.startswith(item) for name in full)), None)
        if prefix is None:
            return
        full = {name.removeprefix(prefix): whole for name, whole in full.items()}
        taken.append(prefix)
        yield full, " ".join(taken)


def renamings(found: Iterable[str], wanted: Iterable[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Yield mappings from a checkpoint's names to the model's, and what each did, the simplest first.

    >>> list(renamings(["module.w"], ["w"]))[1]
    ({'module.w': 'w'}, "module. taken off the checkpoint's names")
    """
    models = list(stripped(wanted))
    for ours, taken in stripped(found):
        for full, model_taken in models:
            done = [f"{taken} taken off the checkpoint's names"] if taken else []
            done += [f"{model_taken} taken off the model's"] if model_taken else []
            yield {whole: full.get(name, name) for name, whole in ours.items()}, ", ".join(done)


def beside(
    found: Iterable[str], wanted: Collection[str], required: Collection[str]
) -> tuple[list[str], list[str]] | None:
    """Return the prefixes under which all of `required` stand, and what is left over; None where there is no prefix.

    Left over are the names that would not be in `wanted` once the first prefix is taken off; wrappers' marks within
    names are left out of account.  Only for messages: what comes off is decided by `renamings`.

    >>> beside(["model.w", "model.b", "loss_fn.weight"], ["w", "b"], ["w", "b"])
    (['model.'], ['loss_fn.weight'])
    """
    names = {_unmarked(name): name for name in found}
    first = next(iter(required), None)
    if first is None:
        return None
    heads = (name.removesuffix(first) for name in names if name.endswith(f".{first}"))
    prefixes = [head for head in heads if all(head + name in names for name in required)]
    if not prefixes:
        return None
    head = prefixes[0]
    inside = {head + name for name in wanted}
    return prefixes, [whole for name, whole in names.items() if name not in inside]


def _unmarked(name: str) -> str:
    for mark in _ANYWHERE:
        name = name.replace(mark, "")
    return name


Schemes = Mapping[str, Mapping[str, str]]
"""By scheme, which of the model's own names each of the scheme's names stands for."""

_ROOTED = ("objects", "keras2")
"""Keys of object graphs begin with the name that the model had in its checkpoint object: the user's choice."""
_COUNTED = "legacy_h5"
"""Layers without a name of their own are numbered by how many the process had made before: no part of the model."""
_NUMBER = re.compile(r"(.*?)(?:_(\d{1,9}))?", re.DOTALL)


def by_scheme(found: Iterable[str], schemes: Schemes) -> Iterator[tuple[dict[str, str], str]]:
    """Yield mappings from a checkpoint's names to the model's own by way of each scheme, and what each did.

    >>> list(by_scheme(["net/d/kernel"], {"objects": {"d/kernel": "dense/kernel"}}))[1]
    ({'net/d/kernel': 'dense/kernel'}, 'by scheme objects, under net')
    >>> list(by_scheme(["dense_8/kernel"], {"legacy_h5": {"dense/kernel": "dense/kernel"}}))[1]
    ({'dense_8/kernel': 'dense/kernel'}, 'by scheme legacy_h5, layers renumbered')
    """
    names = list(found)
    for scheme, theirs in schemes.items():
        yield {name: theirs.get(name, name) for name in names}, f"by scheme {scheme}"
        if scheme in _ROOTED:
            for root in sorted({root for name in names for root in _roots(name, theirs)}):
                inner = {name: name.removeprefix(f"{root}/") for name in names}
                ours = {name: theirs.get(short, name) for name, short in inner.items()}
                yield ours, f"by scheme {scheme}, under {root}"
        if scheme == _COUNTED:
            own, short = {new: theirs[name] for name, new in renumbered(theirs).items()}, renumbered(names)
            yield {name: own.get(short[name], name) for name in names}, f"by scheme {scheme}, layers renumbered"


def _roots(name: str, theirs: Mapping[str, str]) -> Iterator[str]:
    parts = name.split("/")
    for count in range(1, len(parts)):
        if "/".join(parts[count:]) in theirs:
            yield "/".join(parts[:count])


def renumbered(names: Iterable[str]) -> dict[str, str]:
    """Return paths whose parts' trailing numbers are ranks among the siblings of the same word, from none and 1 on.

    >>> renumbered(["conv_7/w", "conv_9/w", "head/w"])
    {'conv_7/w': 'conv/w', 'conv_9/w': 'conv_1/w', 'head/w': 'head/w'}
    """
    paths = {name: tuple(name.split("/")) for name in names}
    families: dict[tuple[tuple[str, ...], str], set[tuple[int, str]]] = {}
    for parts in paths.values():
        for depth, part in enumerate(parts):
            word, number = parted(part)
            families.setdefault((parts[:depth], word), set()).add((number, part))
    ranks = {
        (parent, part): word + (f"_{rank}" if rank else "")
        for (parent, word), family in families.items()
        for rank, (_, part) in enumerate(sorted(family))
    }
    return {
        name: "/".join(ranks[parts[:depth], part] for depth, part in enumerate(parts)) for name, parts in paths.items()
    }


def parted(part: str) -> tuple[str, int]:
    """Return a part of a path as a word and its number, 0 where it has none.

    >>> parted("dense_7"), parted("head")
    (('dense', 7), ('head', 0))
    """
    match = _NUMBER.fullmatch(part)
    word, number = match.groups() if match else (part, None)
    return word, int(number) if number else 0
