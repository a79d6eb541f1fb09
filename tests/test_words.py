"""The check of words notices one in a name, a file's name and a text, and lets ordinary English stand."""

import pytest
from scripts.check_words import Exemption, breaches


@pytest.mark.parametrize(
    ("path", "text", "line"),
    [
        ("src/a.py", "x = 1\nclass NewSighting: ...\n", "src/a.py:2: 'sighting': say checkpoint"),
        ("src/a.py", "# The residents of a pass.\n", "src/a.py:1: 'resident': say loaded"),
        ("src/a.py", 'raise E(f"{n} rows are spoiled")\n', "src/a.py:1: 'spoiled': say non-finite"),
        ("docs/a.md", "A certificate of the model.\n", "docs/a.md:1: 'certificate': say model check"),
        ("src/a.py", "def tell(word): ...\n", "src/a.py:1: 'tell': say report"),
        ("src/a.py", "model.given_by_hand = 1\n", "src/a.py:1: 'by_hand': say overrides"),
        ("src/a.py", "class FoundFiles: ...\n", "src/a.py:1: 'found': say checkpoint files"),
        ("tests/test_wishes.py", "", "tests/test_wishes.py:0: 'wishes': say options"),
    ],
)
def test_a_word_that_is_given_up_is_named(path: str, text: str, line: str) -> None:
    assert [found.startswith(line) for found in breaches({path: text}, ())] == [True]


def test_ordinary_english_stands() -> None:
    text = "found = stream.tell()  # as was said, a wish in terms of what its parts tell\nseen = 'heard'\n"
    assert not breaches({"src/a.py": text, "docs/found.md": "Told by hand, and waterproof.\n"}, ())


def test_an_exception_stands_where_it_has_a_use() -> None:
    exceptions = (Exemption("proof", "src/a.py", "a proof of mathematics"), Exemption("anew", "src/", "none"))
    assert breaches({"src/a.py": "# The proof.\n"}, exceptions) == ["the exception of 'anew' in src/ has no use"]
