"""The reader of the local engine in its sandbox: what it may read, what it may answer, and what a run says of it."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests._material import CLASSES, ENVIRONMENT, FEATURES, command, lines_of

from milepost._internal.fileid import identity_of
from milepost.core.types import CheckpointFiles, Extent, Identity, Job, Table, Tensor
from milepost.engines._process.allowed_paths import Places, check_found, check_table
from milepost.engines._process.confined_reader import ConfinedReader, readable_of
from milepost.errors import Crashed, Outside, TimedOut, UsageError, Vanished
from milepost.sandbox import confine, landlock

needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock")

SEVERAL = f"""
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.models.numpy import FunctionModel
from milepost.metrics import TopK
from milepost.tasks import Classification

evaluations = {{
    name: Evaluation(
        model=FunctionModel(lambda weights, inputs: inputs @ weights["w"] + weights["b"]),
        data={{"test": Arrays(np.ones((40, {FEATURES}), "f4"), np.zeros(40, int))}},
        task=Classification(outputs="logits"),
        metrics=[TopK(1)],
    )
    for name in ("one", "two")
}}
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ConfinedReader]:
    """Return the reader of the local engine, with a spool of its own."""
    (tmp_path / "spool").mkdir()
    made = ConfinedReader("milepost.checkpoints.reader", 60.0, str(tmp_path / "spool"))
    yield made
    made.close()


def saved(path: Path, *, packed: bool = False) -> Path:
    path.parent.mkdir(exist_ok=True)
    (np.savez_compressed if packed else np.savez)(path, w=np.arange(6.0))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_a_good_checkpoint_is_read(packed: bool, reader: ConfinedReader, tmp_path: Path) -> None:
    path = saved(tmp_path / "run" / "step-1.npz", packed=packed)
    (found,) = reader.discover([str(path.parent)], None)
    table = reader.table(found, str(tmp_path / "spool"))
    where = table.tensors[0].where
    assert np.fromfile(where.file, "<f8", 6, offset=where.offset).tolist() == [0, 1, 2, 3, 4, 5]
    assert [measure.name for measure in reader.sandbox()] in (list(confine.MEASURES), ["sandbox"])


