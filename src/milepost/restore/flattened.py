"""Averages whose names do not tell what they are averages of: flattened names, and lists without any."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from milepost.core.types import Tensor, Variable

_BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Flattened:
    """Averages in a wrapper: the raw tensor's name for each, and the counts that are kept among them.

    `mark` is what their names begin with.  `sure` is whether it is these, rather than the plain names, that hold the
    averages.
    """

    mark: str
    names: Mapping[str, str]
    counts: frozenset[str]
    sure: bool


def flattened(tensors: Collection[str], wanted: Collection[str]) -> Flattened | None:
    """Return the averages under flattened names in a wrapper; None where there are none, or one has no raw tensor.

    mmcv's EMAHook registers `ema_fc_weight` for `fc.weight`, and swaps the two; latent diffusion's LitEma
    `model_ema.fcweight` for `model.fc.weight`.  Names in `wanted` are the model's own.

    >>> found = flattened(["fc.weight", "fc.bias", "ema_fc_weight", "ema_fc_bias"], ())
    >>> found.names, found.sure
    ({'ema_fc_weight': 'fc.weight', 'ema_fc_bias': 'fc.bias'}, False)
    """
    for head, joint, counts, sure in (("ema_", "_", (), False), ("model_ema.", "", ("decay", "num_updates"), True)):
        own = [name for name in wanted if head in name]
        # Below a wrapper's prefix the model's own buffers have longer names.
        others = [name for name in tensors if not any(name == one or name.endswith(f".{one}") for one in own)]
        for mark in sorted({mark for name in others for mark in _marks(name, head)}):
            inside = [name for name in others if name.startswith(mark)]
            numbers = frozenset(mark + count for count in counts)
            plain = [name for name in tensors if name not in inside]
            names = _resolved(mark, joint, [name for name in inside if name not in numbers], plain)
            if names:
                return Flattened(mark, names, numbers & set(inside), sure)
    return None


def in_order(listed: Mapping[str, Tensor], raw: Mapping[str, Tensor], variables: Sequence[Variable]) -> dict[str, str]:
    """Return the raw tensor's name for each of a list of averages; {} where the list is not of the raw parameters.

    torch_ema's and diffusers' EMAs keep a list, of `model.parameters()`: the order in which the raw weights of the same
    file stand, those that share one value once, without the buffers.  Every shape has to be the same.
    """
    buffers = {name for item in variables if item.buffer for name in (item.name, item.name.rsplit(".", 1)[-1])}
    known = {item.name for item in variables if not item.buffer}
    parameters: dict[object, tuple[str, Tensor]] = {}
    for name, tensor in raw.items():
        last = name.rsplit(".", 1)[-1]
        if name in known or not (name in buffers or last in buffers or last in _BATCH_STATISTICS):
            parameters.setdefault(tensor.where if tensor.where.nbytes else name, (name, tensor))
    order = sorted(listed, key=lambda number: int(number) if number.isdecimal() else -1)
    pairs = list(zip(order, parameters.values(), strict=False))
    if len(order) != len(parameters) or any(listed[number].shape != tensor.shape for number, (_, tensor) in pairs):
        return {}
    return {number: name for number, (name, _) in pairs}


def _marks(name: str, head: str) -> Iterator[str]:
    """Yield what a flattened name begins with: the head, after the prefix of a wrapper."""
    if head.endswith("."):
        if name.startswith(head) and "." not in name[len(head) :]:
            yield head
        return
    prefix, dot, last = name.rpartition(".")
    if last.startswith(head):
        yield f"{prefix}{dot}{head}"


def _resolved(mark: str, joint: str, flat: Sequence[str], plain: Sequence[str]) -> dict[str, str]:
    """Return the plain name for each flat one, all from below one and the same prefix; {} where this is not so."""
    own = mark.removesuffix("ema_") if joint else None
    roots = {own} if own is not None else {name[:end] for name in plain for end in _ends(name)}
    found = []
    for root in roots:
        meant: dict[str, list[str]] = {}
        for name in plain:
            if name.startswith(root):
                meant.setdefault(mark + name[len(root) :].replace(".", joint), []).append(name)
        if flat and all(len(meant.get(name, ())) == 1 for name in flat):
            found.append({name: meant[name][0] for name in flat})
    return found[0] if len(found) == 1 else {}


def _ends(name: str) -> Iterator[int]:
    yield 0
    yield from (position + 1 for position, sign in enumerate(name) if sign == ".")
