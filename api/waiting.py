"""Calls that wait until something is done, but no longer than their client wants to."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool

Found = TypeVar("Found")

POLL_SECONDS = 0.25
"""How long nobody looks after a look that found it not done."""


def deadline_in(seconds: float) -> float:
    """The moment so many seconds from now, on the clock that `wait_until` reads."""
    return time.monotonic() + seconds


async def wait_until(done: Callable[[Found], bool], look: Callable[[], Found], deadline: float) -> Found:
    """What `look` finds once that is done, or what it finds when the deadline has passed; it looks at least once.

    `look` is called in a thread, and whatever it raises ends the waiting.
    """
    while True:
        found = await run_in_threadpool(look)
        if done(found) or time.monotonic() >= deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)
