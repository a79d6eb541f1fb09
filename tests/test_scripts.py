"""The checks of the house notice what they are there for."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import changelog, check_extras, check_limits, check_links, make_cli_reference, make_stubs, readme_hook

KINDS = {"added": "Added", "fixed": "Fixed"}


def function(lines: int, parameters: int = 0) -> str:
    """Return the text of a function of so many lines, with a docstring that does not count."""
    names = ", ".join(f"p{i}" for i in range(parameters))
    return f'def f({names}):\n    """One.\n\n    More.\n    """\n' + "    x = 1\n" * (lines - 1)


def members(count: int) -> str:
    """Return a class's body of so many public methods, and a private one."""
    return "".join(f"    def m{number}(self): ...\n" for number in range(count)) + "    def _m(self): ...\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n" * 401, "401 lines, at most 400"),
        (function(61), "f has 61 lines"),
        ("x = 1\n  y = 2\n", "a.py:2: is not Python: unexpected indent"),
        (function(5, parameters=9), "f has 9 parameters"),
        ("class A:\n    async def g(self, a, b, c, d, e, f, g, h, *, i): ...\n", "g has 9 parameters"),
        ("class A:\n" + "    x: int\n" * 250, "A has 251 lines"),
        ("class A:\n    a = 1\n" + members(15), "A has 16 public members, at most 15: a, m0, m1"),
    ],
)
def test_what_is_too_long_is_named(text: str, words: str) -> None:
    assert [words in line for line in check_limits.breaches("src/milepost/a.py", text)] == [True]


@pytest.mark.parametrize(
    "text",
    ["x = 1\n" * 400, function(60, parameters=8), "class A:\n    def g(self, a, b, c, d, e, f, g, h): ...\n"],
)
def test_what_is_just_within_the_limits_passes(text: str) -> None:
    assert not list(check_limits.breaches("src/milepost/a.py", text))


def test_what_the_files_are_together_is_named() -> None:
    seams = {"src/milepost/core/protocols.py": "class OnDevice(Protocol):\n    def on(self): ...\n    unread: str\n"}
    good = {
        **seams,
        "src/milepost/a.py": "class A:\n    class B: ...\nhasattr(model, 'trainable')\ngetattr(parser, 'on')\n",
        "src/milepost/room/b.py": "class B:\n" + "    x: int\n" * 20 + members(15),
        "src/milepost/testing/c.py": "hasattr(model, 'on')\n",
    }
    assert not [line for path, text in good.items() for line in check_limits.breaches(path, text)]
    assert not list(check_limits.house(good))
    probing = "class B: ...\nhasattr(self._model, 'on')\nx = getattr(model, 'unread', None)\n"
    bad = {**good, "src/milepost/room/c.py": probing, **{f"src/milepost/{name}.py": "" for name in "vwxyz"}}
    assert [line.split(":", 2)[1:] for line in check_limits.house(bad)] == [
        [" 6 loose modules, at most 4", " a.py, v.py, w.py, x.py, y.py, z.py"],
        ["1", " src/milepost/room/b.py has a class B too: give one of them another name"],
        ["2", " hasattr looks for 'on' of a _model: ask core.capabilities"],
        ["3", " getattr looks for 'unread' of a model: ask core.capabilities"],
    ]
    assert "23 rooms" in next(check_limits.house({**seams, **{f"src/milepost/r{i}/a.py": "" for i in range(22)}}))


def test_compat_keeps_the_ancestors_signatures() -> None:
    assert not list(check_limits.breaches("src/milepost/compat/slim.py", function(5, parameters=20)))


RULES = check_extras.Rules(frozenset({"numpy"}), {"torch": ("src/f/torch.py",), "pytest": ("src/testing/",)})
ALLOWED = {"src/f/torch.py": "import torch.nn\n", "src/testing/a.py": "import numpy as np\nfrom pytest import raises\n"}


@pytest.mark.parametrize(
    ("path", "text", "module"),
    [
        ("src/a.py", "import torch", "torch"),
        ("src/a.py", "def f():\n    from torch.nn import Linear\n", "torch"),
        ("src/a.py", "import importlib\nx = importlib.import_module('torch.nn')\n", "torch"),
        ("src/a.py", "import pandas as pd", "pandas"),
        ("src/testing.py", "import pytest", "pytest"),
    ],
)
def test_an_import_from_outside_is_named(path: str, text: str, module: str) -> None:
    (found,) = check_extras.breaches({**ALLOWED, path: text}, RULES)
    assert found.startswith(f"{path}:")
    assert f"imports {module}, which is allowed in" in found


