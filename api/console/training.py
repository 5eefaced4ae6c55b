"""Trainings: asked for by a form, tried without starting, followed to their end."""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from lucid import models
from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import Screen
from lucid.api.console.pages import Named, go_to, page, show
from lucid.api.console.viewer import Fields, FieldsDep
from lucid.api.routes.models import begin_training, end_training
from lucid.api.services import Services, ServicesDep
from lucid.errors import InvalidRequest
from lucid.schema.fields import ModelId, check
from lucid.schema.training import ModelStatus, TrainingEstimate, TrainingRequest
from lucid.store.tables.trainings import TrainingRow
from lucid.training.remaining import read_timings
from lucid.versions.lifecycle import ModelVersions

router = APIRouter(route_class=Screen)

_MOST_RUNS = 50
_CANCEL_SECONDS = 5
_IN_JSON = ("data_filters", "metadata_rules", "interaction_rules", "precompute")
_STAGES = ("queued", "select", "build", "fit", "evaluate", "precompute", "publish", "finished")


@dataclass(frozen=True)
class TrainPage:
    """The form, as the latest training of the model was asked, and what there is to choose from.

    `in_json` are the parts of it that people write as JSON, by name.
    """

    asked: TrainingRequest
    in_json: dict[str, str]
    models: list[str]
    tags: list[str]
    batches: int


@dataclass(frozen=True)
class ProgressPage:
    """How far the latest training and refresh of a model have come."""

    model_id: str
    training: ModelStatus
    refresh: ModelStatus | None
    live_version: int | None
    stages: tuple[str, ...] = _STAGES

    @property
    def running(self) -> ModelStatus | None:
        """What is to be followed still."""
        return next((one for one in (self.refresh, self.training) if one and one.status == "running"), None)


@dataclass(frozen=True)
class RunLine:
    """A training or a refresh; `timings` are seconds of its stages, where its version is kept."""

    status: ModelStatus
    work: str
    asked: dict[str, Any]
    timings: dict[str, float]


@dataclass(frozen=True)
class RunsPage:
    """The latest trainings and refreshes of all models."""

    runs: list[RunLine]


@page(router, "/train", "train.html")
def show_form(services: ServicesDep, model_id: Annotated[ModelId | None, Query()] = None) -> TrainPage:
    """What a training may be asked; a model that exists is asked for as it was."""
    catalog = services.catalog
    asked = TrainingRequest.model_validate(_asked(catalog.trainings.get(model_id)) if model_id else {})
    given = asked.model_dump(mode="json", exclude_none=True, include=set(_IN_JSON))
    in_json = {name: orjson.dumps(given[name]).decode() if name in given else "" for name in _IN_JSON}
    batches = catalog.batches.find()
    tags = sorted({tag for batch in batches for tag in batch.tags})
    active = sum(batch.status == "completed" and not batch.archived for batch in batches)
    return TrainPage(asked, in_json, catalog.trainings.models(), tags, active)


@router.post(f"{CONSOLE}/train/dry-run", include_in_schema=False)
async def dry_run(request: Request, services: ServicesDep, fields: FieldsDep) -> Response:
    """What a training would select, take and need."""
    estimate: TrainingEstimate = await services.dry_runs.ask(_wanted(fields))
    return show(request, "dry_run.html", estimate)


@router.post(f"{CONSOLE}/train", include_in_schema=False)
async def train(services: ServicesDep, fields: FieldsDep) -> Response:
    """Begin a training, and show how far it comes."""
    begun = await begin_training(services, _wanted(fields))
    return go_to(f"/models/{begun.model_id}/progress")


@page(router, "/models/{model_id}/progress", "progress.html")
def show_progress(services: ServicesDep, model_id: Named) -> ProgressPage:
    """How far it is now; the page asks again until it has ended."""
    model = models.find_model(services.settings, model_id)
    return ProgressPage(model_id, model.training, model.refresh, model.live_version)


@router.post(f"{CONSOLE}/models/{{model_id}}/cancel", include_in_schema=False)
async def cancel(services: ServicesDep, model_id: Named) -> Response:
    """End the training or refresh that runs."""
    await end_training(services, model_id, _CANCEL_SECONDS)
    return go_to(f"/models/{model_id}/progress")


@page(router, "/runs", "runs.html")
def show_runs(services: ServicesDep) -> RunsPage:
    """What was trained and refreshed, with the time that each step took."""
    return RunsPage([_run(services, row) for row in services.catalog.trainings.recent(_MOST_RUNS)])


def _run(services: Services, row: TrainingRow) -> RunLine:
    status = row.status
    folder = ModelVersions(services.settings.home, status.model_id).version(status.version).folder
    work = "training" if row.refresh_of is None else f"refresh of {row.refresh_of}"
    return RunLine(status, work, _asked(row), read_timings(folder))


def _asked(row: TrainingRow) -> dict[str, Any]:
    """What a training was asked beyond its name."""
    asked = {name: value for name, value in row.request.items() if value}
    return {**asked, "model_id": row.status.model_id}


def _wanted(fields: Fields) -> TrainingRequest:
    """What the form asks for; raises InvalidRequest."""
    texts = ("model_id", "maximum_interaction_age_days", "callback_url", "max_minutes")
    asked: dict[str, Any] = {name: fields.text(name) or None for name in texts}
    asked["data_tags"] = fields.texts("data_tags") or None
    asked["allow_type_changes"] = bool(fields.text("allow_type_changes"))
    for name in _IN_JSON:
        asked[name] = _json(name, fields.text(name))
    return check(TrainingRequest, asked)


def _json(name: str, text: str) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{name}: not JSON ({error}); leave it empty or write it as docs/api.md shows") from None
