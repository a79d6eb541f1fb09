"""Slices and groups of every source: carried, removed with their rows, kept together, refused where they are off."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils import data

from milepost.core.types import Array, Batch
from milepost.data import Arrays, Batches, Images, TorchLoader
from milepost.errors import DataError, UsageError
from milepost.testing.sources import check_source

N = 41
RNG = np.random.default_rng(8)
X = RNG.integers(0, 255, (N, 3), dtype=np.uint8)
Y = RNG.integers(0, 4, N)
PATIENTS = np.array([f"p{number}" for number in RNG.integers(0, 9, N)])
TOGETHER = np.sort(PATIENTS)
SLICES: dict[str, Any] = {
    "country": np.array(["at", "be", "ch", "de"])[Y],
    "big": X[:, 0] > 100,
    "age-group": X[:, 1] // 32,
}


def columns(source: Any, batch_size: int = 6) -> dict[str, list[Any]]:
    """Return everything that the batches carry, by name."""
    found: dict[str, list[Any]] = {}
    for batch in source.batches(0, 1000, batch_size):
        for name, values in {"row": batch.rows, "group": batch.groups, **(batch.slices or {})}.items():
            found.setdefault(name, []).extend([] if values is None else values.tolist())
    return found


@pytest.mark.parametrize("order", ["seeded", "natural", "declared-shuffled"])
def test_arrays_with_slices_and_groups_keep_the_laws(order: Any) -> None:
    groups = PATIENTS if order == "seeded" else TOGETHER
    moved = groups.copy()
    # As many groups as before: the first row of the second goes to the first.
    moved[np.flatnonzero(groups != groups[0])[0]] = groups[0]
    assert len(set(moved)) == len(set(groups))
    mask = np.arange(N) != 40
    changed: list[Any] = [
        lambda: Arrays(X, Y, slices=SLICES, mask=mask, order=order),
        lambda: Arrays(X, Y, slices=SLICES, mask=mask, order=order, groups=moved),
        lambda: Arrays(X, Y, slices=SLICES, mask=mask, order=order, groups=moved, version="toy@1"),
        lambda: Arrays(X, Y, slices=SLICES, mask=mask, order=order, groups=groups, version="toy@1"),
    ]
    check_source(lambda: Arrays(X, Y, slices=SLICES, groups=groups, mask=mask, order=order), changed)


def batches(size: int = 7, groups: Array | None = TOGETHER, slices: Mapping[str, Any] | None = SLICES) -> Iterator[Any]:
    for start in range(0, N, size):
        cut = slice(start, start + size)
        yield Batch(
            X[cut],
            Y[cut],
            mask=np.arange(N)[cut] % 4 != 2,
            slices=None if slices is None else {name: values[cut] for name, values in slices.items()},
            groups=None if groups is None else groups[cut],
        )


def test_streams_with_slices_and_groups_keep_the_laws() -> None:
    moved = TOGETHER.copy()
    moved[0] = "p-new"
    changed: list[Any] = [
        lambda: Batches(lambda: batches(groups=None)),
        lambda: Batches(lambda: batches(groups=moved)),
        lambda: Batches(batches, version="toy@1", groups=True),
        lambda: Batches(lambda: batches(groups=None), version="toy@1"),
    ]
    check_source(lambda: Batches(batches), changed)
    assert Batches(lambda: batches(size=30)).fingerprint() == Batches(batches).fingerprint()
    mask = np.arange(N) % 4 != 2
    expected = columns(Arrays(X, Y, mask=mask, slices=SLICES, groups=TOGETHER, order="natural"))
    assert columns(Batches(batches)) == expected


class Items(data.Dataset[Any]):
    """Dict items with text, booleans and numbers to slice by."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        extras = {name: values[index].item() for name, values in SLICES.items()}
        patient, number = str(TOGETHER[index]), torch.from_numpy(X[index].copy())
        return {"image": number, "label": int(Y[index]), "patient": patient, "site": patient[:1], **extras}


class Rows(data.IterableDataset[Any]):
    """The same items as a stream."""

    def __iter__(self) -> Iterator[Any]:
        items = Items()
        return (items[index] for index in range(N))


