"""Read-ahead: the same items, at most `depth` of them early, no thread left behind."""

import threading
from collections.abc import Iterator

import pytest

from milepost._internal.threads import ahead
from milepost.errors import DataError, UsageError


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "milepost-ahead"]


def test_it_gives_the_same_items() -> None:
    for depth in (1, 2, 50):
        assert list(ahead(iter(range(100)), depth)) == list(range(100))
        assert list(ahead(iter(()), depth)) == []
    assert not threads()


def test_it_reads_ahead_and_not_further() -> None:
    made: list[int] = []
    third = threading.Event()

    def source() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                third.set()
            yield number

    reading = ahead(source(), 2)
    assert next(reading) == 0
    # One was taken, two wait in the queue, and the thread holds one that it cannot put down.
    assert third.wait(30)
    assert made == [0, 1, 2, 3]
    reading.close()
    assert len(made) <= 5
    assert not threads()


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise DataError("broken at 2")

    reading = ahead(source())
    assert next(reading) == 1
    with pytest.raises(DataError, match="broken at 2"):
        next(reading)
    assert not threads()


@pytest.mark.parametrize("taken", [1, 2, 5])
def test_stopping_early_closes_the_source_in_its_own_thread(taken: int) -> None:
    closed: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    reading = ahead(source())
    for _ in range(taken):
        next(reading)
    reading.close()
    assert closed == ["milepost-ahead"]
    assert not threads()


def test_many_early_stops_never_hang() -> None:
    for turn in range(300):
        reading = ahead(iter(range(10)), depth=1 + turn % 3)
        for _ in range(1 + turn % 9):
            next(reading)
        reading.close()
    assert not threads()


def test_nothing_is_started_before_the_first_item_is_asked_for() -> None:
    ahead(iter("abc"))
    assert not threads()
    with pytest.raises(UsageError, match="depth"):
        ahead(iter("abc"), 0)
