"""Names of Keras' sharded weights: NAME.weights.json lists which NAME_0000n.weights.h5 holds what."""

import re

_SHARD = re.compile(r"(.+)_\d{5}\.weights\.h5", re.DOTALL)


def index_of(name: str) -> str | None:
    """Return the name of the index that a file of this name would be a shard of; None for any other.

    >>> index_of("big_00003.weights.h5"), index_of("big.weights.h5"), index_of("big.weights.json")
    ('big.weights.json', None, None)
    """
    found = _SHARD.fullmatch(name)
    return f"{found[1]}.weights.json" if found else None
