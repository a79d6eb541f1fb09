"""The laws of an export to a file or a folder: whole or not at all, every record in it, the same bytes each time.

```python
def test_my_export(tmp_path: Path) -> None:
    check_export(MyExport(), tmp_path)
```
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from milepost.core.protocols import Export
from milepost.core.types import Json
from milepost.errors import UsageError
from milepost.testing._refusals import refused

_CHECKPOINT = {"path": 'runs/a "quoted", path\n\udce9.pt', "step": 900, "digest": "00ff" * 8, "variant": "raw"}
_WILSON = {"low": 0.1, "high": 0.9, "level": 0.95, "method": "wilson", "kind": "population"}


def sample_records() -> list[dict[str, Json]]:
    """Return records that try an export: an undefined and an infinite value, awkward text, a slice, a failure."""
    head = {"event": "record", "run": "lenet", "checkpoint": _CHECKPOINT, "data": "test", "status": "ok", "n": 3}
    return [
        {**head, "slice": "all", "metric": "top1", "estimator": "exact", "value": 1 / 3, "intervals": [_WILSON]},
        {**head, "slice": "all", "metric": "loss", "estimator": "exact", "value": "inf", "intervals": []},
        {**head, "slice": "site=ü", "metric": "top1", "estimator": "batch_mean", "batch_size": 2, "value": None},
        {"event": "failure", "run": "lenet", "path": "b.pt", "step": None, "class": "torn", "message": "cut\noff"},
    ]


def check_export(export: Export, folder: Path) -> None:
    """Check an export against every law; raise `AssertionError` where it fails.  `folder` is empty."""
    first, second = folder / "first", folder / "second"
    export.write(sample_records(), str(first))
    export.write(iter(sample_records()), str(second))
    assert _content(first) == _content(second), "the same records gave other bytes"
    _says_every_record(export, folder, _content(first))
    _is_whole(export, first)
    _takes_no_records(export, folder / "none")
    _refuses_a_bad_target(export, folder)
    assert {path.name for path in folder.iterdir()} <= {"first", "second", "none", "fewer"}, "it left other files"


def _content(target: Path) -> dict[str, bytes]:
    """Return the bytes of a file, or of all files of a folder, by their paths within it."""
    if target.is_file():
        return {"": target.read_bytes()}
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def _says_every_record(export: Export, folder: Path, whole: dict[str, bytes]) -> None:
    for left_out in range(len(sample_records())):
        records = sample_records()
        del records[left_out]
        export.write(records, str(folder / "fewer"))
        assert _content(folder / "fewer") != whole, f"record {left_out} changes nothing of what is written"


def _is_whole(export: Export, target: Path) -> None:
    before = _content(target)

    def broken() -> Iterator[Mapping[str, Json]]:
        yield sample_records()[0]
        raise RuntimeError("the store went away")

    with refused(RuntimeError, "an error of the records was swallowed"):
        export.write(broken(), str(target))
    assert _content(target) == before, "an error half-way changed the file that was there"


def _takes_no_records(export: Export, target: Path) -> None:
    export.write([], str(target))
    assert _content(target), "no records: expected a file, or a folder with one, that says so"


def _refuses_a_bad_target(export: Export, folder: Path) -> None:
    target = folder / "no such folder" / "file"
    message = ""
    try:
        export.write(sample_records(), str(target))
    except UsageError as error:
        message = str(error)
    assert str(target) in message, f"expected a UsageError that names {target}, found {message or 'none'!r}"
