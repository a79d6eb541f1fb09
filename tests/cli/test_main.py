"""The parser, the exit codes, and what stays unloaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from milepost.cli import build_parser, main, verbs

VERBS = ["demo", "inspect", "ls", "plan", "run", "show"]


def test_verbs_are_found_by_file() -> None:
    assert set(VERBS) <= set(verbs())


def test_help_lists_every_verb_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line[2] != " "]
    assert listed[:4] == ["run", "ls", "best", "show"]
    assert sorted(listed) == sorted([*verbs(), "--version", "VERB"])
    assert "more" not in shown.splitlines()  # each verb has its group
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_the_examples_of_the_help_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    examples = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("$ ")]
    assert [words[1] for words in examples] == ["run", "ls", "best", "show"]
    for words in examples:
        assert build_parser().parse_args(words[1:]).verb == words[1]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["ls", "--nonsense"], ["run", "eval.py"], ["run", "eval.py", "x", "--limit", "0"], ["show"]],
)
def test_a_wrong_command_exits_2_without_a_word_on_stdout(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "--store", "nowhere"], "nowhere: expected a store, found no such folder"),
        (["show", "9", "--store", "."], "no store.json"),
        (["run", "nowhere.py", "x"], "nowhere.py: expected an evaluation file"),
        (["run", ".", "x"], "a folder; the evaluation file comes first"),
        (["inspect", "nowhere.pt"], "nowhere.pt"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("milepost: error: ")
    assert words in line
    assert shown.out == ""


def test_help_loads_neither_numpy_nor_rich() -> None:
    code = (
        "import sys, milepost.cli as c; c.main(['--help']); print([m for m in ('numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_closed_pipe_is_no_traceback(store: Path) -> None:
    code = "import sys, milepost.cli as c; sys.exit(c.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "ls", "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, errors = process.communicate()
    assert process.returncode == 141
    assert errors.strip() == f"store {store}"


def test_the_whole_parser_can_be_built_for_the_reference() -> None:
    args = build_parser().parse_args(["run", "eval.py:large", "a", "b", "--limit", "1_000"])
    assert (args.checkpoints, args.limit, args.engine, args.per_pass) == (["a", "b"], 1000, "local", 4)
