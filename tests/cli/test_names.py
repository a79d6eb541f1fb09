"""Names of any bytes: every verb prints them in one form, gives programs the exact bytes, and takes both back."""

import json
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests._material import ENVIRONMENT, command, save, weights_of

from milepost.cli import verbs
from milepost.core.escaping import escaped, unescaped
from milepost.report.addresses import Labels, find
from milepost.store.store import Store

NAMES = [
    b"step-1.npz", b"caf\xe9-2.npz", b"line\ndone: forged-3.npz", b"cr\rdone: forged-4.npz",
    b"esc\x1b[2J\x1b[31m-5.npz", b"\xff\xfe.npz", "turned\u202egnp.npz".encode(),
    "zero\u200bwidth.npz".encode(), "sep\u2028done: forged.npz".encode(), b"-dash-10.npz", b"--store.npz",
    b"sp ace 'q\" $x`-11.npz", b"6:ema.npz", b"6.npz", b"step-6.npz", b"[red]markup-13.npz",
    "nfc-\u00e9.npz".encode(), "nfc-e\u0301.npz".encode(), b"Case.npz", b"case.npz", b"back\\slash.npz",
    b"caf\\xe9-2.npz", b"caf\\x5cxe9-2.npz", b"tab\t-17.npz", b"del\x7f.npz", "c1\x9b31m.npz".encode(),
    b"x" * 248 + b"-20.npz", b"<b>&amp;.npz", b" .npz", b"two  spaces .npz", b"=1+1.npz", b"*?[!a].npz",
    b"%s{path}.npz", b"bell\x07\x08.npz", b"lenet:step-1.npz", b"\xed\xa0\x80.npz", b"deadbeef.npz",
    "emoji-\U0001f600.npz".encode(), b"next\xc2\x85line.npz",
]  # fmt: skip
"""Each differs from the others as bytes; some look like an address, an option or another's printed form."""

BROKEN = b"torn\xe9\nfailed: forged-7.npz"
RUN = b"run\xfc\nfailed: forged"
FORGED = ("forged", "done: forged", "failed: forged", "weights: forged")
ODD_TENSOR = "w\x1b[2J\nweights: forged\udce9"
EVALUATION = "from tests._material import evaluation_of\n\nevaluation = evaluation_of(40)\n"


class Odd:
    """A store of runs whose files have odd names, and what made it printed."""

    def __init__(self, folder: Path, names: Sequence[bytes] = NAMES) -> None:
        self.folder, self.store = folder, folder / "evals"
        self.runs = folder / os.fsdecode(b"runs\xe9")
        self.paths = [os.fsencode(self.runs) + b"/lenet/" + name for name in names]
        self.paths.append(os.fsencode(self.runs) + b"/" + RUN + b"/" + NAMES[1])
        self.broken = os.fsencode(self.runs) + b"/" + RUN + b"/" + BROKEN
        for seed, path in enumerate(self.paths):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            save(Path(os.fsdecode(path)), weights_of(seed))
        Path(os.fsdecode(self.broken)).write_bytes(b"PK\3\4 no archive")
        self.evaluation = folder / "ev.py"
        self.evaluation.write_text(EVALUATION)
        self.ended = command("run", self.evaluation, self.runs, "--engine", "inprocess", "--store", self.store)
        self.rows = Store.open(self.store).listing().checkpoints()

    def row(self, path: bytes) -> dict[str, Any]:
        """Return the row of a file."""
        return next(row for row in self.rows if os.fsencode(row["path"]) == path)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    """Make the store; a file system that refuses such names cannot try them."""
    try:
        return Odd(tmp_path_factory.mktemp("odd"))
    except OSError as error:
        pytest.skip(f"this file system takes no such names: {error}")


def lenet(odd: Odd) -> str:
    return f"{odd.runs}/lenet"


def two(odd: Odd) -> list[str]:
    return [Labels(odd.rows).of(odd.row(path)) for path in odd.paths[1:3]]


