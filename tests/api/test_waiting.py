"""Waiting until something is done, or until the client does not want to wait any longer."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from lucid.api.waiting import deadline_in, wait_until


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lucid.api.waiting.POLL_SECONDS", 0.01)


def wait(looks: Iterator[int], seconds: float) -> int:
    """The first of these numbers that is three, if it comes in time."""
    return asyncio.run(wait_until(lambda found: found == 3, lambda: next(looks), deadline_in(seconds)))


def test_what_is_done_ends_the_waiting() -> None:
    """Nobody looks once more."""
    looks = iter([1, 2, 3, 4])

    assert 3 == wait(looks, 60)
    assert [4] == list(looks)


@pytest.mark.parametrize("seconds", [0, -1])
def test_who_does_not_want_to_wait_gets_one_look(seconds: float) -> None:
    """Also where the deadline passed before the first of them."""
    looks = iter([1, 2, 3])

    assert 1 == wait(looks, seconds)
    assert [2, 3] == list(looks)


def test_what_is_not_done_in_time_is_answered_as_it_is() -> None:
    """Soon after the deadline, with what the last look found."""
    looks, began = iter([1] * 10_000), time.monotonic()

    assert 1 == wait(looks, 0.1)
    assert 0.1 <= time.monotonic() - began
    assert 9_900 < len(list(looks))


def test_what_a_look_raises_ends_the_waiting() -> None:
    """It is told to whoever waits."""

    def look() -> int:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        asyncio.run(wait_until(bool, look, deadline_in(60)))


def test_other_calls_are_answered_while_one_looks() -> None:
    """A look that takes its time is no matter of the event loop."""
    looking, answered = threading.Event(), threading.Event()

    def look() -> bool:
        looking.set()
        return answered.wait(10)

    async def use() -> bool:
        waiting = asyncio.create_task(wait_until(bool, look, deadline_in(0)))
        while not looking.is_set():
            await asyncio.sleep(0.01)
        answered.set()
        return await waiting

    assert asyncio.run(use())
