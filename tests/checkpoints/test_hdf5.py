"""The HDF5 reader against h5py: every structure that h5py can write, values bit for bit, and random files."""

import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from milepost._internal.bounded import opened
from milepost.checkpoints._codecs.hdf5 import headers, layouts
from milepost.checkpoints._codecs.hdf5.chunk_index import chunks
from milepost.checkpoints._codecs.hdf5.chunks import Chunk
from milepost.checkpoints._codecs.hdf5.filters import pipeline
from milepost.checkpoints._codecs.hdf5.layouts import InChunks
from milepost.checkpoints._codecs.hdf5.spaces import space
from milepost.checkpoints._codecs.hdf5.superblock import root_of
from milepost.checkpoints._codecs.hdf5.tree import Tree, tree
from milepost.checkpoints._codecs.hdf5.window import Window, whole
from milepost.checkpoints.formats._keras.table import bytes_of
from milepost.core.types import Array

VERSIONS = ("earliest", "v108", "v110", "latest")
TEXTS = re.compile(r"name|backend|keras_version|(?:layer|weight)_names\d*")
DRAW = np.random.default_rng(12)


def check(path: Path) -> Tree:
    """Hold that a file's datasets and texts are those that h5py reads; return what was read."""
    with opened(str(path)) as file, h5py.File(path) as judge:
        window = whole(file)
        found = tree(window)
        members: dict[str, Any] = {"": judge}
        judge.visititems(members.__setitem__)
        datasets = {name: item for name, item in members.items() if isinstance(item, h5py.Dataset)}
        assert found.datasets.keys() == datasets.keys()
        for name, held in found.datasets.items():
            if held.dtype is not None and not held.bfloat16:
                same(window, held, datasets[name])
        texts = {name: dict(texts_of(item)) for name, item in members.items() if not isinstance(item, h5py.Dataset)}
        assert found.texts == {name: held for name, held in texts.items() if held}
    return found


def same(window: Window, held: Any, judge: Any) -> None:
    """Hold that a dataset's type and bytes are those that h5py reads."""
    expected = np.empty(judge.shape, judge.dtype)
    if expected.size:
        judge.read_direct(expected)
    assert held.dtype == expected.dtype
    assert held.shape == expected.shape
    assert bytes_of(window, held) == expected.tobytes(), held.path