ASKED: dict[str, Callable[[Odd], list[list[Any]]]] = {
    "best": lambda odd: [["--metric", "top1"]],
    "compare": lambda odd: [two(odd)],
    "demo": lambda odd: [],  # its files are its own
    "doctor": lambda odd: [[odd.runs]],
    "export": lambda odd: [["csv"], ["jsonl"], ["openmetrics"]],
    "failures": lambda odd: [[], [escaped(os.fsdecode(odd.broken))]],
    "forget": lambda odd: [[escaped(os.fsdecode(path))] for path in odd.paths[:3]],
    "gc": lambda odd: [[lenet(odd), "--metric", "top1", "--keep-last", "1", "--even-if-tied", "--keep-best", "1"]],
    "inspect": lambda odd: [[escaped(os.fsdecode(odd.paths[2]))]],
    "ls": lambda odd: [[], ["--sort", "top1"], ["--run", f"{odd.runs}/{os.fsdecode(RUN)}"]],
    "plan": lambda odd: [[odd.evaluation, odd.runs, "--engine", "inprocess"]],
    "plot": lambda odd: [["curve", "--metric", "top1"], ["compare", *two(odd)]],
    "report": lambda odd: [[], ["--markdown"]],
    "run": lambda odd: [[odd.evaluation, odd.runs, "--engine", "inprocess"]],
    "score": lambda odd: [["--all", "--metric", "top_k(k=3)"]],
    "serve": lambda odd: [],  # it ends by Ctrl-C: tests/report/server has its pages
    "show": lambda odd: [[Labels(odd.rows).of(odd.row(path))] for path in (*odd.paths[1:6], odd.broken)],
    "watch": lambda odd: [[odd.evaluation, odd.runs, "--engine", "inprocess", "--idle", "0.01", "--poll", "0.01"]],
}
CODES = {"run": 3, "watch": 3}
"""Of those that meet the broken file; the others give 0."""
STORELESS = {"inspect", "demo"}
WITHOUT_JSON = {"export", "plot", "report", "serve"}


def words_of(odd: Odd, verb: str) -> Iterator[list[Any]]:
    where = [] if verb in STORELESS else ["--store", odd.store]
    yield from ([verb, *words, *where] for words in ASKED[verb](odd))


def check_text(text: str) -> None:
    """Check that every line is one that the program meant: nothing of a name steers, or begins a line of its own."""
    text.encode()
    assert {sign for sign in text if not sign.isprintable()} <= {"\n"}
    assert "Traceback" not in text
    assert not [line for line in text.split("\n") if line.lstrip(" |").startswith(FORGED)]


def test_the_run_that_makes_the_store_prints_a_line_a_checkpoint(odd: Odd) -> None:
    assert odd.ended.returncode == 3, odd.ended.stderr
    check_text(odd.ended.stdout + odd.ended.stderr)
    done = [line for line in odd.ended.stderr.split("\n") if line.startswith("done: ")]
    assert len(done) == len(odd.paths)
    assert len({line.partition(" (step")[0] for line in done}) == len(NAMES)


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_prints_lines_of_its_own(odd: Odd, verb: str) -> None:
    for words in words_of(odd, verb):
        ended = command(*words, env=ENVIRONMENT)
        assert ended.returncode == CODES.get(verb, 0), ended.stderr
        check_text(ended.stdout + ended.stderr)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in strings(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in strings(item))


@pytest.mark.parametrize("verb", sorted(set(verbs()) - WITHOUT_JSON))
def test_json_holds_the_exact_names(odd: Odd, verb: str) -> None:
    for words in words_of(odd, verb):
        ended = command(*words, "--json")
        assert ended.returncode == CODES.get(verb, 0), ended.stderr
        assert ended.stdout.isascii()
        check_text(ended.stderr)
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        named = {os.fsencode(text) for line in lines for text in strings(line) if text.startswith(str(odd.runs))}
        if verb in ("ls", "plan", "gc", "watch") and "--run" not in words:
            inner = [*odd.paths, odd.broken] if verb != "gc" else odd.paths[:-1]
            assert {path for path in named if path.endswith(b".npz")} >= set(inner), verb


def test_every_printed_label_and_path_is_an_address(odd: Odd) -> None:
    labels = Labels(odd.rows)
    for row in odd.rows:
        label, path = labels.of(row), row["path"]
        assert not label.startswith("-")
        assert find(odd.rows, label) == row, label
        assert find(odd.rows, escaped(path)) == row
        if unescaped(path) == path:  # one that is spelled like another's printed form means the other
            assert find(odd.rows, path) == row
    assert len(set(map(labels.of, odd.rows))) == len(odd.rows)


