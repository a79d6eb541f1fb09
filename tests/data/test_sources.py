"""Both sources keep the published laws, and the laws catch sources that do not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milepost.core.types import Batch
from milepost.data.arrays import Arrays
from milepost.data.batches import Batches
from milepost.testing.sources import check_source

N = 53
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 255, (N, 4, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, N).astype(np.int16)
WEIGHTS = RNG.random(N) + 0.5
IDS = np.array([f"row-{i}" for i in range(N)])


def altered(array: np.ndarray, where: Any) -> np.ndarray:
    copy = array.copy()
    copy[where] = copy[where] + 1
    return copy


def test_arrays_keep_the_laws() -> None:
    others: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((altered(IMAGES, (17, 1, 1)), LABELS, WEIGHTS, IDS), {}),
        ((IMAGES, altered(LABELS, 52), WEIGHTS, IDS), {}),
        ((IMAGES, LABELS.astype(np.int32), WEIGHTS, IDS), {}),
        ((IMAGES, LABELS, altered(WEIGHTS, 0), IDS), {}),
        ((IMAGES, LABELS, None, IDS), {}),
        ((IMAGES, LABELS, WEIGHTS, IDS[::-1]), {}),
        ((IMAGES.reshape(N, 12), LABELS, WEIGHTS, IDS), {}),
        (({"x": IMAGES}, LABELS, WEIGHTS, IDS), {}),
        ((IMAGES, LABELS, WEIGHTS, IDS), {"mask": np.arange(N) != 3}),
        ((IMAGES, LABELS, WEIGHTS, IDS), {"seed": 1}),
        ((IMAGES, LABELS, WEIGHTS, IDS), {"order": "natural"}),
        ((IMAGES, LABELS, WEIGHTS, IDS), {"order": "declared-shuffled"}),
        ((IMAGES, LABELS, WEIGHTS, IDS), {"version": "toy@1"}),
    ]
    changed: list[Callable[[], Arrays]] = [lambda a=a, k=k: Arrays(*a, **k) for a, k in others]  # type: ignore[misc]
    check_source(lambda: Arrays(IMAGES, LABELS, WEIGHTS, IDS), changed)


@pytest.mark.parametrize("order", ["natural", "seeded", "declared-shuffled"])
def test_arrays_with_removed_rows_and_named_inputs_keep_the_laws(order: Any) -> None:
    inputs = {"image": IMAGES[:, ::-1], "length": np.arange(N, dtype=np.float16)}
    weights = np.where(np.arange(N) % 5 == 0, 0.0, WEIGHTS)
    mask = np.arange(N) % 7 != 1
    check_source(lambda: Arrays(inputs, LABELS, weights, mask=mask, order=order))


def test_memory_maps_keep_the_laws_and_equal_arrays_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)

    def make() -> Arrays:
        return Arrays(np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "y.npy", mmap_mode="r"))

    check_source(make)
    assert make().fingerprint() == Arrays(IMAGES, LABELS).fingerprint()
    assert type(next(iter(make().batches(0, 1, 8))).inputs) is np.ndarray


def stream(first: int = 0, size: int = 8, *, images: np.ndarray = IMAGES) -> Iterator[Any]:
    for start in range(first, N, size):
        cut = slice(start, start + size)
        yield Batch(images[cut], LABELS[cut], WEIGHTS[cut], mask=np.arange(N)[cut] % 4 != 2, ids=IDS[cut])


def test_streams_keep_the_laws() -> None:
    changed = [
        lambda: Batches(lambda: stream(8)),
        lambda: Batches(lambda: stream(images=altered(IMAGES, (3, 0, 0)))),
        lambda: Batches(stream, version="toy@1"),
        lambda: Batches(stream, version="toy@2"),
        lambda: Batches(stream, size=40),
    ]
    check_source(lambda: Batches(stream), changed)
    # How the stream cuts its own batches is no part of the data.
    check_source(lambda: Batches(lambda: stream(size=50)))
    assert Batches(lambda: stream(size=50)).fingerprint() == Batches(stream).fingerprint()


def test_streams_of_pairs_lists_and_dicts_keep_the_laws() -> None:
    check_source(lambda: Batches(lambda: ([IMAGES[i : i + 5], LABELS[i : i + 5]] for i in range(0, N, 5)), size=N))
    check_source(lambda: Batches(lambda: [({"a": IMAGES, "b": LABELS}, LABELS, WEIGHTS)]))


class Shifted(Arrays):
    """Begins its batches at the start of the range instead of at a multiple."""

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop, batch_size):
            if batch.start >= start:
                yield batch


class Forgetful(Arrays):
    """Shuffles again each pass."""

    turn = 0

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        type(self).turn += 1
        return Arrays(self._all.inputs, self._all.labels, seed=self.turn).batches(start, stop, batch_size)


class Lent(Arrays):
    """Hands out views of its own memory."""

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop, batch_size):
            cut = slice(batch.start, batch.start + batch_size)
            assert isinstance(self._all.inputs, np.ndarray)
            yield Batch(self._all.inputs[cut], batch.labels, start=batch.start, rows=batch.rows)


class Heavy(Arrays):
    """Hands out a weight with which sums are not exact."""

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for batch in super().batches(start, stop, batch_size):
            yield replace(batch, weights=np.full(len(batch.labels), 1e300))


@pytest.mark.parametrize("wrong", [Shifted, Forgetful, Lent, Heavy])
def test_the_laws_catch_a_source_that_breaks_them(wrong: type[Arrays]) -> None:
    with pytest.raises(AssertionError):
        check_source(lambda: wrong(IMAGES.copy(), LABELS, order="natural"))


def test_the_laws_catch_a_fingerprint_that_does_not_see_a_change() -> None:
    with pytest.raises(AssertionError, match=r"changed\[0\]"):
        check_source(
            lambda: Arrays(IMAGES, LABELS, version="toy@1"), [lambda: Arrays(IMAGES + 1, LABELS, version="toy@1")]
        )
