"""Group commit: the events of all calls that come while others are being written are written together."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi.concurrency import run_in_threadpool

from lucid.data.events import EventIntake
from lucid.schema.events import EventsAccepted
from lucid.settings import Settings

_AT_ONCE = 5_000
"""So many events are written by one commit; calls beyond them wait for the next."""

_Waiting = tuple[Sequence[Any], "asyncio.Future[EventsAccepted]"]


class Intake:
    """Takes the events of calls; each is answered when its own are on the disk."""

    def __init__(self, settings: Settings) -> None:
        self._intake = EventIntake(settings)
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def accept(self, events: Sequence[Any]) -> EventsAccepted:
        """What became of the events of one call; raises as `EventIntake.accept` does."""
        answer: asyncio.Future[EventsAccepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((events, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def close(self) -> None:
        """Write what waits, and let go of the log."""
        if self._working is not None:
            await self._working
        await run_in_threadpool(self._intake.close)

    async def _work(self) -> None:
        while self._waiting:
            calls = self._next()
            try:
                answers = await run_in_threadpool(self._intake.accept, [events for events, _ in calls])
            except Exception as error:  # told to all whose events are not written
                _tell(calls, [error] * len(calls))
            else:
                _tell(calls, answers)

    def _next(self) -> list[_Waiting]:
        count, size = 0, 0
        while count < len(self._waiting) and (not count or size + len(self._waiting[count][0]) <= _AT_ONCE):
            size += len(self._waiting[count][0])
            count += 1
        calls, self._waiting = self._waiting[:count], self._waiting[count:]
        return calls


def _tell(calls: Sequence[_Waiting], answers: Sequence[EventsAccepted | Exception]) -> None:
    for (_, answer), told in zip(calls, answers, strict=True):
        if answer.done():  # the client has gone
            continue
        if isinstance(told, Exception):
            answer.set_exception(told)
        else:
            answer.set_result(told)
