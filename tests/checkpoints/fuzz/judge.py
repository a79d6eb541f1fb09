"""What reading a mutant came to, judged against the whole checkpoint that it was made from."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests._material import ENVIRONMENT

from milepost.errors import CheckpointError

MEMORY = 600 << 10
"""KiB that reading a mutant may take, beside reading nothing."""

KINDS = {kind.kind for kind in CheckpointError.__subclasses__()}
BAD = ("changed", "hang", "memory", "traceback", "killed")
"""Outcomes that are a fault of Milepost's."""

OUTCOMES = ("same", "row", "nothing", "fewer", "no checksum", "made again", *BAD)
"""All outcomes: the same weights; an error of the tree; no checkpoint; the same, without those that a changed index of
shards does not list, so that a model that needs them refuses the checkpoint; other weights, where the table says that
they have no checksum; other weights, with their checksums made again; and the bad ones, first other weights where the
table says that they have one."""

_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a forked child answered, and what it took: processor seconds, and KiB above one that reads nothing."""

    rows: Sequence[Mapping[str, Any]]
    faults: Sequence[str]
    ended: str
    cpu: float
    peak: int
    operations: int = 0

    def weights(self) -> dict[str, Any]:
        """Return what all rows hold by path and name: type, shape, digest."""
        return {
            row["path"]: {name: one[:3] if isinstance(one, list) else one for name, one in row["holds"].items()}
            for row in self.rows
            if "holds" in row
        }

    def checked(self) -> set[str]:
        """Return the paths of rows whose weights have checksums."""
        return {row["path"] for row in self.rows if row.get("checksum")}

    def data(self, folder: str) -> dict[str, list[tuple[int, int]]]:
        """Return where tensors lie in the files below a folder, by the file's name there."""
        places: dict[str, list[tuple[int, int]]] = {}
        for row in self.rows:
            for one in row.get("holds", {}).values():
                if isinstance(one, list) and one[3] and one[3][0].startswith(folder):
                    file, offset, length = one[3]
                    places.setdefault(os.path.relpath(file, folder), []).append((offset, offset + length))
        return places


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome of `OUTCOMES`, and what speaks for it; `kinds` are those of refusals."""

    outcome: str
    detail: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        return self.outcome in BAD


@dataclass(slots=True)
class Judge:
    """A child that reads what is put into `folder`; a context manager."""

    folder: str
    spool: str
    _base: str
    _child: subprocess.Popen[str] = field(repr=False)

    @classmethod
    def started(cls, warm: Sequence[Mapping[str, bytes]]) -> Self:
        """Start the child, which reads whole checkpoints first, so that all it imports is there."""
        base = tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)  # noqa: S108 - memory is quick
        folder, spool = f"{base}/m", f"{base}/spool"
        os.mkdir(spool)
        places = [f"{base}/warm{number}" for number in range(len(warm))]
        for place, files in zip(places, warm, strict=True):
            put(place, files)
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "tests.checkpoints.fuzz.child", spool, *places]
        child = subprocess.Popen(
            command, env={**ENVIRONMENT, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return cls(folder, spool, base, child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()
        shutil.rmtree(self._base)

    def read(self, files: Mapping[str, bytes]) -> Reading:
        """Return what reading these files comes to."""
        self.put(files)
        return self.read_at(self.folder)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Lay files where `read_at` with this judge's own folder finds them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        put(self.folder, files)

    def read_at(self, path: str, fault: Mapping[str, Any] | None = None) -> Reading:
        """Return what reading a file or folder comes to that lies anywhere; a `fault` happens on the way."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"folder": path, "spool": self.spool, "fault": fault}) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        assert answer, "the child that reads mutants is gone"
        for left in os.listdir(self.spool):
            os.unlink(f"{self.spool}/{left}")
        return Reading(**json.loads(answer))


def put(folder: str, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def verdict(whole: Reading, read: Reading, *, sealed: bool) -> Verdict:
    """Judge a mutant's reading by that of the whole checkpoint; `sealed` where its checksums were made again."""
    if read.ended in ("SIGXCPU", "SIGALRM"):
        return Verdict("hang", read.ended)
    if read.ended:
        return Verdict("killed", read.ended)
    if read.peak > MEMORY:
        return Verdict("memory", f"{read.peak >> 10:,} MiB")
    if read.faults:
        return Verdict("traceback", read.faults[0])
    kinds = tuple(row["refused"][0] for row in read.rows if "refused" in row)
    if "out of memory" in kinds:
        return Verdict("memory", str(read.rows))
    if not set(kinds) <= KINDS | {"usage"}:
        return Verdict("traceback", f"a row of kind {kinds}")
    return _compared(whole.weights(), read, kinds, sealed=sealed)


def _compared(expected: Mapping[str, Any], read: Reading, kinds: tuple[str, ...], *, sealed: bool) -> Verdict:
    found = read.weights()
    other = [path for path, held in found.items() if expected.get(path) != held]
    checked = [path for path in other if path in read.checked()]
    if not other:
        return Verdict("same" if found else "row" if kinds else "nothing", kinds=kinds)
    if sealed:
        return Verdict("made again", kinds=kinds)
    if not checked:
        return Verdict("no checksum", kinds=kinds)
    path = checked[0]
    if path.endswith(".json") and found[path].items() <= expected.get(path, {}).items():
        return Verdict("fewer", kinds=kinds)
    return Verdict("changed", difference(expected.get(path, {}), found[path]), kinds)


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say which tensors differ, and how."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name!r}: {before.get(name)} became {after.get(name)}" for name in names[:5])