ENTRIES: dict[str, Any] = {"inputs": "image", "label": "label", "slices": tuple(SLICES)}


def test_entries_of_dict_items_are_slices_and_groups() -> None:
    def make(**more: Any) -> TorchLoader:
        return TorchLoader(Items(), **ENTRIES, **{"groups": "patient", "order": "natural"} | more)

    check_source(make, [lambda: make(groups=None), lambda: make(groups=TOGETHER), lambda: make(groups="site")])
    expected = columns(Arrays(X, Y, slices=SLICES, groups=TOGETHER, order="natural"))
    assert columns(make()) == expected
    assert columns(TorchLoader(Rows(), **ENTRIES, groups="patient")) == expected
    assert TorchLoader(Rows(), **ENTRIES, groups="patient").fingerprint()["order"] == {
        "kind": "natural",
        "groups": True,
    }
    one = TorchLoader(Items(), inputs="image", label="label", slices="country")
    assert columns(one)["country"] == SLICES["country"][columns(one)["row"]].tolist()


def test_values_an_item_are_slices_and_groups_in_seeded_order() -> None:
    items = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))

    def make(**more: Any) -> TorchLoader:
        return TorchLoader(items, **{"slices": SLICES, "groups": PATIENTS.tolist()} | more)

    moved = PATIENTS.copy()
    moved[3] = PATIENTS[4]
    assert len(set(moved)) == len(set(PATIENTS))
    check_source(make, [lambda: make(groups=None), lambda: make(groups=moved), lambda: make(version="toy@1")])
    assert columns(make()) == columns(Arrays(X, Y, slices=SLICES, groups=PATIENTS))
    assert make().described() == {"slices": ["country", "big", "age-group"], "groups": 9}


def test_a_function_of_the_path_gives_slices_and_groups(tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "ab"[number % 2] / f"patient{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (3, 2), number).save(folder / f"{number:02}.png")

    def make(**more: Any) -> Images:
        return Images(tmp_path, preset="raw", mode="L", workers=2, **more)

    def camera(path: str) -> dict[str, Any]:
        return {"even": int(path[-6:-4]) % 2 == 0, "camera": path.split("/")[1]}

    def patient(path: str) -> str:
        return path.split("/")[1]

    def parted(path: str) -> str:
        return "patient2" if path.endswith("03.png") else patient(path)

    changed = [lambda: make(slices=camera), lambda: make(groups=parted), lambda: make(groups=patient, version="a@1")]
    check_source(lambda: make(slices=camera, groups=patient), [*changed, lambda: make(groups=parted, version="a@1")])
    found = columns(make(slices=camera, groups=patient))
    assert found["camera"] == found["group"]
    assert found["even"] == [row < 12 for row in found["row"]], "class a holds the even numbers"
    described = make(slices=camera, groups=patient).described()
    assert (described["classes"], described["slices"]) == ({"0": "a", "1": "b"}, ["even", "camera"])
    assert (described["groups"], described["preset"]["name"], described["preset"]["mode"]) == (5, "raw", "L")
    with pytest.raises(DataError, match=r"'patient0' comes back at row \d+ after it ended at row \d+"):
        make(groups=patient, order="natural")
    with pytest.raises(
        DataError, match=r"slices of a/patient0/10.png: are \['x'\]; those of a/patient0/00.png are \[\]"
    ):
        make(slices=lambda path: {"x": 1} if path.endswith("10.png") else {})
    with pytest.raises(DataError, match=r"slices of a/patient0/00.png: expected a mapping .*found 'a'"):
        make(slices=lambda path: path[0])
    with pytest.raises(DataError, match=r"groups of a/patient0/00.png: the function raised IndexError"):
        make(groups=lambda path: path.split("/")[7])
    with pytest.raises(UsageError, match="groups is a list; expected a function"):
        make(groups=[1])


def test_slices_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (3, 2)).save(tmp_path / "a" / "x.png")
    assert Arrays(X, Y, slices=SLICES).fingerprint() == Arrays(X, Y).fingerprint()
    without = Batches(lambda: batches(slices=None))
    assert Batches(batches).fingerprint() == without.fingerprint()
    plain = {key: value for key, value in ENTRIES.items() if key != "slices"}
    assert TorchLoader(Items(), **ENTRIES).fingerprint() == TorchLoader(Items(), **plain).fingerprint()
    assert Images(tmp_path, slices=lambda path: {"x": path}).fingerprint() == Images(tmp_path).fingerprint()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "bcd"], ["a", "bcd"]),
        (np.array(["a", "bcd"], object), ["a", "bcd"]),
        ([True, False], [True, False]),
        (torch.tensor([4, 2]), [4, 2]),
        ((7, np.int8(3)), [7, 3]),
    ],
)
def test_values_of_many_kinds_become_arrays(values: Any, expected: list[Any]) -> None:
    source = Arrays(X[:2], Y[:2], slices={"s": values}, order="natural")
    assert source.slices(0, 2)["s"].tolist() == expected
    assert source.slices(1, 99)["s"].tolist() == expected[1:]
    assert Arrays(X, Y).slices(0, 9) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"slices": {"s": [1.5] * N}},
            r"slices\['s'\]: expected one integer, boolean or text a row; found a float \(1.5\)",
        ),
        ({"slices": {"s": np.ones(N)}}, "found dtype float64"),
        ({"slices": {"s": [b"x"] * N}}, "found a bytes"),
        ({"slices": {"s": ["x", None] * 20 + ["x"]}}, r"found a NoneType \(None\) at row 1"),
        ({"slices": {"s": np.array(["x"] * 40 + [np.nan], object)}}, r"found a float \(nan\) at row 40"),
        ({"slices": {"s": ["x", 1] * 20 + ["x"]}}, "of one kind; found int, str mixed"),
        ({"slices": {"s": [True, 1] * 20 + [1]}}, "of one kind; found bool, int mixed"),
        ({"slices": {"s": np.ones((N, 1), int)}}, r"shape \(41, 1\)"),
        ({"slices": {"s": "text"}}, "found a str"),
        ({"slices": {"s": list(range(40))}}, "inputs have 41 rows but values of slice 's' have 40"),
        ({"slices": [1]}, "expected a mapping"),
        ({"groups": [1] * 40}, "inputs have 41 rows but groups have 40"),
        ({"groups": [True] * N}, "groups: expected one integer or text a row; found dtype bool"),
        ({"groups": np.ones(N)}, "found dtype float64"),
        ({"groups": "patient"}, "found a str"),
        ({"groups": PATIENTS, "order": "natural"}, r"comes back at row \d+ after it ended"),
    ],
)
def test_unusable_slices_and_groups_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Arrays(X, Y, **options)


