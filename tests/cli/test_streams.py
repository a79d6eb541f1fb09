"""What writes to the streams: one module, whatever their encoding is, and whatever the locale says names are."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from tests._material import ENVIRONMENT, command, import_path, save, weights_of

import milepost
from milepost.cli import main
from milepost.core.escaping import unescaped
from milepost.report._console import _Console
from milepost.report.progress import RunLines

PACKAGE = Path(milepost.__file__).parent
START = [sys.executable, "-c", "import sys, milepost.cli as c; sys.exit(c.main())"]
NAMES = [b"caf\xe9-1.npz", "\u00e9tape-2.npz".encode(), b"line\n-3.npz"]
EVALUATION = "from tests._material import evaluation_of\n\nevaluation = evaluation_of(40)\n"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0"}
"""Names and streams are ASCII, though a name holds any bytes."""


def writers(text: str) -> list[str]:
    """Return what of a module's text writes past `_streams`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in ("print", "Console", "sys.stdout.write", "sys.stderr.write", "sys.stdout.writelines"):
            found.append(called)
    return found


def test_one_module_writes_to_the_streams() -> None:
    files = [*(PACKAGE / "cli").glob("*.py"), *(PACKAGE / "report").rglob("*.py"), *(PACKAGE / "exports").glob("*.py")]
    past = {file.name: found for file in files if (found := writers(file.read_text("utf-8")))}
    assert past == {"_streams.py": ["sys.stdout.write", "sys.stderr.write", "sys.stdout.write"]}
    assert writers("import sys\nsys.stderr.write('x')\nprint('y')\n") == ["sys.stderr.write", "print"]


def test_the_words_of_a_command_do_not_steer_what_says_what_is_wrong_with_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["ls", "--\x1b[2J\nmilepost: all is well"]) == 2
    assert main(["show", "a\x1b[2J\nmilepost: all is well", "--store", "no\x1bwhere\nmilepost: well"]) == 2
    lines = capsys.readouterr().err.split("\n")
    assert not [line for line in lines if line.startswith("milepost: all") or "\x1b" in line]


def test_a_terminal_is_steered_by_styles_alone() -> None:
    stream = io.StringIO()
    console = _Console(file=stream, force_terminal=True, color_system="standard", highlight=False)
    console.print(Text("a\x1b[2J\u202e[bold]b", "red"))
    assert stream.getvalue() == "\x1b[31ma\\x1b[2J\\xe2\\x80\\xae[bold]b\x1b[0m\n"


def test_brackets_and_backslashes_of_a_name_are_no_markup() -> None:
    stream = io.StringIO()
    console = _Console(file=stream, force_terminal=True, color_system=None, width=100)
    with RunLines(console) as drawn:
        drawn({"event": "progress", "data": "test", "done": 1, "size": 2, "names": [r"\[red]x[/y]\x41"]})
    assert r"test \[red]x[/y]\x5cx41" in stream.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store of three checkpoints with odd names in this process, whose names are UTF-8."""
    folder = tmp_path_factory.mktemp("streams")
    (folder / "runs").mkdir()
    try:
        for seed, name in enumerate(NAMES):
            save(folder / "runs" / os.fsdecode(name), weights_of(seed))
    except OSError as error:
        pytest.skip(f"this file system takes no such names: {error}")
    (folder / "ev.py").write_text(EVALUATION)
    words = ["--engine", "inprocess", "--store", folder / "evals"]
    assert command("run", folder / "ev.py", folder / "runs", *words).returncode == 0
    return folder / "evals"


def started(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    tests = import_path(PACKAGE.parent, Path(__file__).parents[2])
    env = {**ENVIRONMENT, "PYTHONPATH": tests, **environment}
    return subprocess.run([*START, *map(str, words)], capture_output=True, check=False, env=env)


@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "ascii"}], ids=["locale", "streams"])
def test_what_an_ascii_stream_lacks_can_be_typed_back(store: Path, environment: dict[str, str]) -> None:
    ended = started("ls", "--store", store, **environment)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.decode("ascii").splitlines()[1:]
    at = ended.stdout.decode("ascii").splitlines()[0].index("name")
    labels = [line[at:].split("  ")[0].strip() for line in lines]
    assert {os.fsencode(unescaped(label) + ".npz") for label in labels} == set(NAMES)


def test_names_are_the_same_bytes_in_a_locale_of_ascii(store: Path) -> None:
    other = store.parent / "evals-c"
    ran = started(
        "run", store.parent / "ev.py", store.parent / "runs", "--engine", "inprocess", "--store", other, **ASCII
    )
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stderr
    folders = [
        sorted(path.name for path in (one / "runs" / "runs" / "checkpoints").iterdir()) for one in (store, other)
    ]
    assert folders[0] == folders[1]
    shown = started("show", r"caf\xe9-1", "--json", "--store", other, **ASCII)
    assert shown.stdout == command("show", r"caf\xe9-1", "--json", "--store", store).stdout.encode()
    path = json.loads(shown.stdout.splitlines()[0])["checkpoint"]["path"]
    assert os.fsencode(path).endswith(NAMES[0])


def test_python_that_reads_names_otherwise_gets_a_sentence(store: Path) -> None:
    code = "import sys, milepost\ntry: milepost.open_store(sys.argv[1])\nexcept Exception as error: print(repr(error))"
    env = {**ENVIRONMENT, "PYTHONPATH": import_path(PACKAGE.parent), **ASCII}
    ended = subprocess.run([sys.executable, "-c", code, store], capture_output=True, text=True, check=False, env=env)
    assert "StoreError" in ended.stdout
    assert "start it with PYTHONUTF8=1" in ended.stdout
    assert (
        subprocess.run([sys.executable, "-c", code, store], env={**env, "PYTHONUTF8": "1"}, check=True).returncode == 0
    )
