"""The queue: what was asked for gets its flow run in its turn, and the call that asked does not wait for it.

Prefect holds no run for which its deployment has no place: it would look at each again and again, and the more wait,
the less it does for those that run. So a run is made once there is a place for it; until then the work waits in the
home (`lucid.api.jobs`), which survives everything.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

import httpx
from fastapi.concurrency import run_in_threadpool

from lucid.api.jobs import FlowRun, Job, Lane
from lucid.api.runs import AWAY_SECONDS, Runs, is_away, is_refused
from lucid.errors import Unavailable
from lucid.health import HealthWarnings

SOON_SECONDS = 1.0
"""So long a call waits for the flow run of its work, to tell where people see it."""
_LOOK_SECONDS = 0.05
_PLACE_SECONDS = 0.5
"""How often what waits is looked at where no place was free."""
_IDLE_SECONDS = 5.0
"""How often it is looked whether another process has entered anything."""
_REMEMBERED = 1000


class Queue:
    """Makes the flow runs of what waits, one after the other; a kind that has no place holds no other one back."""

    def __init__(self, runs: Runs, lanes: Sequence[Lane]) -> None:
        self._runs, self._lanes = runs, lanes
        self._asked = asyncio.Event()
        self._outcomes: OrderedDict[str, FlowRun | Unavailable] = OrderedDict()
        """What became of the works that were last looked at, by name."""
        self._away = False
        self._calls: list[str] = []
        """The works for whose runs calls wait."""

    async def begin(self, job: Job) -> FlowRun | None:
        """Let a job that was entered have its turn; returns its flow run where that is soon, else None.

        Raises Unavailable where Prefect is not there or will not start it; the job is withdrawn then.
        """
        self._asked.set()
        soon = 0.0 if self._calls else SOON_SECONDS  # behind others, it is not soon
        self._calls.append(job.work)
        try:
            outcome = await self._outcome(job, soon)
        finally:
            self._calls.remove(job.work)
        if outcome is None and self._away:
            away = Unavailable("the Prefect server does not answer, so nothing can be started now; try again")
            withdrawn = await run_in_threadpool(job.withdraw, away)
            outcome = away if withdrawn else None  # else another process has started it
        if isinstance(outcome, Unavailable):
            raise outcome
        return outcome

    async def _outcome(self, job: Job, soon: float) -> FlowRun | Unavailable | None:
        """What has become of a job after so many seconds at most, or some more where Prefect is not there."""
        began = time.monotonic()
        while job.work not in self._outcomes:
            if time.monotonic() - began >= (AWAY_SECONDS if self._away else soon):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return self._outcomes.get(job.work)

    def look(self) -> None:
        """Look at once, as something may have its turn now."""
        self._asked.set()

    async def keep_starting(self, warnings: HealthWarnings) -> None:
        """Start what waits, for ever; what goes wrong is a warning, and is tried again."""
        while True:
            self._asked.clear()
            pause = _PLACE_SECONDS
            with warnings.apart("queue", "what waits for a flow run cannot be started"):
                pause = await self._start_those_with_a_place()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), pause)

    async def _start_those_with_a_place(self) -> float:
        """Go through the lanes once; returns after how long that is worth it again."""
        pause = _IDLE_SECONDS
        for lane in self._lanes:
            job = await run_in_threadpool(lane)
            if job is None:
                continue
            if await self._start(job):
                return 0.0  # to begin with the first lane again
            pause = _PLACE_SECONDS
        return pause

    async def _start(self, job: Job) -> bool:
        """Make the run of a job if there is a place for it; tells whether the job waits no more.

        Raises Unavailable where Prefect refuses it and no call waits for it that could be told: it goes on waiting.
        """
        try:
            deployment = await self._runs.place(job.deployment)
            self._away = False
            if deployment is None:
                return False
            made = await self._runs.make(deployment, job.parameters, job.work, job.tags)
        except httpx.HTTPError as error:
            self._away = is_away(error)
            if not is_refused(error):
                return False
            refused = Unavailable(f"the Prefect server does not start the flow ({error}); try again")
            if job.work not in self._calls:
                raise refused from error
            if await run_in_threadpool(job.withdraw, refused):
                self._tell(job, refused)
            return True
        await run_in_threadpool(job.note, made)
        self._tell(job, made)
        return True

    def _tell(self, job: Job, outcome: FlowRun | Unavailable) -> None:
        self._outcomes[job.work] = outcome
        while len(self._outcomes) > _REMEMBERED:
            self._outcomes.popitem(last=False)