@pytest.mark.parametrize("name", ["", "a=b", "a b", "1st", "a,b", 3, "-"])
def test_slice_names_are_like_identifiers(name: Any) -> None:
    with pytest.raises(UsageError, match="the slice name"):
        Arrays(X, Y, slices={name: Y})
    with pytest.raises(UsageError, match="the slice name"):
        list(Batches(lambda: [Batch(X, Y, slices={name: Y})]).batches(0, 1, 1))
    with pytest.raises(UsageError, match="the slice name"):
        TorchLoader(Items(), slices=[name])
    assert Arrays(X, Y, slices={"länge.1-x_": Y}).described()["slices"] == ["länge.1-x_"]


def test_rows_are_numbered_as_the_user_has_them_when_a_group_comes_back() -> None:
    groups = ["a", "a", "b", "b", "a", "c"]
    mask = np.array([False, True, True, True, True, True])
    with pytest.raises(DataError, match="groups: 'a' comes back at row 4 after it ended at row 1"):
        Arrays(X[:6], Y[:6], groups=groups, mask=mask, order="natural")
    mask = np.array([True, True, False, False, True, True])
    assert columns(Arrays(X[:6], Y[:6], groups=groups, mask=mask, order="natural"))["group"] == ["a", "a", "a", "c"]


