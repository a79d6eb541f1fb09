"""Pseudo-random words: the finaliser and the stream of splitmix64.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.  The same on every machine, for ever.
"""

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_GAMMA = 0x9E3779B97F4A7C15


def stream(start: int, count: int) -> Words:
    """Return the first words of the stream that begins at a state of 64 bits.

    >>> [hex(word) for word in stream(0, 2).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    return mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA) + np.uint64(start))


def mixed(words: Words) -> Words:
    """Return each word sent through the finaliser, which is a permutation of all words of 64 bits."""
    shifted = words >> np.uint64(30)
    mixing = words ^ shifted
    for factor, shift in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        mixing *= np.uint64(factor)
        np.right_shift(mixing, np.uint64(shift), out=shifted)
        mixing ^= shifted
    return mixing