def test_allowed_imports_pass_and_stale_entries_are_named() -> None:
    assert not check_extras.breaches(ALLOWED, RULES)
    assert not check_extras.breaches(
        {**ALLOWED, "src/a.py": "import os, milepost.core.types\nfrom . import b\n"}, RULES
    )
    (stale,) = check_extras.breaches({"src/testing/a.py": "import pytest"}, RULES)
    assert "src/f/torch.py is listed for torch" in stale


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A page\n[b](b.md) [h](#a-page) [x](https://example.org) `[c](c.md)`\n[d](d.md)\n")
    (tmp_path / "b.md").write_text("[a](a.md#a-page) [g](a.md#gone)\n```\n[e](e.md)\n```\n")
    assert check_links.pages(tmp_path) == [tmp_path / "a.md", tmp_path / "b.md"]
    found = [line for page in check_links.pages(tmp_path) for line in check_links.breaches(tmp_path, page)]
    assert found == ["a.md: d.md leads to no file", "b.md: a.md#gone leads to no heading of a.md"]


@pytest.fixture
def news(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a changelog and one fragment."""
    monkeypatch.setattr(changelog, "ROOT", tmp_path)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "7.added.md").write_text("A new\nmetric.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.2.0 - unreleased\n\n## 0.1.0 - 2026-01-01\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("7.md", "x", "NNN.kind.md"), ("7.nice.md", "x", "one of added, fixed"), ("8.fixed.md", " \n", "is empty")],
)
def test_a_bad_fragment_is_named(news: Path, name: str, text: str, words: str) -> None:
    (news / "changelog.d" / name).write_text(text)
    (found,) = changelog.breaches("0.2.0", KINDS)
    assert name in found
    assert words in found


def test_a_changelog_of_another_version_is_named(news: Path) -> None:
    assert not list(changelog.breaches("0.2.0", KINDS))
    assert [line.startswith("CHANGELOG.md: begins with 0.2.0") for line in changelog.breaches("0.3.0", KINDS)] == [True]


def test_a_release_gathers_the_fragments(news: Path) -> None:
    (news / "changelog.d" / "9-words.fixed.md").write_text("A mistake.")
    changelog.release("2026-12-01", "0.2.0", KINDS)
    text = (news / "CHANGELOG.md").read_text()
    assert "## 0.2.0 - 2026-12-01\n\n### Added\n- A new metric.\n\n### Fixed\n- A mistake.\n" in text
    assert not changelog.fragments()
    with pytest.raises(SystemExit, match="is released already"):
        changelog.release("2026-12-02", "0.2.0", KINDS)


def test_a_stub_lists_names_and_says_where_from() -> None:
    assert make_stubs.stub({"B": "m.b", "A": "m.a"}).endswith(
        'from m.a import A as A\nfrom m.b import B as B\n\n__all__ = ["A", "B"]\n'
    )
    assert make_stubs.stub({}).endswith("\n__all__: list[str] = []\n")


def test_the_reference_shows_verbs_options_and_defaults() -> None:
    parser = argparse.ArgumentParser(prog="tool", description="A tool.")
    verbs = parser.add_subparsers()
    run = verbs.add_parser("run", description="Runs with %(prog)s.", epilog="Then stops.")
    run.add_argument("file", metavar="EVAL.py", help="the file")
    run.add_argument("ckpts", nargs="+", help="100%% of them")
    run.add_argument("--limit", "-n", type=int, default=3, metavar="N", help="at most (%(default)s) a|b")
    run.add_argument("--json", action="store_true", help="lines of JSON")
    run.add_argument("--kind", choices=["x", "y"], help="of what")
    run.add_argument("--secret", help=argparse.SUPPRESS)
    page = make_cli_reference.reference(parser)
    assert "# The command line\n\nA tool.\n\n```console\n$ tool VERB ...\n```\n" in page
    assert "## `tool run`\n\nRuns with tool run.\n" in page
    assert "$ tool run [OPTIONS] EVAL.py CKPTS [CKPTS ...]\n" in page
    assert (
        "| `--limit N`, `-n N` | at most (3) a\\|b |\n| `--json` | lines of JSON |\n| `--kind {x,y}` | of what |"
        in page
    )
    assert "| `CKPTS [CKPTS ...]` | 100% of them |" in page
    assert "secret" not in page


@pytest.mark.parametrize("script", ["check_limits.py", "check_extras.py", "make_stubs.py", "check_links.py"])
def test_a_script_runs_from_anywhere(script: str, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "scripts" / script), *(["--check"] if script.startswith("make_") else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    assert not done.stderr


@pytest.mark.parametrize("address", ["https://example.org/milepost", "https://example.org/milepost/"])
def test_the_page_of_an_index_has_absolute_links_or_texts(address: str, root: Path) -> None:
    text = (root / "README.md").read_text()
    links = {link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")}
    assert links
    page = readme_hook.page(text, {readme_hook.KEY: address})
    assert set(re.findall(r"\]\(([^)]+)\)", page)) == {
        f"https://example.org/milepost/blob/HEAD/{link}" for link in links
    }
    assert not re.findall(r"\]\(([^)]+)\)", readme_hook.page(text, {}))
    code = "```console\n$ echo [a](b)\n```\n"
    assert readme_hook.page(code, {readme_hook.KEY: address}) == code
    assert readme_hook.page("![x](docs/a.png)", {readme_hook.KEY: address}).endswith("/raw/HEAD/docs/a.png)")