def texts_of(item: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield a group's texts as h5py's lowest level reads them."""
    for name in item.attrs:
        attribute = h5py.h5a.open(item.id, name.encode())
        count = attribute.get_space().get_simple_extent_npoints()
        if TEXTS.fullmatch(name) and (count == 0 or attribute.get_type().get_class() == h5py.h5t.STRING):
            made = np.empty(0 if attribute.shape is None else attribute.shape, attribute.dtype)
            if count:
                attribute.read(made)
            yield name, [one.decode() if isinstance(one, bytes) else one for one in made.reshape(-1)[:count].tolist()]


def numbers(file: h5py.File) -> None:
    """Add arrays, scalars and empty arrays of every number type."""
    for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c8", "c16"):
        for order in "<>":
            values = (DRAW.random((3, 5)) * 100).astype(order + kind)
            file[f"{kind}{order}/array"], file[f"{kind}{order}/scalar"] = values, values[1, 1]
            file[f"{kind}{order}/empty"] = values[:0]
    file["bool"], file["enum"] = DRAW.random(9) < 0.5, np.arange(3, dtype=h5py.enum_dtype({"A": 0, "B": 300}, "i4"))


def others(file: h5py.File) -> None:
    """Add what holds no plain numbers, beside a dataset of a committed type."""
    file["type"] = np.dtype(">f4")
    file.create_dataset("committed", data=np.ones(3), dtype=file["type"])
    del file["type"]
    file["text"], file["fixed"], file["pair"] = "x", np.array([b"aa", b"b"]), np.zeros(2, [("a", "f4"), ("i", "f4")])
    file["real_first"] = np.zeros(2, [("r", "f4"), ("i", "f8")])
    file["reference"], file["bytes"] = file["fixed"].ref, np.zeros(2, "V3")
    file["long"] = np.ones(3, np.longdouble)
    file.create_dataset("nothing", data=h5py.Empty("f4"))


def in_header(file: h5py.File) -> None:
    """Add datasets whose values lie within their headers."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    for name, extent in ((b"a", h5py.h5s.create_simple((7, 5))), (b"b", h5py.h5s.create(h5py.h5s.SCALAR))):
        h5py.h5d.create(file.id, name, h5py.h5t.IEEE_F32LE, extent, plan)
        file[name.decode()][...] = 3


def many(count: int, length: int = 1) -> Callable[[h5py.File], None]:
    """Return what adds many datasets to one group, with names of some length."""

    def fill(file: h5py.File) -> None:
        for number in range(count):
            file[f"layers/{'n' * length}{number}"] = np.int32(number)

    return fill


def attributes(file: h5py.File) -> None:
    """Add texts of every kind, more than a header holds, and what is no text."""
    for number in range(60):
        file.require_group("many").attrs[f"weight_names{number}"] = [f"é{number}/{item}".encode() for item in range(4)]
    group = file.create_group("kinds")
    group.attrs["layer_names"] = [f"é{number}" for number in range(900)]
    group.attrs["name"], group.attrs["backend"] = "one", np.bytes_("tf")
    group.attrs["weight_names"], group.attrs["weight_names1"] = np.array([], "S1"), h5py.Empty("S4")
    group.attrs["weight_names2"], group.attrs["keras_version"] = np.zeros(0, "f4"), np.float32(3)
    group.attrs["other"] = "not read"
    for name, padding, value in (
        (b"weight_names3", h5py.h5t.STR_SPACEPAD, b"ab   "),
        (b"weight_names4", h5py.h5t.STR_NULLPAD, b"a\0b\0\0"),
        (b"weight_names5", h5py.h5t.STR_NULLTERM, b"a\0xyz"),
    ):
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(5)
        kind.set_strpad(padding)
        attribute = h5py.h5a.create(group.id, name, kind, h5py.h5s.create_simple((1,)))
        attribute.write(np.array([value], "S5"), mtype=kind)
    file["x"] = np.zeros(2)


def resized(file: h5py.File) -> None:
    """Add datasets that grew and shrank."""
    for number, most in enumerate([(None, None), (None, 10), (20, 20)]):
        data = file.create_dataset(str(number), data=DRAW.random((10, 10)), chunks=(3, 3), maxshape=most)
        for shape in ((5, 7), (8, 7)) if number == 0 else ((4, 10), (15, 10)):
            data.resize(shape)
        data[...] = DRAW.random(data.shape)


FILTERS: tuple[dict[str, Any], ...] = (
    {}, {"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {"shuffle": True, "compression": 9},
    {"shuffle": True, "compression": "gzip", "fletcher32": True},
)  # fmt: skip
SHAPES: tuple[tuple[Any, Any, Any], ...] = (
    ((7, 5), (2, 3), None), ((7, 5), (7, 5), None), ((7, 5), (9, 9), (9, 9)), ((7, 5), (2, 3), (None, 5)),
    ((7, 5), (2, 3), (20, None)), ((7, 5), (2, 3), (None, None)), ((7, 5), (2, 3), (20, 30)), ((1100,), (1,), None),
    ((300,), (1,), (None,)), ((30, 30), (1, 1), (None, None)), ((5, 6, 7), (2, 2, 2), (8, None, 10)),
)  # fmt: skip


def in_chunks(file: h5py.File) -> None:
    """Add datasets of every list of chunks with every filter."""
    for number, how in enumerate(FILTERS):
        for place, (shape, chunk, most) in enumerate(SHAPES):
            values = (DRAW.random(shape) * 100).astype(">f4" if place % 2 else "<f4")
            file.create_dataset(f"{number}/{place}", data=values, chunks=chunk, maxshape=most, **how)


def in_a_row(file: h5py.File) -> None:
    """Add chunks that follow each other and are listed nowhere."""
    for number, most in enumerate((None, (20, 30))):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((2, 3))
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        extent = h5py.h5s.create_simple((7, 5), most)
        h5py.h5d.create(file.id, str(number).encode(), h5py.h5t.IEEE_F32LE, extent, plan)
        file[str(number)][...] = DRAW.random((7, 5))


FILLS: dict[str, Callable[[h5py.File], None]] = {
    "numbers": numbers, "others": others, "in_header": in_header, "one": many(1), "eight": many(8), "nine": many(9),
    "hundreds": many(700), "long_names": many(30, 3000), "attributes": attributes, "resized": resized,
    "in_chunks": in_chunks, "in_a_row": in_a_row,
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", list(FILLS))
def test_what_h5py_writes_is_read_as_h5py_reads_it(name: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version, track_order=name == "hundreds") as file:
        FILLS[name](file)
    found = check(path)
    unread = {one: held.why for one, held in found.datasets.items() if held.dtype is None}
    assert set(unread) == (set(found.datasets) - {"committed"} if name == "others" else set())
    if name == "others":
        assert unread["long"] == "a number type that is not read"
        assert unread["reference"] == "values of HDF5 class 7, which are no plain numbers"


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_thousands_of_members(version: str, tmp_path: Path) -> None:
    """Trees of three levels, and a heap of blocks of blocks."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version) as file:
        many(3000)(file)
    assert len(check(path).datasets) == 3000


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (4, 8)])
def test_addresses_and_lengths_of_four_bytes(sizes: tuple[int, int], version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    plan, access = (h5py.h5p.create(kind) for kind in (h5py.h5p.FILE_CREATE, h5py.h5p.FILE_ACCESS))
    plan.set_sizes(*sizes)
    if version == "latest":
        access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    with h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, plan, access)) as file:
        fills = [many(40), attributes, in_header]
        if version == "earliest" or sizes[1] == 8:  # the library itself cannot read an endless axis in 4 bytes
            fills.append(in_chunks)
        for fill in fills:
            fill(file)
    check(path)


def test_an_attribute_that_no_header_holds(tmp_path: Path) -> None:
    """Names of 300 KB: a large object of a heap; Keras splits them, so that older files hold them too."""
    path = tmp_path / "a.h5"
    names = [b"%099d" % number for number in range(3000)]
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = np.zeros(2)
        file.attrs["layer_names"], file.attrs["weight_names"] = names, names[:50]
        for number in range(12):
            file.attrs[f"weight_names{number}"] = names[:400]
    assert check(path).listed("", "layer_names") == [name.decode() for name in names]
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(2)
        for number in range(6):
            file.attrs[f"layer_names{number}"] = names[500 * number : 500 * number + 500]
    assert check(path).listed("", "layer_names") == [name.decode() for name in names]


def test_a_float_type_of_brain_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    values = DRAW.random(9).astype("f4")
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(15, 7, 8, 0, 7)
        kind.set_size(2)
        kind.set_ebias(127)
        file.create_dataset("x", (9,), dtype=h5py.Datatype(kind))
        file["x"].id.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
        expected = np.empty(9, "f4")
        file["x"].id.read(h5py.h5s.ALL, h5py.h5s.ALL, expected)
    with opened(str(path)) as file:
        held = tree(whole(file)).datasets["x"]
        stored = np.frombuffer(bytes_of(whole(file), held), "<u2")
    assert held.bfloat16
    assert np.array_equal((stored.astype("u4") << 16).view("f4"), expected)


def test_real_files_of_keras(shared_data: Path) -> None:
    paths = sorted((shared_data / "checkpoints").rglob("*.h5"))
    assert paths
    for path in paths:
        assert check(path).datasets


def test_number_types_that_numpy_lacks_are_not_taken_for_others(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    kinds = {name: getattr(h5py.h5t, kind).copy() for name, kind in (("vax", "IEEE_F32LE"), ("bits", "STD_I32LE"))}
    kinds["vax"].set_order(h5py.h5t.ORDER_VAX)
    kinds["bits"].set_precision(20)
    with h5py.File(path, "w") as file:
        for name, kind in kinds.items():
            h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((3,)))
    with opened(str(path)) as file:
        found = tree(whole(file)).datasets
    assert {held.why for held in found.values()} == {"a number type that is not read"}


# --------------------------------------------------------------------------------------------------- lists of chunks


@contextmanager
def listed(path: Path, name: str) -> Iterator[tuple[int, list[Chunk]]]:
    """Give the way in which a dataset's chunks are listed, and those that are stored."""
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file[name].id).addr
    with opened(str(path)) as file:
        blocks, _ = root_of(whole(file))
        header = headers.header(blocks, address)
        bodies = {message.kind: message.body for message in header.messages}
        where = layouts.layout(blocks, bodies[headers.LAYOUT])
        assert isinstance(where, InChunks)
        filters = pipeline(blocks, bodies[headers.FILTERS]) if headers.FILTERS in bodies else ()
        extent = space(blocks, bodies[headers.SPACE])
        yield where.index, chunks(blocks, where, extent, filtered=bool(filters))


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize(
    ("index", "shape", "most"),
    [
        (layouts.FIXED, (100_000,), None),  # in pages, of which some were never written
        (layouts.FIXED, (70, 90), (75, 100)),
        (layouts.EXTENSIBLE, (300_000,), (None,)),  # super blocks, and blocks in pages
        (layouts.EXTENSIBLE, (70, 90), (80, None)),
        (layouts.EXTENSIBLE, (20, 30, 40), (25, None, 44)),
        (layouts.BTREE2, (300, 300), (None, None)),
    ],
)
def test_sparse_chunks_are_where_their_values_are(
    index: int, shape: tuple[int, ...], most: Any, compression: str | None, tmp_path: Path
) -> None:
    """The library's own walk through chunks numbers those of some arrays wrongly; its values are right."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("x", shape, "i1", chunks=(1,) * len(shape), maxshape=most, compression=compression)
        for number in range(100):
            data[tuple(int(DRAW.integers(size)) for size in shape)] = 1 + number % 100
        values = data[()]
    with listed(path, "x") as (found, stored):
        assert found == index
        assert {chunk.start for chunk in stored} == set(zip(*map(np.ndarray.tolist, np.nonzero(values)), strict=True))
    raw = path.read_bytes()
    if compression is None:
        assert all(raw[chunk.offset] == values[chunk.start] for chunk in stored)


# ------------------------------------------------------------------------------------------------------- random files

NAMES = st.lists(st.text("abcé.:", min_size=1, max_size=4).filter(lambda text: text != "."), min_size=1, max_size=3)
ITEM = st.fixed_dictionaries(
    {
        "name": NAMES.map("/".join).filter(lambda name: "./" not in f"{name}/"),
        "shape": st.lists(st.integers(0, 7), max_size=3),
        "dtype": st.sampled_from(["<f4", ">f8", "<i2", "u1", "bool", "<f2", "<c8", ">u8"]),
        "how": st.sampled_from(FILTERS),
        "chunk": st.one_of(st.none(), st.lists(st.integers(1, 8), min_size=3, max_size=3)),
        "grows": st.lists(st.sampled_from([0, 3, None]), min_size=3, max_size=3),
    }
)
GIVEN_TEXTS = st.dictionaries(
    st.sampled_from(["layer_names", "weight_names0", "name", "other"]),
    st.one_of(st.text("xyé", max_size=9), st.lists(st.text("xyé", max_size=9), max_size=30)),
    max_size=3,
)


def put(file: h5py.File, item: dict[str, Any]) -> None:
    """Add a dataset, where its name is not taken by another."""
    shape = tuple(item["shape"])
    values: Array = (np.random.default_rng(len(item["name"])).random(shape) * 200).astype(item["dtype"])
    how: dict[str, Any] = {}
    if item["chunk"] and shape and math.prod(shape):
        most = [None if more is None else size + more for size, more in zip(shape, item["grows"], strict=False)]
        chunk = tuple(
            part if limit is None else min(part, limit) for part, limit in zip(item["chunk"], most, strict=False)
        )
        how = {"chunks": chunk, "maxshape": tuple(most), **item["how"]}
    try:
        file.create_dataset(item["name"], data=values, **how)
    except (ValueError, TypeError):
        return  # the name of another, or below a dataset


@settings(max_examples=40, deadline=None)
@given(
    items=st.lists(ITEM, min_size=1, max_size=14),
    texts=GIVEN_TEXTS,
    version=st.sampled_from(VERSIONS),
    ordered=st.booleans(),
)
def test_random_files(
    items: list[Any], texts: dict[str, Any], version: str, ordered: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("random") / "a.h5"
    with h5py.File(path, "w", libver=version, track_order=ordered) as file:
        file["first"] = np.ones(2)
        for item in items:
            put(file, item)
        for name, text in texts.items():
            file.attrs[name] = text
    check(path)
    os.unlink(path)