def test_a_new_folder_or_a_replaced_one_gets_a_reader_that_may_read_it(reader: ConfinedReader, tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a" / "1.npz"), saved(tmp_path / "b" / "2.npz")
    assert len(reader.discover([str(first.parent)], None)) == 1
    child = reader._child
    assert reader.discover([str(first)], None)[0].failure is None
    assert reader._child is child
    assert reader.discover([str(second.parent)], None)[0].failure is None
    assert reader._child is not child
    child = reader._child
    (tmp_path / "b").rename(tmp_path / "old")
    saved(second)
    assert reader.discover([str(second.parent)], None)[0].failure is None
    assert reader._child is not child
    assert len(reader.discover([str(first.parent), str(second.parent)], None)) == 2


def test_a_pinned_checkpoint_is_read_where_it_is_pinned(tmp_path: Path) -> None:
    path, pins = saved(tmp_path / "run" / "1.npz"), tmp_path / "store" / "pins"
    reader = ConfinedReader("milepost.checkpoints.reader", 60.0, str(tmp_path), [str(path.parent), str(pins)])
    try:
        (found,) = reader.discover([str(path)], None)
        child = reader._child
        for name in ("x", "y"):
            (pins / name).mkdir(parents=True)
            os.link(path, pins / name / "1.npz")
            link = str(pins / name / "1.npz")
            pinned = replace(found, path=link, paths=(link,))
            assert reader.table(pinned, str(tmp_path)).format == "npz"
            child, before = reader._child, child
        assert child is before  # the folder of pins came once
    finally:
        reader.close()


@needs_landlock
def test_a_link_out_of_the_folder_cannot_be_read_even_when_the_reader_tries(
    reader: ConfinedReader, tmp_path: Path
) -> None:
    path = saved(tmp_path / "run" / "step-1.npz")
    (found,) = reader.discover([str(path.parent)], None)
    path.unlink()
    path.symlink_to(saved(tmp_path / "elsewhere" / "w.npz"))
    with pytest.raises(Outside, match=r"sandbox refuses .*elsewhere/w.npz, which lies outside of the named paths"):
        reader.table(replace(found, identity=identity_of(str(path))), str(tmp_path / "spool"))
    (row,) = reader.discover([str(path.parent)], None)
    assert "outside of the named folders, was not followed" in str(row.failure)
    (row,) = reader.discover([str(path)], None)
    assert "the reader's sandbox refuses" in str(row.failure)


def test_links_out_are_rows_where_they_are_named_like_checkpoints_and_links_back_in_are_followed(
    reader: ConfinedReader, tmp_path: Path
) -> None:
    path = saved(tmp_path / "run" / "step-1.npz")
    saved(tmp_path / "elsewhere" / "w.npz")
    for name, target in (("checkpoint-5", "elsewhere"), ("notes", "elsewhere"), ("last.npz", "elsewhere/w.npz")):
        (path.parent / name).symlink_to(tmp_path / target)
    (tmp_path / "name").symlink_to("run")  # another name of the folder, above it
    (path.parent / "best.npz").symlink_to(tmp_path / "name" / "step-1.npz")
    rows = {Path(row.path).name: row.failure for row in reader.discover([str(path.parent)], None)}
    assert rows.keys() == {"step-1.npz", "best.npz", "checkpoint-5", "last.npz"}
    assert rows["step-1.npz"] is rows["best.npz"] is None
    for name in ("checkpoint-5", "last.npz"):
        kind, message = rows[name] or ("", "")
        assert (kind, "outside of the named folders, was not followed" in message) == ("outside", True)


def test_a_link_that_is_named_is_followed(reader: ConfinedReader, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    link = tmp_path / "run" / "last.npz"
    link.symlink_to(saved(tmp_path / "elsewhere" / "w.npz"))
    (found,) = reader.discover([str(link)], None)
    assert found.failure is None
    assert reader.table(found, str(tmp_path / "spool")).format == "npz"


def test_the_message_on_a_link_to_nothing_names_where_it_leads(reader: ConfinedReader, tmp_path: Path) -> None:
    link = tmp_path / "run" / "last.npz"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "elsewhere" / "w.npz")
    words = f"a symbolic link to {tmp_path / 'elsewhere' / 'w.npz'}, which is not there"
    (row,) = reader.discover([str(link.parent)], None)
    assert row.failure is not None
    assert (row.failure[0], words in row.failure[1]) == ("vanished", True)
    with pytest.raises((Vanished, UsageError), match=words):  # the other where nothing is hidden from the reader
        reader.inspect(str(link))


def test_answers_that_point_elsewhere_are_not_believed() -> None:
    found = CheckpointFiles("/run/a.pt", "torch_zip", ("/run/a.pt",), Identity(1, 2, 3, 4, 5))
    check_found([found], ["/run"], [])
    for other in (replace(found, path="/etc/passwd", paths=()), replace(found, paths=("/run/../etc/passwd",))):
        with pytest.raises(Crashed, match="which it was not asked for"):
            check_found([other], ["/run"], [])

    def table(file: str) -> Table:
        return Table("torch_zip", (Tensor("w", "float32", (1,), Extent(file, 0, 4)),))

    check_table(table("/run/a.pt"), found, "/spool/1")
    check_table(table("/spool/1/w"), found, "/spool/1")
    for file in ("/etc/passwd", "/run/b.pt", "/spool/2/w"):
        with pytest.raises(Crashed, match="points at"):
            check_table(table(file), found, "/spool/1")


def test_a_found_place_is_never_a_reason_to_open_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evil.pt").symlink_to("/etc/passwd")
    places = Places(str(tmp_path), [str(tmp_path / "run")])
    assert not places.need_within([str(tmp_path / "run" / "evil.pt")])
    assert places.named == [str(tmp_path / "run")]


def test_readable_is_a_list_of_paths(tmp_path: Path) -> None:
    assert readable_of(Job("e.py", "evaluation", {"readable": ["/a"]})) == ["/a"]
    with pytest.raises(UsageError, match="expected a list of paths"):
        readable_of(Job("e.py", "evaluation", {"readable": "/a"}))


def test_many_places_are_looked_up_not_searched(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.npz") for number in range(3000)]
    for path in paths:
        Path(path).touch()
    places = Places(str(tmp_path / "spool"), paths)
    assert not places.need_within(paths)
    assert places.named == paths
    assert places.need([str(tmp_path)])
    assert not places.need_within([*paths, str(tmp_path / "later.npz")])


def test_a_run_notes_once_what_its_sandbox_lacks(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    np.savez(tmp_path / "runs" / "step-1.npz", w=np.zeros((FEATURES, CLASSES), "f4"), b=np.zeros(CLASSES, "f4"))
    (tmp_path / "ev.py").write_text(SEVERAL)
    words = ("run", "ev.py", "runs", "--json")
    done = command(*words, cwd=tmp_path, env={**ENVIRONMENT, "MILEPOST_SANDBOX": "off"})
    lacking = "sandbox (switched off by the environment variable MILEPOST_SANDBOX=off); see `milepost doctor`\n"
    assert done.stderr.count(f"checkpoints are read without the whole sandbox: {lacking}") == 1, done.stderr
    assert lines_of(done.stdout).done == (1, 0, 0)


FAKE = "fake_reader"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("endless", r"answered more than 3,145,728 bytes, which no checkpoint needs, and was ended"),
        ("crowd", r"answered 400,004 values in 600,\d+ bytes, and was ended"),
    ],
)
def test_an_answer_is_bounded_before_the_driver_takes_it(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.engines._process.confined_reader.answer_bytes", lambda _: 2 << 20)
    found = CheckpointFiles(name, "fake", (name,), Identity(1, 2, 3, 4, 5))
    with closing(ConfinedReader(FAKE, None, str(tmp_path), [os.path.dirname(__file__)])) as made:
        with pytest.raises(Crashed, match=words):
            made.table(found, str(tmp_path))
        assert made.table(replace(found, path="good"), str(tmp_path)).step == 7


def test_a_reader_that_takes_more_processor_time_than_its_checkpoint_needs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.engines._process.confined_reader.answer_seconds", lambda size: 0.3 + size)
    found = CheckpointFiles("spin", "fake", ("spin",), Identity(1, 2, 3, 4, 5))
    with closing(ConfinedReader(FAKE, None, str(tmp_path), [os.path.dirname(__file__)])) as made:
        with pytest.raises(
            TimedOut, match=r"the reader process \d+ took more than 0 s of processor time and was ended"
        ):
            made.table(found, str(tmp_path))
        assert made.table(replace(found, path="good"), str(tmp_path)).step == 7
