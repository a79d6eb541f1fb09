"""Check that one thing has one word: no word that the house has given up names a thing, a file, or a fixed term.

`WORDS` are given up everywhere, in text too; `NAMES` are ordinary English, and given up as names in code only;
`CLASSES` may name a variable, but no class.  An exception says why it stands; one without a use is named.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "scripts", "benchmarks", "examples", "docs", "changelog.d")

WORDS = {
    "sighting": "checkpoint, checkpoint record",
    "resident": "loaded",
    "spoiled": "non-finite",
    "certificate": "model check",
    "proof": "model check",
    "byhand": "overrides",
    "thinned": "skipped",
    "lookout": "scanner",
    "inventory": "snapshot",
    "anew": "again",
    "obituary": "exit report",
}
NAMES = {
    "by_hand": "overrides",
    "wish": "options, retry request",
    "wishes": "options, retry requests",
    "terms": "options",
    "tell": "report, warn, list",
    "tells": "reports",
    "told": "reported, events",
    "said": "message, reported",
    "hear": "receive",
    "heard": "received",
    "ear": "receiver",
    "hung": "timeout report",
}
CLASSES = {"found": "checkpoint files", "seen": "checkpoint", "content": "weights", "contents": "weights"}


class Exemption(NamedTuple):
    """Where a word stands, and why: in files whose path begins so."""

    word: str
    path: str
    reason: str


_TESTED = ("sighting", "resident", "spoiled", "certificate", "proof", "anew")
EXCEPTIONS = (
    *(Exemption(word, "scripts/check_words.py", "the list") for word in WORDS),
    *(Exemption(word, "tests/test_words.py", "the test of the list") for word in _TESTED),
    Exemption("tell", "benchmarks/_soak_trainer.py", "Python's own method of a file"),
    Exemption("tell", "tests/store/_disk.py", "the same"),
)


def words_of(name: str) -> list[str]:
    """Split a name into its words.

    >>> words_of("_HTTPReader.by_hand2")
    ['http', 'reader', 'by', 'hand', '2']
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", name)]


def uses(path: str, text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line (0 for the file's name), the word and what to say instead, for every word that is given up."""
    name = path.rpartition("/")[2].partition(".")[0]
    yield from ((0, word, say) for word, say in _given_up(name, WORDS | NAMES))
    for number, line in enumerate(text.splitlines(), 1):
        yield from ((number, word, say) for word, say in _given_up(line, WORDS))
    if path.endswith(".py"):
        yield from _names(text)


def _names(text: str) -> Iterator[tuple[int, str, str]]:
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and (before, token.string) != (".", "tell"):  # Python's word for a file's place
            kinds = NAMES | CLASSES if before == "class" else NAMES
            yield from ((token.start[0], word, say) for word, say in _given_up(token.string, kinds))
        before = token.string


def _given_up(text: str, kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    joined = f"_{'_'.join(words_of(text))}_"
    for word, say in kinds.items():
        if f"_{word}_" in joined or (word in WORDS and f"_{word}s_" in joined):
            yield word, say


def breaches(texts: Mapping[str, str], exceptions: tuple[Exemption, ...] = EXCEPTIONS) -> list[str]:
    """Return a line for every word that is given up and not excepted, and for every exception without a use."""
    lines, needed = [], set()
    for path, text in texts.items():
        for number, word, say in uses(path, text):
            standing = [item for item in exceptions if item.word == word and path.startswith(item.path)]
            needed.update(standing)
            if not standing:
                lines.append(f"{path}:{number}: {word!r}: say {say}")
    return lines + [
        f"the exception of {item.word!r} in {item.path} has no use" for item in exceptions if item not in needed
    ]


def main() -> int:
    """Check every text of the project; return 1 where a word is given up, or an exception is."""
    inner = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md", ".pyi"}]
    paths = sorted([*ROOT.glob("*.md"), *inner])
    found = breaches({path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths})
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
