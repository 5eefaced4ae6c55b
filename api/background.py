"""What an application does by itself while it answers: starts what waits, looks for what died, is new or damaged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Literal

from lucid import approvals, auto_train, dead_runs, events, schedules
from lucid.api.services import Services
from lucid.data import batches
from lucid.erasure import requests
from lucid.errors import Unavailable
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run
from lucid.versions.inspection import Inspection
from lucid.webhooks.sender import Sender

SWEEP_SECONDS = 10
REFRESH_SECONDS = 1
EVENTS_SECONDS = 0.2
VERIFY_BYTES_PER_SECOND = 32_000_000
"""A few hundredths of a processor, and no more than a slow disk has to spare beside look-ups."""


@asynccontextmanager
async def background_work(services: Services) -> AsyncIterator[None]:
    """Do all of it while the block runs; afterwards the last uses of the keys are recorded and Prefect is left."""
    work = (
        _sweep(services),
        services.queue.keep_starting(services.warnings),
        services.training_room.keep_estimating(services.queue.look),
        services.keys.keep_up(),
        _refresh(services),
        _take_events(services),
        _verify(services),
    )
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    yield
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await services.intake.close()
    await asyncio.to_thread(services.noted.close)
    await services.keys.record_uses()
    await services.runs.close()


async def _sweep(services: Services) -> None:
    """End what died without saying so, and look what is wrong in the home, now and every few seconds."""
    settings, warnings, loop = services.settings, services.warnings, asyncio.get_running_loop()
    inspection, sender = Inspection(settings.home, warnings), Sender(settings, warnings)

    def is_lost(flow_run_id: str | None, entered: datetime) -> bool | Literal["cancelled"]:
        return asyncio.run_coroutine_threadsafe(services.runs.is_lost(flow_run_id, entered), loop).result()

    sweeps: dict[str, Callable[[], None]] = {
        "trainings": lambda: run.sweep(settings, is_lost=is_lost, warnings=warnings),
        "callbacks": sender.send,
        "imports": lambda: batches.sweep(settings, Catalog(settings.home), is_lost=is_lost, warnings=warnings),
        "erasures": lambda: requests.sweep(settings, is_lost=is_lost, warnings=warnings),
        "models": inspection.look,
        "dead runs": lambda: _where_prefect_answers(dead_runs.repeat, settings),
        "schedules": lambda: _where_prefect_answers(schedules.mend, settings),
        "auto-train": lambda: _where_prefect_answers(auto_train.mend, settings),
        "approvals": lambda: _where_prefect_answers(approvals.mend, settings),
        "events": lambda: _where_prefect_answers(events.tell, settings),
    }
    while True:
        for kind, sweep in sweeps.items():
            with warnings.apart(f"sweep of {kind}", f"could not look after {kind}"):
                await asyncio.to_thread(sweep)
        await asyncio.sleep(SWEEP_SECONDS)


def _where_prefect_answers(work: Callable[[Settings], None], settings: Settings) -> None:
    with suppress(Unavailable):  # it is told elsewhere that Prefect is not there
        work(settings)


async def _refresh(services: Services) -> None:
    """Notice what others than this process have uploaded, within a second."""
    while True:
        with services.warnings.apart("uploads", "what was uploaded could not be read"):
            await asyncio.to_thread(services.registry.refresh)
        await asyncio.sleep(REFRESH_SECONDS)


async def _take_events(services: Services) -> None:
    """Count events that have come, whoever took them, well within a second."""
    while True:
        with services.warnings.apart("events", "events could not be read"):
            await asyncio.to_thread(services.registry.take_events)
        await asyncio.sleep(EVENTS_SECONDS)


async def _verify(services: Services) -> None:
    """Compare each version with its checksums once after it was opened, a piece at a time and without haste."""
    while True:
        with services.warnings.apart("checksums", "versions could not be compared with their checksums"):
            steps = services.registry.verify()
            while read := await asyncio.to_thread(next, steps, 0):
                await asyncio.sleep(read / VERIFY_BYTES_PER_SECOND)
        await asyncio.sleep(REFRESH_SECONDS)
