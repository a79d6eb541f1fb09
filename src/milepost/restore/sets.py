"""The sets of weights that a checkpoint holds: where each stands, under which names, and what each is.

A set stands under a wrapper (`model_ema`), or beside another one in the same wrapper, marked by its names: a prefix
(`ema_model.`), a suffix (TensorFlow's `/ExponentialMovingAverage`), or flattened ones (`ema_fc_weight`).  What writers
do, and where their source says so, is in docs/design/averages.md.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from milepost._internal.text import listed
from milepost.checkpoints.mapping import read_tensor
from milepost.core.types import Table, Tensor, Variable
from milepost.restore.flattened import Flattened, flattened, in_order

Kind = Literal["raw", "ema", "either"]
"""What a set is: plain weights, averages, or one of two of which the file does not say which is which."""

SUFFIX = "/ExponentialMovingAverage"
_WRAPPERS = {
    *("ema", "model_ema", "ema_model", "ema_state_dict", "model_ema_state_dict", "ema_model_state_dict"),
    *("state_dict_ema", "ema_weights", "ema_params", "params_ema"),
    *("swa_state_dict", "swa_model", "swa_model_state_dict"),
}
_PARTIAL = frozenset({"shadow", "ema_shadow", "shadow_params", "shadow_weights"})
"""Wrappers of averages of trained parameters alone: for what has none (a buffer, a frozen layer) the raw one stands."""
_WORDS = ("ema_model", "model_ema", "ema_params", "params_ema", "ema")
_PREFIXES = tuple(f"{word}{sign}" for word in _WORDS for sign in "./")
_ONLINE = "online_model."
"""ema_pytorch's EMA holds the model itself here, beside its average under `ema_model.`."""
_LENT = "collected_params"
"""torch_ema keeps the raw parameters here while the averages are in the model, and afterwards, too."""
_COUNTED = "n_averaged"
"""torch's AveragedModel counts the models that it has taken in, beside their average under `module.`."""
_COUNTS = frozenset({"initted", "step"})
_LISTED = "ema_weights"
"""NeMo's EMA callback keeps a list of the averages of all that `state_dict` holds here, in its order."""
_SWAPPING = (
    f"NAME{SUFFIX} is taken for the average, as TensorFlow's averages are saved; the swapping_saver of a "
    "MovingAverageOptimizer exchanges the two names, and the file does not tell: "
    f'Evaluation(variants={{"raw": "*{SUFFIX}", "ema": ""}}) says that it did'
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of tensors that could be a variant's: where it stands, and the tensors by the model's names.

    `renamed` says what was done to the names; `standing_in` are the tensors that stand in for what the set itself
    lacks, from the set at `beside`.  `remark` says what is odd about the set, or about a trainer that may have made it;
    `others` names the sets of another kind, and `refused` says why the tensors cannot be told apart.  `given` are names
    that the user gave: they are read as they are.
    """

    place: str
    tensors: Mapping[str, Tensor]
    renamed: str = ""
    standing_in: frozenset[str] = frozenset()
    kind: Kind = "raw"
    beside: str | None = None
    remark: str = ""
    others: str = ""
    refused: str = ""
    given: frozenset[str] = frozenset()


def sets_of(
    table: Table, variables: Sequence[Variable] | None = None, declared: Collection[str] = ()
) -> dict[str, Candidate]:
    """Return the sets of weights that a checkpoint holds, each name freed of what marks an average.

    A tensor with the very name of a variable of the model is that variable's, whatever else it may look like.  In a
    wrapper that the user `declared` and that holds no weights by their role, all tensors are weights.
    """
    wanted = frozenset(item.name for item in variables or ())
    groups: dict[str, dict[str, Tensor]] = {}
    odd = set(declared) - {item.group for item in table.tensors if item.role == "weights"}
    for tensor in table.tensors:
        # A number called "step" is bookkeeping, unless the model has a variable of that very name.
        named = tensor.role == "bookkeeping" and tensor.name in wanted
        if tensor.role == "weights" or named or tensor.group in odd or _is_callbacks(tensor.group):
            groups.setdefault(tensor.group, {})[tensor.name] = tensor
    parts = (part for group, tensors in groups.items() for part in _parts(group, tensors, wanted))
    sets = _without_copies({part.place: part for part in parts})
    sets |= _swapped(sets, wanted)
    if table.averaging or any(_is_optimizers_average(item) for item in table.tensors):
        sets |= {place: _perhaps_averaged(item) for place, item in sets.items() if item.kind == "raw"}
    sets |= _named(sets, variables or ())
    sets = {place: item for place, item in sets.items() if place.rpartition("/")[2] != _LENT}
    return {place: _completed(replace(item, others=_others(item, sets)), sets) for place, item in sets.items()}


def _parts(group: str, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> Iterator[Candidate]:
    """Yield the sets of one wrapper: the plain one, then those that names mark."""
    kind = _kind_of(group, tensors, wanted)
    flat = flattened(tensors, wanted) or Flattened("", {}, frozenset(), sure=True)
    both = all(any(name.startswith(mark) for name in tensors) for mark in (_ONLINE, "ema_model."))
    counts = {_COUNTED, *flat.counts, *(_COUNTS if kind == "ema" or both else ())} - set(wanted)
    marked: dict[str, dict[str, Tensor]] = {"": {}}
    for name, tensor in tensors.items():
        if name in counts and tensor.shape in {(), (1,)}:
            continue
        mark, freed = _mark(name, flat, (*_PREFIXES, _ONLINE) if both else _PREFIXES)
        if freed == _COUNTED and name not in wanted:
            continue
        if mark and name in wanted:  # the model has the average itself, as a variable
            marked[""][name] = tensor
        marked.setdefault(mark, {})[freed] = tensor
    plain = marked.pop("")
    swapping = _SWAPPING if f"*{SUFFIX}" in marked else ""
    if plain:
        yield Candidate(group, plain, kind="either" if flat.names and not flat.sure else kind, remark=swapping)
    for mark, averages in marked.items():
        place = f"{group}/{mark}" if group else mark
        if mark in {f"*{SUFFIX}", f"{flat.mark}*"}:
            kind, remark = "ema" if flat.sure else "either", swapping if mark == f"*{SUFFIX}" else ""
            yield Candidate(place, averages, kind=kind, beside=group, remark=remark)
        else:
            yield Candidate(place, _like(averages, plain), kind="raw" if mark == f"{_ONLINE}*" else "ema")


def _is_callbacks(group: str) -> bool:
    return group.startswith("callbacks/") and group.endswith(f"/{_LISTED}")


def _kind_of(group: str, tensors: Mapping[str, Tensor], wanted: Collection[str]) -> Kind:
    others = [name for name in tensors if name != _COUNTED]
    counted = len(others) < len(tensors) and _COUNTED not in wanted
    averaged = counted and all(name.startswith("module.") for name in others)
    return "ema" if averaged or not (_WRAPPERS | _PARTIAL).isdisjoint(group.split("/")) else "raw"


def _mark(name: str, flat: Flattened, prefixes: Sequence[str]) -> tuple[str, str]:
    """Return the pattern of the averages' names that a name follows, "" where none, and the name without the mark."""
    if name in flat.names:
        return f"{flat.mark}*", flat.names[name]
    if name.endswith(SUFFIX):
        return f"*{SUFFIX}", name.removesuffix(SUFFIX)
    prefix = next((item for item in prefixes if name.startswith(item)), "")
    return (f"{prefix}*", name.removeprefix(prefix)) if prefix else ("", name)


def _like(averages: Mapping[str, Tensor], raw: Collection[str]) -> dict[str, Tensor]:
    """Return averages under the names that their raw weights have, where all of these stand below one prefix.

    >>> list(_like({"w": ..., "b": ...}, ["params/w", "params/b", "step"]))
    ['params/w', 'params/b']
    """
    first = next(iter(averages))
    heads = {name.removesuffix(first) for name in raw if name.endswith(first)}
    roots = [head for head in heads if head[-1:] in {"", ".", "/"} and all(head + name in raw for name in averages)]
    root = roots[0] if len(roots) == 1 else ""
    return {root + name: tensor for name, tensor in averages.items()}


def _without_copies(sets: dict[str, Candidate]) -> dict[str, Candidate]:
    """Leave out the model that stands within its average's wrapper where the file holds the model itself, too."""
    copies = {place for place in sets if place.rsplit("/", 1)[-1] == f"{_ONLINE}*"}
    if all(item.kind != "raw" for place, item in sets.items() if place not in copies):
        return sets
    return {place: item for place, item in sets.items() if place not in copies}


def _swapped(sets: Mapping[str, Candidate], wanted: Collection[str]) -> dict[str, Candidate]:
    """Return the sets that trainers put in each other's places as they save, for sure or perhaps."""
    main, lightning, ema = (sets.get(place) for place in ("state_dict", "current_model_state", "ema_state_dict"))
    if main and lightning:
        return _exchanged(main, lightning)
    if main and ema:
        first = next(iter(ema.tensors))
        ema = replace(
            ema, tensors={name: item for name, item in ema.tensors.items() if name != "steps" or name in wanted}
        )
        # A buffer of MMEngine's averaged model, whose `state_dict` gives it before those of the model within.
        if ema.tensors and first not in ema.tensors and all(name.startswith("module.") for name in ema.tensors):
            return _exchanged(main, ema)
        remark = "some trainers swap the two as they save (MMEngine's EMAHook does), and others do not"
        return {item.place: replace(item, kind="either", remark=remark) for item in (main, ema)}
    remark = "mmcv's EMAHook swaps the two after each epoch and back before the next, and may save in between"
    return {place: replace(item, remark=remark) for place, item in sets.items() if item.kind == "either"}


def _is_optimizers_average(tensor: Tensor) -> bool:
    """Return whether a tensor is an average that an optimizer of Keras or TensorFlow Addons kept of a variable."""
    named = f"/{tensor.name}/"
    if "/.OPTIMIZER_SLOT/" in named:
        return named.endswith("/average/")
    held = "/average/" in named or named.endswith("_average/")
    return held and tensor.group == "optimizer_weights" and tensor.role == "optimizer"


def _perhaps_averaged(item: Candidate) -> Candidate:
    remark = (
        "the optimizer kept averages of them (use_ema, MovingAverage), which a callback, an overwrite or the end of "
        "`fit` may have put in their place"
    )
    return replace(item, kind="either", remark=remark)


def _exchanged(averaged: Candidate, raw: Candidate) -> dict[str, Candidate]:
    remark = f"{averaged.place} holds averaged weights (variant ema), {raw.place} the raw ones"
    return {
        averaged.place: replace(averaged, kind="ema", remark=remark),
        raw.place: replace(raw, kind="raw", remark=remark),
    }


def _named(sets: Mapping[str, Candidate], variables: Sequence[Variable]) -> dict[str, Candidate]:
    """Return the averages of parameters alone, those that are a list under the names of the raw set."""
    raw = [item for item in sets.values() if item.kind == "raw"]
    found = {}
    for place, item in sets.items():
        if _is_callbacks(place) and len(raw) == 1:
            found[place] = _as_listed(item, raw[0])
        if place.rsplit("/", 1)[-1] in _PARTIAL and item.kind == "ema" and len(raw) == 1:
            tensors = _like(item.tensors, raw[0].tensors)
            if all(name.isdecimal() for name in tensors):
                found[place] = _in_order(item, raw[0], variables)
                if f"{place.rpartition('/')[0]}/{_LENT}" in sets:
                    found |= _lent(found[place], raw[0])
            else:
                found[place] = replace(item, tensors=tensors, beside=raw[0].place)
    return found


def _as_listed(item: Candidate, raw: Candidate) -> Candidate:
    """Return a list of averages under the names of all raw tensors, one by one."""
    order = sorted(item.tensors, key=lambda number: int(number) if number.isdecimal() else -1)
    pairs = list(zip(order, raw.tensors, strict=False))
    if len(order) == len(raw.tensors) and all(item.tensors[a].shape == raw.tensors[b].shape for a, b in pairs):
        return replace(item, tensors={name: item.tensors[number] for number, name in pairs})
    refused = (
        f"the averages at {item.place!r} are a list of {len(order)} tensors without names, and not those of the "
        f"{len(raw.tensors)} tensors at {raw.place or 'top level'!r} in their order"
    )
    return replace(item, refused=refused)


def _in_order(item: Candidate, raw: Candidate, variables: Sequence[Variable]) -> Candidate:
    names = in_order(item.tensors, raw.tensors, variables)
    if names:
        tensors = {names[number]: tensor for number, tensor in item.tensors.items()}
        return replace(item, tensors=tensors, beside=raw.place)
    refused = (
        f"the averages at {item.place!r} are a list of {len(item.tensors)} tensors without names, and not those of the "
        f"parameters at {raw.place or 'top level'!r} in their order: save them under names, such as "
        '{"model": model.state_dict(), "model_ema": averaged.state_dict()}, and evaluate that file'
    )
    return replace(item, refused=refused)


def _lent(averages: Candidate, raw: Candidate) -> dict[str, Candidate]:
    """Return the raw set as one of either kind where it holds the averages, as within torch_ema's context manager."""
    if averages.refused or any(not _is_same(item, raw.tensors[name]) for name, item in averages.tensors.items()):
        return {}
    remark = "they are the same; torch_ema's average_parameters() puts averages there, and parts with them at its end"
    return {raw.place: replace(raw, kind="either", remark=remark)}


def _is_same(one: Tensor, other: Tensor) -> bool:
    return np.array_equal(read_tensor(one), read_tensor(other))


def _completed(item: Candidate, sets: Mapping[str, Candidate]) -> Candidate:
    """Complete averages of some tensors by what stands beside them."""
    beside = {} if item.beside is None or item.beside not in sets else sets[item.beside].tensors
    # A value that two names share has its average under one of them.
    shared = {beside[name].where for name in item.tensors if name in beside and beside[name].where.nbytes}
    standing = {
        name: tensor
        for name, tensor in beside.items()
        if name not in item.tensors and tensor.where not in shared and not name.endswith(SUFFIX)
    }
    return replace(item, tensors={**standing, **item.tensors}, standing_in=frozenset(standing))


def _others(item: Candidate, sets: Mapping[str, Candidate]) -> str:
    """Name the averages beside raw weights, and the other way round."""
    others = [one for one in sets.values() if one.kind != item.kind]
    return listed([f"{one.kind} at {one.place or 'top level'!r}" for one in others]) if others else ""
