"""A checkpoint that is named from inside its own folder, or as TensorFlow calls it, is the one that its path names."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests._material import ENVIRONMENT, command, save, weights_of
from tests.checkpoints._tf_writer import saver_v1, write_bundle
from tests.checkpoints.test_keras_shards import shards

from milepost.checkpoints._files.shards import from_prefix, shards_of, size_of
from milepost.checkpoints.discovery import find
from milepost.compat.slim._checkpoints import at, prefix_of
from milepost.errors import Corrupt, Torn, UsageError

ARRAYS = {name: array.astype("f4") for name, array in weights_of(0).items()}
EVALUATION = """
import numpy as np
from milepost import Evaluation
from milepost.data import Arrays
from milepost.metrics import TopK
from milepost.models.numpy import FunctionModel
from milepost.tasks import Classification

rng = np.random.default_rng(0)
evaluation = Evaluation(
    model=FunctionModel(lambda weights, inputs: inputs @ weights["w"] + weights["b"]),
    data={"test": Arrays(rng.normal(size=(50, 8)).astype("f4"), rng.integers(0, 10, 50))},
    task=Classification(outputs="logits"),
    metrics=[TopK(1)],
)
"""

Make = Callable[[Path], object]


def sharded_v1(folder: Path) -> None:
    """Write the two files of a sharded Saver V1."""
    for number, (name, array) in enumerate(ARRAYS.items()):
        (folder / f"m-{number:05d}-of-00002").write_bytes(saver_v1({name: array}))


def bundle(prefix: str) -> Make:
    return lambda folder: write_bundle(folder / f"{prefix}.index", ARRAYS, 2)


FILES: dict[str, tuple[Make, str, tuple[str, ...]]] = {
    "bundle": (bundle("model.ckpt-200"), "model.ckpt-200.index", ("model.ckpt-200",)),
    "bundle without a name": (bundle(""), ".index", ()),
    "bundle with a step alone": (bundle("-7"), "-7.index", ("-7",)),
    "Saver V1": (lambda folder: (folder / "m-3").write_bytes(saver_v1(ARRAYS)), "m-3", ()),
    "sharded Saver V1": (sharded_v1, "m-00000-of-00002", ("m-?????-of-00002", "m-00001-of-00002")),
    "npz": (lambda folder: save(folder / "a.npz", ARRAYS), "a.npz", ()),
    "Keras shards": (
        lambda folder: shards(folder, {"dense/0": ARRAYS["w"]}, {"dense/1": ARRAYS["b"]}), "big.weights.json", (),
    ),
}  # fmt: skip


@pytest.fixture(params=FILES)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, tuple[str, ...]]:
    """Write a checkpoint into a folder; return the folder, its main file's name, and what else it is called."""
    make, name, others = FILES[request.param]
    folder = tmp_path / "run"
    folder.mkdir()
    make(folder)
    return folder, name, others


def ways(folder: Path, name: str) -> Iterator[str]:
    """Yield how a file, or what TensorFlow calls one, is named from inside its folder."""
    yield from (name, f"./{name}", f"../{folder.name}/{name}", f".//{name}", f"../{folder.name}/./{name}")


def test_every_way_from_inside_finds_the_same_files(
    made: tuple[Path, str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name, others = made
    whole = str(folder / name)
    (expected,) = find([whole])
    assert expected.state == "complete"
    beside = [os.path.basename(path) for path in expected.paths[1:]]
    (folder.parent / "linked").symlink_to("run")
    monkeypatch.chdir(folder)
    for called in (name, *others):
        for way in ways(folder, called):
            assert find([way]) == [expected], way
            meant = from_prefix(way)
            assert os.path.abspath(meant) == whole
            assert [os.path.basename(path) for path in shards_of(meant)] == beside, way
    for around in (".", "./", "..", "../", "../run", "../run/", str(folder) + os.sep):
        assert expected in find([around]), around
    (linked,) = find([f"../linked/{(others or (name,))[0]}"])
    assert linked.identity == expected.identity


def test_inspect_in_its_sandbox_reads_what_is_named_from_inside(made: tuple[Path, str, tuple[str, ...]]) -> None:
    folder, name, others = made
    for called in (name, *others):
        shown = command("inspect", "--", called, cwd=folder)
        assert shown.returncode == 0, shown.stderr
        assert f"path    {folder / name}" in shown.stdout
        assert "weights: 2 tensors" in shown.stdout


@pytest.mark.parametrize("kind", ["bundle", "bundle without a name", "sharded Saver V1"])
def test_runs_from_inside_are_one_evaluation(kind: str, tmp_path: Path) -> None:
    make, name, others = FILES[kind]
    folder = tmp_path / "run"
    folder.mkdir()
    make(folder)
    (tmp_path / "eval.py").write_text(EVALUATION)
    for number, called in enumerate([name, *others, "."]):
        ran = command("run", "../eval.py", called, "--store", "../evals", cwd=folder, env=ENVIRONMENT)
        assert ran.returncode == 0, ran.stderr
        assert f"evaluated {int(number == 0)}, skipped {int(number > 0)}, failed 0" in ran.stdout + ran.stderr
    watched = command("watch", "../eval.py", ".", "--store", "../evals", "--idle", "0.1s", cwd=folder)
    assert watched.returncode == 0, watched.stderr
    assert command("ls", "--store", "evals", cwd=tmp_path).stdout.count(" ok") == 1


def test_a_checkpoint_without_a_name_is_called_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    write_bundle(folder / ".index", ARRAYS)
    (tmp_path / "eval.py").write_text(EVALUATION)
    assert command("run", "eval.py", "export", "--store", "evals", cwd=tmp_path).returncode == 0
    assert "names    export" in command("show", "export", "--store", "evals", cwd=tmp_path).stdout


def test_slims_calls_take_tensorflows_names(tmp_path: Path) -> None:
    write_bundle(tmp_path / ".index", ARRAYS)
    sharded_v1(tmp_path)
    assert prefix_of(at(f"{tmp_path}/")) == f"{tmp_path}/"
    assert at(tmp_path / "m-?????-of-00002").path == str(tmp_path / "m-00000-of-00002")
    with pytest.raises(UsageError, match="a folder; give one checkpoint of it"):
        at(tmp_path)


def test_any_shard_names_the_first_that_is_there(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m-{number:05d}-of-00003").write_bytes(saver_v1(ARRAYS))
    for called in ("m-?????-of-00003", "m-00002-of-00003", "m-00001-of-00003"):
        (found,) = find([str(tmp_path / called)])
        assert found.state == "writing"
        assert found.path.endswith("m-00001-of-00003")
        assert "1 of 3 shards are absent, m-00000-of-00003 the first" in (found.failure or ("", ""))[1]


@pytest.mark.parametrize("kind", ["bundle", "sharded Saver V1"])
def test_a_shard_that_cannot_be_looked_at_is_not_called_absent(kind: str, tmp_path: Path) -> None:
    make, name, _ = FILES[kind]
    make(tmp_path)
    (shard,) = shards_of(str(tmp_path / name))[-1:]
    os.unlink(shard)
    os.symlink(os.path.basename(shard), shard)  # leads to itself
    shown = command("inspect", tmp_path / name)
    assert shown.returncode == 3
    assert "Too many levels of symbolic links" in shown.stderr
    assert "absent" not in shown.stderr
    with pytest.raises(Corrupt, match="Too many levels"):
        size_of(shard)


def test_a_folder_that_cannot_be_listed_is_an_error_and_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: str) -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(Torn, match="cannot be read: Input/output error; look at the disk"):
        shards_of(str(tmp_path / "m.index"))
