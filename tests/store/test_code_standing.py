"""Which evaluations stand under the code of now: its own, those of equal codes, and no others."""

from pathlib import Path
from typing import Any

from milepost._internal.serialization import digest
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.code_standing import CURRENT, Standing
from milepost.store.store import Store

FOUND = CodeEquivalence(1024, 10_000, 27, 0.95, ("step-9", "step-1"))
TASK = {"name": "t"}


def spec(code: str, **changes: Any) -> dict[str, Any]:
    return {"file": "p/eval.py", "code": code, "data": "d", "task": TASK, **changes}


def test_what_stands_is_followed_from_check_to_check_also_in_a_circle(tmp_path: Path) -> None:
    codes = Store.create(tmp_path / "s").codes
    assert codes.standing().chain("d", "t", "v3") == ["v3"]
    assert codes.add_equivalent("d", "t", "v2", "v1", FOUND)
    assert codes.add_equivalent("d", "t", "v3", "v2", FOUND)
    assert codes.standing().chain("d", "t", "v3") == ["v3", "v2", "v1"]
    assert codes.standing().chain("other", "t", "v3") == ["v3"]
    assert not codes.add_equivalent("d", "t", "v1", "v3", FOUND)  # it adds nothing
    other = Store.create(tmp_path / "o")
    for code, same in (("a", "b"), ("b", "a")):
        # As two processes would that did not see each other.
        fact = Store.create(tmp_path / code)
        fact.codes.add_equivalent("d", "t", code, same, FOUND)
        (path,) = (tmp_path / code / "codes").iterdir()
        other.storage.put(f"codes/{path.name}", path.read_bytes())
    assert [other.codes.standing().chain("d", "t", code) for code in "ab"] == [["a", "b"], ["b", "a"]]


def test_what_a_file_was_used_with_last_is_its_code(tmp_path: Path) -> None:
    codes = Store.create(tmp_path / "s").codes
    assert codes.standing().of(spec("v1")) is CURRENT  # nobody has said what it is now
    for version in ("v1", "v2", "v2"):
        codes.use("p/eval.py", None, version)
    assert len(list((tmp_path / "s" / "codes").iterdir())) == 2
    assert codes.standing().of(spec("v1")) == Standing(earlier=True)
    assert codes.standing().of(spec("v2")) is CURRENT
    # Another file, and another evaluation of this one, have codes of their own.
    assert codes.standing().of(spec("v1", file="q/eval.py")) is CURRENT
    assert codes.standing().of(spec("v1", entry="clean")) is CURRENT
    codes.use("p/eval.py", None, "v1")  # back again
    assert codes.standing().of(spec("v1")) is CURRENT
    assert codes.standing().of(spec("v2")) == Standing(earlier=True)


def test_what_stands_by_a_check_says_so_and_only_for_its_data_and_task(tmp_path: Path) -> None:
    codes = Store.create(tmp_path / "s").codes
    codes.use("p/eval.py", None, "v3")
    codes.add_equivalent("d", digest(TASK), "v2", "v1", CodeEquivalence(9, 9, 0, 0.95, ("step-1",)))
    codes.add_equivalent("d", digest(TASK), "v3", "v2", FOUND)
    # The check of v3 was against what stood under v2: results of v1 among them.
    assert codes.standing().of(spec("v2")) == codes.standing().of(spec("v1")) == Standing(check=FOUND)
    assert codes.standing().of(spec("v1", data="other")).earlier
    assert codes.standing().of(spec("v1", task={"name": "u"})).earlier
    assert codes.standing().of(spec("v0")).earlier