def carrying(*extras: dict[str, Any]) -> Any:
    """Make a stream of two-row batches with these slices and groups."""
    return lambda: (Batch(X[:2], Y[:2], **extra) for extra in extras)


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (
            carrying({"groups": [1, 1]}, {"groups": [2, 1]}),
            {},
            r"groups: 1 comes back at row 3 after it ended at row 1",
        ),
        (carrying({"groups": [1, 1]}, {}), {}, "batch 1 of the stream: carries no groups"),
        (
            carrying({}, {"groups": [1, 1]}),
            {},
            "batch 1 of the stream: carries groups, which batches before it did not",
        ),
        (carrying({"groups": [1, 1]}), {"version": "a@1"}, r"batch 0 .* groups=True"),
        (carrying({}), {"groups": True}, "batch 0 of the stream: carries no groups, which were declared"),
        (
            carrying({"groups": [1, 1]}, {"groups": ["a", "a"]}),
            {},
            "carries groups of text; the batches before it carried",
        ),
        (carrying({"slices": {"s": [1, 2]}}, {}), {}, "carries no slices and no groups; the batches before it carried"),
        (carrying({"slices": {"s": [1, 2]}}, {"slices": {"t": [1, 2]}}), {}, "carries slice 't' of integers"),
        (carrying({"slices": {"s": [1]}}), {}, "inputs have 2 rows but values of slice 's' have 1"),
        (carrying({"groups": [1]}), {}, "inputs have 2 rows but groups have 1"),
    ],
)
def test_streams_that_carry_what_they_should_not_are_refused(function: Any, options: Any, words: str) -> None:
    for batch_size in (1, 2, 4):
        with pytest.raises(DataError, match=words):
            list(Batches(function, **options).batches(0, 100, batch_size))


def test_a_declared_version_reads_nothing_to_find_groups() -> None:
    def never() -> Iterator[Any]:
        raise AssertionError("the stream is not read")

    assert Batches(never, version="a@1", groups=True).fingerprint()["order"] == {"kind": "natural", "groups": True}
    assert Batches(never, version="a@1").fingerprint()["order"] == {"kind": "natural"}
    with pytest.raises(UsageError, match="groups of a stream come with it: yield Batch"):
        Batches(never, groups=PATIENTS)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="slices and groups of a stream come with it"):
        Batches(never, slices=SLICES)  # type: ignore[call-arg]


def test_torch_data_that_cannot_be_grouped_or_sliced_as_asked_is_refused() -> None:
    with pytest.raises(UsageError, match=r"groups='patient' names an entry.*order=\"natural\""):
        TorchLoader(Items(), **ENTRIES, groups="patient")
    with pytest.raises(DataError, match="items of the data set have 41 rows but groups have 40"):
        TorchLoader(Items(), **ENTRIES, groups=PATIENTS[:40])
    with pytest.raises(DataError, match="items of the data set have 41 rows but values of slice 's' have 2"):
        TorchLoader(Items(), inputs="image", label="label", slices={"s": [1, 2]})
    with pytest.raises(UsageError, match="slices is a int; expected the keys"):
        TorchLoader(Items(), slices=7)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="slices and groups of a stream are entries"):
        TorchLoader(Rows(), inputs="image", label="label", groups=PATIENTS)
    with pytest.raises(DataError, match="unknown entry 'camera'"):
        columns(TorchLoader(Items(), inputs="image", label="label", slices=("camera",)))
    pairs = data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    with pytest.raises(DataError, match="name entries of dicts; found a list of 2"):
        columns(TorchLoader(pairs, slices=("camera",)))
    scattered = TorchLoader(Items(), inputs="image", label="label", groups="country", order="natural")
    with pytest.raises(DataError, match=r"groups: '\w\w' comes back at row \d+ after it ended at row \d+"):
        columns(scattered)


class Parted(Arrays):
    """Says nothing of its groups in the order, and parts them."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._all = replace(self._all, groups=PATIENTS)


class Lying(Arrays):
    """Gives slices in natural order."""

    def slices(self, start: int, stop: int) -> dict[str, Array]:
        return {name: values[start:stop] for name, values in (self._slices or {}).items()}


class Undeclared(Arrays):
    """Keeps its groups out of the order's spec."""

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), "order": {"kind": "seeded"}}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Parted(X, Y), "groups"),
        (lambda: Lying(X, Y, slices=SLICES), "differ from the batches"),
        (lambda: Undeclared(X, Y, groups=PATIENTS), "spec says groups: None"),
    ],
)
def test_the_laws_catch_sources_that_break_them(make: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_source(make)
