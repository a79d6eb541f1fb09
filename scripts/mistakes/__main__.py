"""Write docs/mistakes.md by making every mistake: `python -m scripts.mistakes [--check] [WORD ...]`.

With words, the mistakes whose titles hold one of them are printed and nothing is written.
"""

import sys

from scripts.mistakes import _page


def main() -> int:
    """Write the page, compare it, or print a part of it; return 1 where it differs or decisive words are missing."""
    words = [word for word in sys.argv[1:] if word != "--check"]
    if words:
        chosen = [item for item in _page.ALL if any(word.lower() in item.title.lower() for word in words)]
        for item in chosen:
            made = _page.make(item)
            sys.stdout.write(_page.section(item, made) + "".join(f"MISSING {x!r}\n" for x in _page.lacking(item, made)))
        return 0
    made_all = [(item, _page.make(item)) for item in _page.ALL]
    missing = [
        f"{item.title}: {word!r} was not printed" for item, made in made_all for word in _page.lacking(item, made)
    ]
    if missing:
        sys.stderr.write("\n".join(missing) + "\n")
        return 1
    text = _page.page(made_all)
    if _page.PAGE.is_file() and _page.PAGE.read_text("utf-8") == text:
        return 0
    if "--check" not in sys.argv:
        _page.PAGE.write_text(text, "utf-8")
    sys.stdout.write(f"docs/mistakes.md: {'is not what make docs writes' if '--check' in sys.argv else 'written'}\n")
    return int("--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
