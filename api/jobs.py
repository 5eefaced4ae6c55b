"""What the API was asked for and no flow run does yet, as the home tells: the queue outlives every process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from lucid.data.batches import remove_batch_files
from lucid.data.event_batches import compaction_due
from lucid.erasure import requests
from lucid.schema.training import ModelStatus
from lucid.service.prefect_api import (
    COMPACT_EVENTS,
    ERASE_ENTITY,
    IMPORT_DATA,
    REFRESH,
    TRAIN_MODEL,
    batch_tag,
    model_tag,
)
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run


class FlowRun(NamedTuple):
    """A flow run as Prefect knows it, and where people see it."""

    flow_run_id: str
    url: str


@dataclass(frozen=True)
class Job:
    """Work that is entered already and waits for a flow run.

    `work` names it, and is never used again; by `tags` people find its run. `note` writes down which run does the work;
    `withdraw` is told why there is none and forgets the work, or tells that a run does it meanwhile, by False. Both are
    slow.
    """

    deployment: str
    parameters: dict[str, Any]
    work: str
    tags: list[str]
    note: Callable[[FlowRun], object]
    withdraw: Callable[[BaseException], bool]


_COMPACTION_SECONDS = 20.0
"""So long a compaction that was started is given before another one is."""

Lane = Callable[[], Job | None]
"""Looks for the first job of one kind that waits."""


def lanes(settings: Settings, first_training: Lane) -> tuple[Lane, ...]:
    """All kinds of jobs, those first that are short; which training is the next is for others to say."""
    looks = (_first_erasure, _first_import, _first_refresh)
    return *(partial(look, settings) for look in looks), EventCompactions(settings), first_training


class EventCompactions:
    """Looks whether so many events wait that they are compacted before the hour is over; see `Lane`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._begun = settings, -_COMPACTION_SECONDS

    def __call__(self) -> Job | None:
        if time.monotonic() - self._begun < _COMPACTION_SECONDS:
            return None
        catalog = Catalog(self._settings.home)
        return self._job() if compaction_due(self._settings, catalog) else None

    def _job(self) -> Job:
        def note(_made: FlowRun) -> None:
            self._begun = time.monotonic()

        # Nothing is entered: a run that finds nothing to do does nothing.
        return Job(COMPACT_EVENTS, {}, work=f"events {uuid4().hex}", tags=[], note=note, withdraw=lambda _error: True)


def erasure(settings: Settings, name: str) -> Job:
    """The job of an erasure that was entered under a name."""
    return Job(
        ERASE_ENTITY,
        {"request": name},
        work=name,
        tags=[],
        note=lambda made: requests.set_flow_run(settings, name, made.flow_run_id),
        withdraw=lambda _error: requests.withdraw(settings, name),
    )


def upload(settings: Settings, batch_ids: list[str], parameters: dict[str, Any], tries: int = 0) -> Job:
    """The job of an upload whose batches were entered, after so many runs that died."""
    return Job(
        IMPORT_DATA,
        parameters,
        work=f"{batch_ids[0]} {tries}",
        tags=[batch_tag(batch_id) for batch_id in batch_ids],
        note=lambda made: Catalog(settings.home).batches.set_flow_run(batch_ids, made.flow_run_id),
        withdraw=lambda _error: forget_upload(settings, batch_ids),
    )


def training(settings: Settings, entered: ModelStatus) -> Job:
    """The job of a training that was entered."""
    return _made_by(settings, TRAIN_MODEL, entered)


def refresh(settings: Settings, entered: ModelStatus) -> Job:
    """The job of a refresh that was entered."""
    return _made_by(settings, REFRESH, entered)


def _made_by(settings: Settings, deployment: str, entered: ModelStatus) -> Job:
    """The job of a version that was entered, and is made by runs of a deployment."""
    model_id, version = entered.model_id, entered.version
    return Job(
        deployment,
        # All else stands in the catalog: Prefect keeps parameters for long, and only a limited size of them.
        {"model_id": model_id, "version": version},
        # The time, because after a new start from an empty home a version may come again.
        work=f"{model_id} {version} {entered.start_timestamp.isoformat()}",
        tags=[model_tag(model_id)],
        note=lambda made: Catalog(settings.home).trainings.set_flow_run(model_id, version, *made),
        withdraw=partial(run.end_unbegun, settings, entered),
    )


def forget_upload(settings: Settings, batch_ids: list[str]) -> bool:
    """Forget an upload that could not be started, unless a flow run was made for it; tells whether it is forgotten."""
    withdrawn = Catalog(settings.home).batches.withdraw(batch_ids)
    if withdrawn:
        for batch_id in batch_ids:
            remove_batch_files(settings.home, batch_id)
    return withdrawn


def _first_erasure(settings: Settings) -> Job | None:
    name = requests.first_waiting(settings)
    return erasure(settings, name) if name else None


def _first_import(settings: Settings) -> Job | None:
    found = Catalog(settings.home).batches.first_waiting()
    return upload(settings, found.batch_ids, found.parameters, found.tries) if found else None


def _first_refresh(settings: Settings) -> Job | None:
    found = Catalog(settings.home).trainings.first_waiting(refresh=True)
    return refresh(settings, found) if found else None
