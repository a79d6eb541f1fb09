"""The page of mistakes is what the script prints, and each mistake shows what it is there to show."""

import dataclasses
import functools

import pytest
from scripts.mistakes import _page
from scripts.mistakes._mistake import Mistake
from scripts.mistakes._run import Made


@functools.cache
def made(mistake: Mistake) -> Made:
    """Make a mistake once for all tests."""
    return _page.make(mistake)


@pytest.mark.parametrize("mistake", _page.ALL, ids=lambda mistake: mistake.title)
def test_the_decisive_words_are_printed(mistake: Mistake) -> None:
    assert _page.lacking(mistake, made(mistake)) == []


def test_the_page_is_what_is_printed_now() -> None:
    written = _page.PAGE.read_text("utf-8")
    if _page.versions() not in written:
        pytest.skip(f"the page was written with other versions than {_page.versions()}: `make docs` writes it again")
    now = _page.page([(mistake, made(mistake)) for mistake in _page.ALL])
    assert written == now, "docs/mistakes.md is not what make docs writes"


def test_words_that_are_not_printed_are_noticed() -> None:
    first = _page.ALL[0]
    wrong = dataclasses.replace(first, habit_says=("accuracy 0.999",), milepost_says=("0.831", "299/361"))
    assert _page.lacking(wrong, made(first)) == ["accuracy 0.999", "299/361"]


def test_titles_are_unique_and_every_mistake_says_what_to_do() -> None:
    assert len({item.title for item in _page.ALL}) == len(_page.ALL) >= 24
    assert all(item.wrong and item.advice and item.habit_says and item.milepost_says for item in _page.ALL)


def test_nothing_of_this_machine_stands_on_the_page() -> None:
    page = _page.page([(mistake, made(mistake)) for mistake in _page.ALL])
    assert not [word for word in ("/tmp", "/root", "/home", "site-packages", "mistake-") if word in page]  # noqa: S108 - looked for
