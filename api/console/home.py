"""The first page: how the models are, what came in, and what runs by itself."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import APIRouter

from lucid import auto_train, models, schedules
from lucid.api.console.guard import Screen
from lucid.api.console.pages import page
from lucid.api.console.quality import PairVerdict, report_of, verdicts
from lucid.api.console.viewer import ViewerDep
from lucid.api.services import Services, ServicesDep
from lucid.errors import DamagedVersion
from lucid.schema.batches import Batch
from lucid.schema.fields import ServedBy, utc_now
from lucid.schema.schedules import Planned
from lucid.schema.training import Model
from lucid.versions.lifecycle import ModelVersions

router = APIRouter(route_class=Screen)

LATEST = 5
NIGHT = timedelta(hours=24)


@dataclass(frozen=True)
class ServedShare:
    """In which way so many sources got their answers since the service started."""

    served_by: str
    sources: int
    share: float


@dataclass(frozen=True)
class ModelLine:
    """A model at a glance: what answers since when, how good that is, and where answers came from."""

    model: Model
    live_since: datetime | None
    pairs: list[PairVerdict]
    served: list[ServedShare]


@dataclass(frozen=True)
class DataSummary:
    """What has come in, over all batches, and the latest of them."""

    batches: int
    entities: int
    interactions: int
    rejected: int
    failed: int
    latest: list[Batch]


@dataclass(frozen=True)
class HomePage:
    """What the key may see; None for what it may not. `warnings` is for administrators."""

    models: list[ModelLine] | None
    data: DataSummary | None
    warnings: list[str] | None


@dataclass(frozen=True)
class TonightPage:
    """What begins by itself: within a day, later or after uploads, and what is paused."""

    until: datetime
    soon: list[Planned]
    later: list[Planned]
    paused: list[Planned]


@page(router, "/home", "home.html")
def show_home(services: ServicesDep, viewer: ViewerDep) -> HomePage:
    """All models and the data, as far as the key may see them."""
    return HomePage(
        models=_models(services) if viewer.may("train") else None,
        data=_data(services.catalog.batches.find()) if viewer.may("data:read") else None,
        warnings=services.warnings.current() if viewer.may("admin") else None,
    )


@page(router, "/tonight", "tonight.html")
def show_tonight(services: ServicesDep) -> TonightPage:
    """What Prefect will begin by itself."""
    until = utc_now() + NIGHT
    planned = [*schedules.planned(services.settings), *auto_train.planned(services.settings)]
    active = [one for one in planned if one.active]
    soon = [one for one in active if one.next_run and one.next_run <= until]
    return TonightPage(
        until,
        sorted(soon, key=lambda one: one.next_run or until),
        [one for one in active if one not in soon],
        [one for one in planned if not one.active],
    )


def _models(services: Services) -> list[ModelLine]:
    return [_line(services, model) for model in models.list_models(services.settings)]


def _line(services: Services, model: Model) -> ModelLine:
    live = next((version for version in model.versions if version.live), None)
    pairs: list[PairVerdict] = []
    if live:
        handle = ModelVersions(services.settings.home, model.model_id).version(live.version)
        with suppress(DamagedVersion), handle.reading():
            pairs = verdicts(report_of(handle.folder))
    counts = services.metrics.served.get(model.model_id, Counter[ServedBy]())
    total = sum(counts.values())
    served = [ServedShare(way, count, count / total) for way, count in sorted(counts.items())]
    return ModelLine(model, live.created if live else None, pairs, served)


def _data(batches: list[Batch]) -> DataSummary:
    return DataSummary(
        batches=len(batches),
        entities=sum(batch.entity_count for batch in batches),
        interactions=sum(batch.interaction_count for batch in batches),
        rejected=sum(batch.rejected_count for batch in batches),
        failed=sum(batch.status == "error" for batch in batches),
        latest=batches[: -LATEST - 1 : -1],
    )
