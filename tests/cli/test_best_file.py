"""`best --path` and `--link`: one line for scripts, a link that is kept, and what is said where files are gone."""

import os
from pathlib import Path

import pytest
from tests._material import Ended, checkpoints, command, evaluation_of, go, save, weights_of

from milepost.errors import UsageError
from milepost.report.best_link import keep_link


@pytest.fixture
def store(tmp_path: Path) -> Path:
    go(evaluation_of(300), checkpoints(tmp_path / "lenet", 1, 2, 3), store=tmp_path / "evals")
    return tmp_path / "evals"


def best(store: Path, *words: object) -> Ended:
    return command("best", "--metric", "cross_entropy", *words, "--store", store, cwd=store.parent)


def test_the_path_is_the_one_line_on_standard_output(store: Path) -> None:
    text = best(store).stdout
    ended = best(store, "--path")
    assert (ended.returncode, ended.stderr) == (0, "")
    (path,) = ended.stdout.splitlines()
    assert f"{path}: holds these weights" in text
    assert Path(path).is_file()


def test_of_files_that_are_gone_the_next_is_named_and_at_last_none(store: Path) -> None:
    left = 3
    while left:
        ended = best(store, "--path")
        assert ended.returncode == 0
        (path,) = ended.stdout.splitlines()
        assert ("is not there any more" in ended.stderr) == (left < 3)
        Path(path).unlink()
        left -= 1
    ended = best(store, "--path", "--link", "best.npz")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "milepost: no file holds the weights of any of those compared" in ended.stderr
    assert not (store.parent / "best.npz").is_symlink()


def test_an_overwritten_file_is_not_the_best(store: Path) -> None:
    first = best(store, "--path").stdout.strip()
    save(Path(first), weights_of(99))
    ended = best(store, "--path")
    assert ended.stdout.strip() not in ("", first)
    assert "overwritten since" in ended.stderr


def test_the_link_is_kept_and_its_checkpoint_is_the_same_weights(store: Path) -> None:
    link = store.parent / "links" / "best.npz"
    link.parent.mkdir()
    ended = best(store, "--link", link, "--path")
    path = ended.stdout.strip()
    assert (ended.returncode, os.path.realpath(link)) == (0, os.path.realpath(path))
    assert not os.path.isabs(os.readlink(link))
    assert "leads already" in best(store, "--link", link, "--path").stderr
    again = go(evaluation_of(300), link, store=store)
    assert again.done == (0, 1, 0)  # the same weights
    Path(path).unlink()
    other = best(store, "--link", link, "--path").stdout.strip()
    assert other != path
    assert os.path.realpath(link) == os.path.realpath(other)
    assert [item.name for item in link.parent.iterdir()] == ["best.npz"]


def test_a_link_across_file_systems_leads_there(tmp_path: Path) -> None:
    shared = Path("/dev/shm")  # noqa: S108 - another file system than that of the test's folder, where there is one
    if not shared.is_dir() or not os.access(shared, os.W_OK) or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    target = shared / f"milepost-{os.getpid()}.npz"
    save(target, weights_of(1))
    try:
        assert keep_link(str(tmp_path / "best.npz"), str(target))
        assert (tmp_path / "best.npz").read_bytes() == target.read_bytes()
    finally:
        target.unlink()


def test_what_is_no_link_is_left_alone(store: Path) -> None:
    own = store.parent / "best.npz"
    own.write_text("my own file")
    ended = best(store, "--link", own)
    assert (ended.returncode, own.read_text()) == (2, "my own file")
    assert "is there and is no symbolic link" in ended.stderr
    assert best(store, "--link", store.parent / "nowhere" / "best.npz").returncode == 2
    with pytest.raises(UsageError, match="is the prefix of several files"):
        keep_link(str(store.parent / "link"), str(store.parent / "model.ckpt-200"))


def test_a_folder_is_a_checkpoint_too(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("one", "two", "one"):
        assert keep_link(str(tmp_path / "best"), str(tmp_path / name))
        assert (tmp_path / "best").resolve() == (tmp_path / name).resolve()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["best", "one", "two"]


def test_the_variant_is_named(tmp_path: Path) -> None:
    (tmp_path / "lenet").mkdir()
    worse, better = weights_of(1), {name: array * 1e-3 for name, array in weights_of(1).items()}
    save(tmp_path / "lenet" / "step-1.npz", {**worse, **{f"ema.{name}": array for name, array in better.items()}})
    go(evaluation_of(300, variants=("raw", "ema")), tmp_path / "lenet", store=tmp_path / "evals")
    ended = best(tmp_path / "evals", "--path")
    assert ended.stdout.strip().endswith("step-1.npz")
    assert "the best weights are the variant ema in this file" in ended.stderr