@pytest.mark.parametrize("number", ["2", "3", "5", "10", "11", "20"])
def test_what_a_shell_reads_of_a_suggested_command_is_the_checkpoint(odd: Odd, number: str) -> None:
    ended = command("show", number, "--store", odd.store)
    assert ended.returncode == 2
    check_text(ended.stderr)
    found = []
    for line in ended.stderr.split("\n  ")[1:]:
        suggested = line[line.index("`milepost show ") + 1 : line.rindex("`")]
        shown = command(*shlex.split(suggested)[1:], "--json", "--store", odd.store)
        found.append(json.loads(shown.stdout.splitlines()[0])["checkpoint"]["path"])
    assert any(path.endswith(f"-{number}.npz") for path in found)


def test_a_script_gets_the_bytes_of_the_best(odd: Odd, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from milepost.cli import main

    best = json.loads(command("best", "--metric", "top1", "--json", "--store", odd.store).stdout)
    assert main(["best", "--metric", "top1", "--path", "--store", str(odd.store)]) == 0
    assert capfdbinary.readouterr().out == os.fsencode(best["file"]["path"]) + b"\n"
    link = odd.folder / os.fsdecode(b"best\xe9\n.npz")
    ended = command("best", "--metric", "top1", "--link", link, "--store", odd.store)
    assert ended.returncode == 0
    check_text(ended.stderr)
    assert os.path.samefile(link, best["file"]["path"])


def test_no_label_begins_as_an_option() -> None:
    row = {"run": "-r", "name": "-9", "path": "/a/-r/-9.pt", "digest": "beef" * 16}
    assert Labels([row]).of(row) == "beef" * 3
    assert Labels([row | {"run": "r"}]).of(row | {"run": "r"}) == "r:-9"
    assert Labels([row | {"digest": None}]).of(row | {"digest": None}) == "/a/-r/-9.pt"


def test_a_message_holds_the_words_of_a_command_as_they_are_printed(tmp_path: Path) -> None:
    ended = command("inspect", tmp_path / "no\x1b\nwhere.pt", "--store", tmp_path / "no\nstore")
    assert ended.returncode == 2
    assert "no\\x1b\\x0awhere.pt: no such file" in ended.stderr
    check_text(ended.stderr)


def test_tables_hold_the_printed_form(odd: Odd) -> None:
    from milepost import open_store

    store = open_store(odd.store)
    every = {*map(os.fsdecode, odd.paths), os.fsdecode(odd.broken)}
    assert {unescaped(path) for path in store.to_pandas_long()["path"]} == every - {os.fsdecode(odd.broken)}
    assert all(name.isprintable() for name in store["name"])
    store.to_pandas().to_csv(odd.folder / "a.csv")
    page = store._repr_html_()
    page.encode()
    check_text(page)


def test_gc_deletes_the_very_files(tmp_path: Path) -> None:
    small = Odd(tmp_path, [b"\xff step-%d \\x0a\n.npz" % step for step in range(6)])
    before = {*small.paths, small.broken}
    words = ["--metric", "top1", "--even-if-tied", "--keep-best", "1", "--keep-last", "1", "--delete", "--json"]
    ended = command("gc", lenet(small), *words, "--store", small.store)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    gone = {os.fsencode(line["path"]) for line in lines if line.get("deleted") is True}
    assert gone
    assert {path for path in before if not os.path.exists(path)} == gone


def test_inspect_shows_odd_tensors(tmp_path: Path) -> None:
    header = json.dumps({ODD_TENSOR: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / os.fsdecode(b"odd\xe9\n.safetensors")
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    ended = command("inspect", path)
    check_text(ended.stdout + ended.stderr)
    assert "\nweights: forged" not in ended.stdout


def test_a_command_that_a_watch_calls_gets_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "runs" / os.fsdecode(b"a\xe9 '\n$(x)-1.npz")
    path.parent.mkdir()
    save(path, weights_of(1))
    (tmp_path / "ev.py").write_text(EVALUATION)
    (tmp_path / "say.sh").write_text('printf "%s|%s" "$MILEPOST_PATH" "$1" >"$2"\n')
    called = f"sh {tmp_path}/say.sh {{path}} {tmp_path}/said"
    words = ["--engine", "inprocess", "--idle", "0.01", "--poll", "0.01", "--metric", "top1", "--on-best", called]
    ended = command("watch", tmp_path / "ev.py", path.parent, *words, "--store", tmp_path / "evals")
    assert ended.returncode == 0, ended.stderr
    check_text(ended.stderr)
    assert (tmp_path / "said").read_bytes() == os.fsencode(path) + b"|" + os.fsencode(path)
