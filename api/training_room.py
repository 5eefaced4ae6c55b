"""Which training gets a flow run next, as far as memory goes: first come, first served, and only beside others it fits.

A training that waits for memory holds back those behind it, small ones too: they would take what it waits for again and
again. It waits only for trainings that will end, as one that would not fit alone is refused.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from lucid.api import jobs
from lucid.api.dry_runs import DryRuns
from lucid.api.jobs import Job
from lucid.errors import LucidError
from lucid.schema.training import ModelStatus, TrainingEstimate, TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.trainings import TrainingRow
from lucid.training.room import Share, here, most, room, share, too_large, waits

_LOOK_SECONDS = 0.5
_Name = tuple[str, int]
_log = logging.getLogger("lucid.api")


class TrainingRoom:
    """Finds the training that waits longest and has room, and estimates in the background what others need.

    A training alone begins without an estimate, and looks itself whether it fits. Where Prefect is somebody else's, its
    trainings may run anywhere, so memory is looked at only where `training_memory` says how much there is.
    """

    def __init__(self, settings: Settings, dry_runs: DryRuns) -> None:
        self._settings, self._dry_runs = settings, dry_runs
        own = settings.prefect_api_url is None and settings.training_memory != "off"
        self._looks = own or settings.training_memory_bytes is not None
        self._needs: dict[_Name, Mapping[str, int]] = {}
        """Memory by part of the trainings that were estimated; of one that cannot be estimated, nothing."""
        self._unknown: dict[_Name, TrainingRequest] = {}

    def expect(self, request: TrainingRequest) -> None:
        """Raise NotEnoughMemory where it is known by now that such a training cannot fit."""
        known = self._dry_runs.known(request)
        if known and self._looks:
            rows = Catalog(self._settings.home).trainings.running()
            alone = most(self._settings, [share(cost) for _, cost in here(self._settings.home, rows)])
            if alone is not None and known.memory_bytes > alone:
                raise too_large(known.memory_by_part, alone)

    def next(self) -> Job | None:
        """The training that has waited longest, if there is room for it; its status says where there is none.

        One that is larger than all the room there would be ends in error.
        """
        trainings = Catalog(self._settings.home).trainings
        found = trainings.first_waiting()
        if found is None:
            return None
        job = jobs.training(self._settings, found)
        rows = trainings.running()
        self._needs = {name: self._needs[name] for row in rows if (name := _name(row.status)) in self._needs}
        beside = [row for row in rows if row.refresh_of is None and not _waits(row)]
        if not beside or not self._looks:
            return job
        waiting = next((row for row in rows if _name(row.status) == _name(found)), None)
        if waiting is None:  # cancelled in this moment
            return None
        others, needed = self._shares(beside), self._needs_of(waiting)
        if others is None or needed is None:
            return None
        needs, left, alone = sum(needed.values()), room(self._settings, others), most(self._settings, others)
        if left is None or alone is None or needs <= left:
            if waiting.status.message:  # what it waited for
                trainings.set_waiting(found.model_id, found.version, "")
            return job
        if needs > alone:
            job.withdraw(too_large(needed, alone))
            return None
        said = waits(needs, left)
        if waiting.status.message != said:
            trainings.set_waiting(found.model_id, found.version, said)
        return None

    def _shares(self, rows: list[TrainingRow]) -> list[Share] | None:
        """What trainings that have begun need and hold here; None where that is not known yet of all of them."""
        selected = {_name(row.status): share(cost) for row, cost in here(self._settings.home, rows)}
        begins = [row for row in rows if _name(row.status) not in selected and row.status.stage in ("queued", "select")]
        needs = [self._needs_of(row) for row in begins]
        known = [Share(sum(needed.values())) for needed in needs if needed is not None]
        return [*selected.values(), *known] if len(known) == len(needs) else None

    def _needs_of(self, row: TrainingRow) -> Mapping[str, int] | None:
        """What a training needs; None where that is to be estimated first."""
        name = _name(row.status)
        if name not in self._needs:
            asked = TrainingRequest.model_validate({**row.request, "model_id": row.status.model_id})
            if known := self._dry_runs.known(asked):
                self._needs[name] = known.memory_by_part
            else:
                self._unknown[name] = asked
        return self._needs.get(name)

    async def keep_estimating(self, look: Callable[[], None]) -> None:
        """Estimate what is not known, for ever; `look` is called whenever that has become less."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for name, asked in list(self._unknown.items()):
                self._needs[name] = await self._estimate(asked)
                del self._unknown[name]
                look()

    async def _estimate(self, asked: TrainingRequest) -> Mapping[str, int]:
        try:
            found: TrainingEstimate = self._dry_runs.known(asked) or await self._dry_runs.ask(asked)
        except (LucidError, RuntimeError, OSError) as error:  # the training itself will say it to whom it concerns
            _log.info("the memory of a training that waits is not known: %s", error)
            return {}
        return found.memory_by_part


def _waits(row: TrainingRow) -> bool:
    return row.status.stage == "queued" and row.flow_run_id is None


def _name(status: ModelStatus) -> _Name:
    return status.model_id, status.version
