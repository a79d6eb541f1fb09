"""What a small file may cost: kinds that asked for gigabytes or minutes, each refused within its budget.

The budgets are a sixty-fourth of the real ones, so that small files show what large ones would do.
"""

import io
import json
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.checkpoints import _tf_writer as writer
from tests.checkpoints.test_sstable import END, entry, of_blocks
from tests.checkpoints.test_torch_zip import archive, number, text

from milepost._internal import budget
from milepost._internal.budget import Budget, TooCostly, charge, glancing, spending
from milepost._internal.fileid import identity_of
from milepost._internal.json_text import parsed
from milepost._internal.zip import names
from milepost.checkpoints._codecs.pickle import Placeholder, unpickle
from milepost.checkpoints._codecs.protobuf import Message
from milepost.checkpoints._codecs.sstable import open_table
from milepost.checkpoints._files.checks import check_table
from milepost.checkpoints._files.facts import flat
from milepost.checkpoints.formats._tensorflow.object_graph import names_by_key
from milepost.checkpoints.reader import Reader
from milepost.core.types import CheckpointFiles, Extent, Table, Tensor
from milepost.errors import Corrupt

MIB = 1 << 20
LESS = 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_MADE_AT_LEAST", (128 << 20) // LESS)
    monkeypatch.setattr(budget, "_NODES_AT_LEAST", 500_000 // LESS)


def peak_of(work: Callable[[], object]) -> float:
    """Return the MiB that some work takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def refused(work: Callable[[], object], words: str = "needs more than") -> None:
    """Hold that some work is refused, having taken no more memory than a few of its budgets."""

    def inner() -> None:
        with pytest.raises(Corrupt, match=words):
            work()

    assert peak_of(inner) < 3 * (128 / LESS) + 10


def table(path: Path) -> object:
    (found,) = Reader().discover([str(path)])
    return Reader().table(found, str(path.parent))


# ------------------------------------------------------------------------------------------------------------- pickles

VIEW = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + number(1) + b"tQK\x00K\x01\x85K\x01\x85\x89)tRq\x09"
)  # fmt: skip


def long(value: bytes) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value


LONG = long(b"a" * 100_000)
LISTED = b"](" + b"K\x00" * 20_000 + b"e\x85q\x000"
PAIRS = b"](" + b"".join(b"(" + text(f"k{number}") + b"K\x00t" for number in range(3000)) + b"e\x85q\x000"
CALLS = b"](" + b"h\x01h\x00R" * 400 + b"e."
DOUBLED = VIEW + b"0]h\x09aq\x0a" + b"".join(b"0](h%ch%ceq%c" % (at, at, at + 1) for at in range(10, 60)) + b"."
SCANNED = b"}(" + b"".join(text(f"k{number}") + b"N" for number in range(2000)) + b"uq\x00" + b"0](" + b"h\x00" * 3000
MODULE = b"cx\nNet\n)R}(" + text("_parameters") + b"}" + text("w") + VIEW + b"s" + text("_modules") + b"}"
NESTED_MODULES = MODULE + b"ubq\x0a" + b"".join(
    b"0" + MODULE + b"(" + b"".join(text(name) + b"h%c" % at for name in "lr") + b"uubq%c" % (at + 1)
    for at in range(10, 40)
)  # fmt: skip

PICKLES = {
    "names of classes": (LONG + b"q\x000](" + b"h\x00h\x00\x93" * 300 + b"e.", "names a class by 200,000 characters"),
    "copies of a list": (LISTED + b"cbuiltins\nlist\nq\x010" + CALLS, "needs more than"),
    "copies of a size": (LISTED + b"ctorch\nSize\nq\x010" + CALLS, "needs more than"),
    "copies within a type": (
        LISTED + b"ctorch._tensor\n_rebuild_from_type_v2\nq\x010(cbuiltins\nlist\nNh\x00Ntq\x020]("
        + b"h\x01h\x02R" * 400 + b"e.", "needs more than",
    ),
    "mappings of pairs": (PAIRS + b"ccollections\nOrderedDict\nq\x010" + CALLS, "needs more than"),
    "encoded text": (LONG + b"\x85q\x000c_codecs\nencode\nq\x010" + CALLS, "needs more than"),
    "dictionaries": (b"](" + b"}" * 200_000 + b"e.", "needs more than"),
    "lists": (b"](" + b"]" * 200_000 + b"e.", "needs more than"),
    "memo": (b"N" + b"\x94" * 200_000 + b".", "needs more than"),
    "objects": (b"cx\nY\nq\x000](" + b"h\x00)R" * 40_000 + b"e.", "needs more than"),
    "steps": (b"N0" * 200_000 + b"N.", "needs more than"),
    "keys that are compared": (
        b"}q\x00" + LONG + b"q\x01Ns" + long(b"a" * 100_000) + b"q\x020" + b"h\x02Ns" * 1000 + b".", "needs more than",
    ),
    "doubled lists": (DOUBLED, "needs more than"),
    "lists of what holds nothing": (SCANNED + b"e.", "needs more than .* parts"),
    "doubled modules": (NESTED_MODULES + b".", "needs more than"),
    "long names": (
        long(b"k" * 3000) + b"q\x000" + VIEW + b"0" + b"}h\x00" * 50 + b"h\x09" + b"s" * 50 + b".", "longer than 4,096",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "words"), PICKLES.values(), ids=PICKLES)
def test_a_pickle_that_makes_more_than_it_takes_is_corrupt(body: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(archive(b"\x80\x02" + body, {"0": bytes(4)}))
    refused(lambda: table(path), words)


def test_long_integers_are_no_keys_and_the_other_keys_are_as_they_were() -> None:
    body = b"}(" + b"\x8b" + struct.pack("<I", 5000) + b"\x01" * 5000 + b"K\x01" + text("w") + b"K\x02u."
    value = unpickle(body, {}, lambda key: key, "x").value
    first, second = value
    assert isinstance(first, Placeholder)
    assert (second, value["w"]) == ("w", 2)


def test_facts_take_little_of_nested_and_wide_containers() -> None:
    value: object = 1
    for _ in range(100):
        value = [value] * 8
    wide: object = 1.5
    for _ in range(3):
        wide = dict.fromkeys(map(str, range(400)), wide)
    circle: list[object] = []
    circle.append(circle)
    assert flat({"deep": value, "circle": circle, "key" * 10_000: 3, "lr": 0.1})["lr"] == 0.1
    assert peak_of(lambda: flat({"wide": {"wide": wide}})) < 16


# ---------------------------------------------------------------------------------------------- archives, arrays, JSON


def test_many_long_headers_of_arrays_are_corrupt(tmp_path: Path) -> None:
    kind = "[" + "('a', '<f4'), " * 3000 + "]"
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': (3,)}}\n".encode()
    made = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + bytes(12)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for place in range(100):
            file.writestr(f"w{place}.npy", made)
    refused(lambda: table(tmp_path / "a.npz"), r"needs more than .* parts")


def test_a_directory_of_entries_without_data_is_corrupt(tmp_path: Path) -> None:
    count = 60_000
    one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
    listed = b"".join(one + b"%05d" % place for place in range(count))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listed), 0, 0)
    path = tmp_path / "a.npz"
    path.write_bytes(listed + end)

    def listing() -> None:
        from milepost._internal.bounded import opened

        with opened(str(path)) as file, spending(str(path), 0):
            names(file)

    refused(listing)


HEADERS = {
    "lists": b'{"a":[' + b"[]," * 200_000 + b"[]]}",
    "tensors": b"{" + b",".join(b'"%d":{"shape":[0],"data_offsets":[0,0]}' % n for n in range(20_000)) + b"}",
    "numbers": b'{"a":[' + b"1," * 400_000 + b"1]}",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_header_that_becomes_much_more_is_corrupt(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    refused(lambda: table(path))


def test_long_metadata_and_many_tensors_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()  # the real budgets
    listed = {"tags": json.dumps({f"tag {place}": place for place in range(100_000)})}
    tensors = {
        f"layer.{n}.w": {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]} for n in range(20_000)
    }
    header = json.dumps({"__metadata__": listed, **tensors}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(80_000))
    (found,) = Reader().discover([str(path)])
    assert len(Reader().table(found, str(tmp_path)).tensors) == 20_000


@pytest.mark.parametrize("sign", ["\N{BUTTERFLY}", r"\ud83e\udd8b", "\N{CYRILLIC SMALL LETTER A}", r"\u0430"])
def test_one_wide_sign_widens_a_whole_text(sign: str) -> None:
    raw = f'["{"x" * 700_000}{sign}"]'.encode()

    def wide() -> None:
        with spending("x", 0):
            parsed(raw)

    refused(wide)
    with spending("x", 0):
        assert parsed(raw.replace(sign.encode(), b"x"))


def test_nested_brackets_are_no_proper_json() -> None:
    with pytest.raises(RecursionError):
        parsed(b"[" * 30_000 + b"]" * 30_000)


# ---------------------------------------------------------------------------------------------------------- TensorFlow

Node = tuple[list[tuple[int, str]], list[tuple[str, str]]]
KEYS = entry(0, b"n" * 15_000, 0, b"") + b"".join(
    entry(15_000, place.to_bytes(4, "big"), 0, b"") for place in range(1 << 30, (1 << 30) + 2000)
)


def test_keys_that_share_their_beginning_are_corrupt(tmp_path: Path) -> None:
    from milepost._internal.bounded import opened

    path = tmp_path / "a.index"
    path.write_bytes(of_blocks(KEYS + END))

    def keys() -> None:
        with opened(str(path)) as file, spending(str(path), file.size):
            [key for key, _ in open_table(file).entries()]

    refused(keys)


def test_empty_fields_of_a_message_are_counted() -> None:
    def message() -> None:
        with spending("x", 0):
            Message(memoryview(b"\x0a\x00" * 60_000), lambda: "a message")

    refused(message)


def test_a_chain_of_objects_is_not_walked_from_each_of_them() -> None:
    # The kernels hang at the end of a chain, and their keys lead through an optimizer: each is named by the chain.
    kernels, steps = 200, 800
    chain: list[Node] = [([(place + 1, "a")], []) for place in range(1, steps)]
    first = steps + 1
    optimizer: Node = ([(1, "m"), (steps, "iterations"), (steps, "learning_rate"), (first, "k")], [])
    leaves = [([(first + 1 + place, "k")], [("", "o/k/.ATTRIBUTES/VARIABLE_VALUE")]) for place in range(kernels)]
    nodes: list[Node] = [
        ([(1, "m"), (steps, "o")], []),
        *chain[:-1],
        ([(first, "k")], []),
        optimizer,
        *leaves,
        ([], []),
    ]
    graph = memoryview(writer.graph(nodes))

    def named() -> None:
        with spending("x", len(graph)):
            names_by_key(graph, lambda: "a graph")

    refused(named)


# ---------------------------------------------------------------------------------------------------------- the budget


def test_a_budget_says_how_many_times_the_size_was_asked_for() -> None:
    with spending("a.pt", MIB), pytest.raises(TooCostly, match=r"a.pt: needs more than 8 times its size to read"):
        charge(made=8 * MIB + 1)
    with spending("a.pt", 4), pytest.raises(TooCostly, match=r"needs more than 7,813 parts to read"):
        charge(nodes=40_000)


def test_seconds_are_those_of_the_processor_and_asked_for_now_and_then() -> None:
    one = Budget("a.pt", 0, seconds=0.02)
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass
    for _ in range(budget._OFTEN - 1):
        one.charge()
    with pytest.raises(TooCostly, match=r"needs more than 0.0 s of processor time"):
        one.charge()


def test_a_checkpoint_has_one_budget_and_files_beside_add_to_it() -> None:
    with spending("a.pt", 10) as outer, glancing("b.pt", 10 * MIB) as inner:
        assert inner is outer
        left = outer.made
        budget.extend(MIB)
        assert (outer.path, outer.made - left, outer.size) == ("a.pt", 6 * MIB, MIB + 10)
    charge(made=1 << 40)  # nothing is read: nothing is spent


def test_good_files_are_read_within_a_sixty_fourth_of_their_budget(tmp_path: Path) -> None:
    made = io.BytesIO()
    arrays: dict[str, Any] = {f"w{place}": np.zeros((4, 4), "f4") for place in range(500)}
    np.savez_compressed(made, **arrays)
    (tmp_path / "a.npz").write_bytes(made.getvalue())
    assert table(tmp_path / "a.npz")


def test_a_table_takes_no_more_text_than_its_files_allow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(bytes(400))
    path = str(tmp_path / "a.bin")
    files = CheckpointFiles(path, "believing", (path,), identity_of(path))
    for sign, fine in (("n", True), ("\x01", False), ("\N{BUTTERFLY}", False)):
        rows = [Tensor(f"{sign * 300}{place}", "float32", (1,), Extent(path, 0, 4)) for place in range(10)]
        monkeypatch.setattr(budget, "_ANSWER_AT_LEAST", 4000 + 10 * (250 + len(path)))
        if fine:
            check_table(Table("believing", tuple(rows)), files)
        else:
            with pytest.raises(Corrupt, match=r"of text, at most \d[\d,]+ are read of a file of 400 bytes"):
                check_table(Table("believing", tuple(rows)), files)
