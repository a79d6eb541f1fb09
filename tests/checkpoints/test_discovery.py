"""Finding: what is claimed, what becomes a failed row, what is passed over; and links, stores, orders."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from socket import AF_UNIX, socket

import numpy as np
import pytest

from milepost._internal import zip as zip_codec
from milepost._internal.bounded import OpenFile
from milepost.checkpoints.diagnosis import folder_diagnosis
from milepost.checkpoints.discovery import find, looked_for
from milepost.checkpoints.formats.npz import Npz
from milepost.core.protocols import Entry
from milepost.core.types import CheckpointFiles
from milepost.errors import UsageError

REAL = Path(__file__).parents[3] / "shared" / "data" / "checkpoints"


def npz(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, w=np.zeros(2))
    return path


def names(folder: Path, *arguments: str) -> list[str]:
    return [os.path.relpath(one.path, folder) for one in find([str(folder)], *arguments)]


def verdict(path: Path, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    (found,) = find([str(path.parent)])
    assert found.format is None
    assert found.failure is not None
    return found.failure


def test_folders_are_searched_in_natural_order_without_hidden_ones_and_stores(tmp_path: Path) -> None:
    for name in (
        "step-10.npz",
        "step-9.npz",
        "deep/er/step-1.npz",
        "content.txt",
        ".hidden/x.npz",
        ".tmp.npz",
        "store/a.npz",
    ):
        npz(tmp_path / name)
    (tmp_path / "store" / "store.json").write_text("{}")
    (tmp_path / "log.txt").write_text("step 10")
    assert names(tmp_path) == ["content.txt", "deep/er/step-1.npz", "step-9.npz", "step-10.npz"]


def test_match_narrows_by_name_or_path(tmp_path: Path) -> None:
    for name in ("a/step-1.npz", "b/step-1.npz", "b/last.npz"):
        npz(tmp_path / name)
    assert names(tmp_path, "step-*") == ["a/step-1.npz", "b/step-1.npz"]
    assert names(tmp_path, "b/*") == ["b/last.npz", "b/step-1.npz"]


def test_several_paths_files_and_folders_give_each_checkpoint_once(tmp_path: Path) -> None:
    one, two = npz(tmp_path / "a" / "1.npz"), npz(tmp_path / "b" / "2.npz")
    assert [found.path for found in find([str(two), str(tmp_path), str(one)])] == [str(one), str(two)]


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    real = npz(tmp_path / "run" / "step-900" / "w.npz")
    (tmp_path / "run" / "last.npz").symlink_to(real)
    (tmp_path / "run" / "latest").symlink_to(real.parent)
    (tmp_path / "run" / "circle").symlink_to(tmp_path / "run")
    (tmp_path / "run" / "step-900" / "up").symlink_to(tmp_path)
    (tmp_path / "run" / "broken.npz").symlink_to(tmp_path / "gone")
    found = find([str(tmp_path / "run")])
    assert [os.path.relpath(one.path, tmp_path / "run") for one in found] == [
        "broken.npz",
        "last.npz",
        "latest/w.npz",
        "step-900/w.npz",
    ]
    assert len({one.identity for one in found[1:]}) == 1
    assert found[0].failure is not None
    assert found[0].failure[0] == "vanished"
    assert f"a symbolic link to {tmp_path / 'gone'}, which is not there" in found[0].failure[1]


def test_a_link_that_is_removed_after_the_listing_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npz(tmp_path / "a.npz")
    link = tmp_path / "latest.npz"
    link.symlink_to("a.npz")

    def meanwhile(path: str, listed: Sequence[str]) -> tuple[str, str] | None:
        assert link.name in listed
        link.unlink()
        return folder_diagnosis(path, listed)

    monkeypatch.setattr("milepost.checkpoints.discovery.folder_diagnosis", meanwhile)
    assert names(tmp_path) == ["a.npz"]


def test_nothing_found_is_an_empty_list_and_the_sentence_names_the_formats(tmp_path: Path) -> None:
    assert find([str(tmp_path)]) == []
    assert all(name in looked_for() for name in ("npz", "safetensors", "torch_legacy", "torch_zip"))


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find([str(tmp_path / "gone")])
    (tmp_path / "last.pt").symlink_to("gone.pt")
    with pytest.raises(UsageError, match=r"last\.pt: a symbolic link to gone\.pt, which is not there"):
        find([str(tmp_path / "last.pt")])


def test_what_is_named_like_a_checkpoint_and_is_no_file_is_a_row_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    os.mkfifo(tmp_path / "log")
    os.mkfifo(tmp_path / "optimizer.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "loop.ckpt").symlink_to("loop.ckpt")
    (tmp_path / "device.bin").symlink_to("/dev/zero")
    with socket(AF_UNIX) as there:
        there.bind(str(tmp_path / "s.ckpt"))
        found = find([str(tmp_path)])
    failures = {os.path.basename(one.path): one.failure or ("", "") for one in found}
    assert {name: kind for name, (kind, _) in failures.items()} == dict.fromkeys(
        ("device.bin", "loop.ckpt", "pipe.pt", "s.ckpt"), "corrupt"
    )
    for name, words in (("pipe.pt", "a named pipe"), ("s.ckpt", "a socket"), ("device.bin", "a device")):
        assert f"{words}, not a file" in failures[name][1]
    assert "cannot be read" in failures["loop.ckpt"][1]
    assert (find([str(tmp_path / "log")])[0].failure or ("", ""))[1].endswith("a named pipe, not a file")


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "training_args.bin", "scheduler.pt", "rng_state.pth", "rng_state_3.pth"]
)
def test_companions_are_passed_over_unless_asked_for(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"lr": 1}, 2))
    assert find([str(tmp_path)]) == []
    assert find([str(tmp_path / name)])[0].failure is not None


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_bare_pickles_are_unsafe(protocol: int, tmp_path: Path) -> None:
    kind, message = verdict(tmp_path / "a.pkl", pickle.dumps({"w": [1.0, 2.0]}, protocol))
    assert kind == "unsafe"
    assert "bare Python pickle" in message


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", "torn", "0 bytes"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n",
            "corrupt",
            "a Git LFS pointer (12,345 bytes expected); run git lfs pull",
        ),
        (bytes(39) + b"x" + bytes.fromhex("57fb808b247547db"), "corrupt", "it ends as TensorFlow's checkpoints"),
        (bytes(5000), "corrupt", "all zero"),
        (b"\n <html>404 Not Found", "corrupt", "an HTML page, not a checkpoint"),
        (b"<!doctype HTML><title>\nSign in </title>", "corrupt", "an HTML page, titled 'Sign in', not a checkpoint"),
        (
            "Fehler: Datei nicht gefunden: Größe\n".encode(),
            "corrupt",
            "plain text, not a checkpoint: it begins with 'Fehler",
        ),
        (b'{"weight_map": {}}', "corrupt", "plain text"),
        ("é".encode() * 3000, "corrupt", "plain text"),
        (b"\xc3(not text\xff", "corrupt", "c3 28 6e 6f"),
        (b"text, then a control\x1b[2J", "corrupt", "no format knows"),
        (struct.pack("<Q", 1 << 62) + b"{}", "corrupt", "its header declares 4,611,686,018,427,387,904 bytes"),
        (
            gzip.compress(b"x", mtime=0),
            "unsupported",
            "compressed as a whole with gzip",
        ),
        (bz2.compress(b"x"), "unsupported", "bzip2"),
        (lzma.compress(b"x"), "unsupported", "xz"),
        (b"PK\x03\x04" + b"x" * 40, "torn", "without its directory, which is written last"),
        (b"PK\x03\x04" + b"x" * 40 + bytes(70_000), "torn", "its last 65,577 bytes are all zero"),
        (b"PK\x03\x04" + b"x" * 40 + bytes(600), "torn", "its last 600 bytes are all zero"),
        (b"PK\x05\x06" + bytes(18), "unsupported", "a zip archive, but neither"),
        (b"PK\x03", "torn", "3 bytes, with which a zip archive begins"),
        (b"\x93NUMPY\x01\x00", "unsupported", "a single NumPy array"),
    ],
)
def test_unclaimed_files_say_what_they_are(content: bytes, kind: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    found_kind, message = verdict(path, content)
    assert found_kind == kind
    assert words in message
    assert str(path) in message
    assert find([str(path)])[0].state == ("writing" if kind == "torn" else "failed")


def test_text_that_no_checkpoint_is_named_like_is_no_damage(tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Learning rates\n")
    assert find([str(tmp_path)]) == []
    (found,) = find([str(notes)])
    assert found.failure is not None
    assert found.failure[0] == "unsupported"
    assert "name a checkpoint, or a folder of them" in found.failure[1]


def test_other_archives_are_passed_over(tmp_path: Path) -> None:
    header = bytearray(512)
    header[257:262] = b"ustar"
    (tmp_path / "images.tar").write_bytes(header)
    assert find([str(tmp_path)]) == []
    header[:9] = b"sys_info\0"
    kind, message = verdict(tmp_path / "old.tar", bytes(header))
    assert kind == "unsupported"
    assert "torch before 0.1.10" in message
    assert "only if you trust" in message


def test_an_old_torch_tar_is_recognised_behind_an_extended_header_too(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            member = tarfile.TarInfo(name)
            member.mtime = 1.5  # a fraction needs a header of its own before the member's
            tar.addfile(member)
    assert verdict(tmp_path / "model.pth.tar", made.getvalue())[0] == "unsupported"


def test_an_unreadable_file_says_its_mode_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    path.chmod(0o600)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("milepost._internal.bounded.os.open", refuse)
    (found,) = find([str(path)])
    assert found.failure is not None
    assert found.failure[0] == "corrupt"
    assert "mode 0600" in found.failure[1]
    assert "chmod g+r" in found.failure[1]


def test_a_file_that_a_format_stumbles_over_is_a_row_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npz(tmp_path / "a.npz")
    npz(tmp_path / "b.npz")
    honest = Npz.find

    def stumbling(self: Npz, entries: Sequence[Entry]) -> Iterable[CheckpointFiles]:
        if any(entry.path.endswith("b.npz") for entry in entries):
            raise ZeroDivisionError("of no use")
        return honest(self, entries)

    monkeypatch.setattr(Npz, "find", stumbling)
    fine, odd = find([str(tmp_path)])
    assert (fine.format, odd.format) == ("npz", None)
    assert odd.failure is not None
    assert "b.npz: format npz could not make sense of it: ZeroDivisionError: of no use" in odd.failure[1]


def test_a_folder_that_may_not_be_listed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npz(tmp_path / "open" / "a.npz")
    (tmp_path / "shut").mkdir()
    honest = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return honest(path)

    monkeypatch.setattr("milepost.checkpoints.discovery.os.scandir", refuse)
    fine, shut = find([str(tmp_path)])
    assert (fine.format, fine.failure) == ("npz", None)
    assert shut.failure is not None
    assert "cannot be listed" in shut.failure[1]


def test_the_real_pointers_say_so() -> None:
    folder = REAL / "git_lfs_pointers"
    if not folder.exists():
        pytest.skip("the real Git LFS pointers are not here (optional folder of real data)")
    (found,) = find([str(folder)])
    assert found.failure is not None
    assert "267,832,560 bytes expected" in found.failure[1]


@pytest.mark.parametrize(
    ("files", "kind", "words"),
    [
        (("__0_0.distcp", ".metadata"), "unsupported", "dcp_to_torch"),
        (("__0_0.distcp", "__1_0.distcp"), "torn", "without .metadata, which is written last"),
        (("saved_model.pb", "variables.index"), "program", "a TensorFlow SavedModel"),
        (("_CHECKPOINT_METADATA", "manifest.ocdbt"), "unsupported", "an Orbax checkpoint"),
    ],
)
def test_a_folder_that_is_a_checkpoint_of_another_kind_is_one_row(
    files: tuple[str, ...], kind: str, words: str, tmp_path: Path
) -> None:
    npz(tmp_path / "step-1.npz")
    (tmp_path / "step-2").mkdir()
    for name in files:
        (tmp_path / "step-2" / name).write_bytes(b"x" * 99)
    fine, whole = find([str(tmp_path)])
    assert (fine.format, whole.path) == ("npz", str(tmp_path / "step-2"))
    assert whole.failure is not None
    assert whole.failure[0] == kind
    assert words in whole.failure[1]
    assert find([str(tmp_path / "step-2")]) == [whole]


def test_a_safetensors_file_that_has_just_begun_is_being_written(tmp_path: Path) -> None:
    assert verdict(tmp_path / "a.safetensors", struct.pack("<Q", 900)[:5])[0] == "torn"


def test_a_file_that_becomes_whole_while_it_is_looked_at_is_still_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "step-1.npz"
    np.savez(path, w=np.zeros((300, 300), np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[:200_000])
    names = zip_codec.names

    def late(file: OpenFile) -> list[str]:
        path.write_bytes(whole)  # its writer goes on behind the look at its beginning
        return names(OpenFile(file.path, file.descriptor, os.fstat(file.descriptor).st_size))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(zip_codec, "names", late)
        (found,) = find([str(tmp_path)])
    assert found.state == "writing"
    (found,) = find([str(tmp_path)])
    assert (found.state, found.identity.size) == ("complete", len(whole))
