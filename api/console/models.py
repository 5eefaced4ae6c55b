"""A model: how good it is and why, its versions, what it learns from, and what it does by itself."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response

from lucid import auto_train, lineage, models, schedules
from lucid.api.console.access import CONSOLE
from lucid.api.console.drawing import Drawing, draw
from lucid.api.console.guard import Screen
from lucid.api.console.pages import Named, Number, Text, go_to, page
from lucid.api.console.quality import PairVerdict, report_of, verdicts
from lucid.api.console.viewer import FieldsDep
from lucid.api.routes import models as api
from lucid.api.services import Services, ServicesDep
from lucid.errors import AutoTrainOff, ModelNotReady, UnknownType
from lucid.schema.auto_train import AutoTrain, AutoTrainRequest, seconds_of
from lucid.schema.fields import check
from lucid.schema.lineage import Lineage
from lucid.schema.schedules import Schedule, ScheduleRequest
from lucid.schema.training import Model
from lucid.training.estimate import read_cost
from lucid.training.remaining import read_timings
from lucid.training.report import TrainingReport
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version

router = APIRouter(route_class=Screen)


@dataclass(frozen=True)
class HeatMap:
    """Pairs as a table: a row for each source type, a column for each target type, None where there is no pair."""

    target_types: list[str]
    rows: list[tuple[str, list[PairVerdict | None]]]


@dataclass(frozen=True)
class ReportPage:
    """The report of a version, with what its figures mean; `timings` are seconds of each stage, `memory_bytes` the most
    memory that its process held, where that is noted."""

    model: Model
    version: int
    pairs: list[PairVerdict]
    heat_map: HeatMap
    report: TrainingReport
    timings: dict[str, float]
    memory_bytes: int | None


@dataclass(frozen=True)
class PairPage:
    """All figures of one pair."""

    model: Model
    version: int
    pair: PairVerdict


@dataclass(frozen=True)
class NotYetPage:
    """A model of which no version is finished yet."""

    model: Model


@dataclass(frozen=True)
class GraphPage:
    """The types and relations that a version has learned from, drawn and as a list."""

    model: Model
    version: int
    drawing: Drawing
    report: TrainingReport


@dataclass(frozen=True)
class SchedulesPage:
    """When a model is trained and refreshed by itself; `auto_train` is None where it is not after uploads."""

    model: Model
    schedules: list[Schedule]
    auto_train: AutoTrain | None


@dataclass(frozen=True)
class LineagePage:
    """What a version was made of and what it gives."""

    model: Model
    lineage: Lineage
    timings: dict[str, float]


@page(router, "/models/{model_id}/report", "report.html")
def show_report(services: ServicesDep, model_id: Named, version: Number = None) -> Any:
    """How good a version is: the one that answers, or the one with a number."""
    model = models.find_model(services.settings, model_id)
    try:
        handle = _version(services, model_id, version)
    except ModelNotReady:
        return NotYetPage(model)
    with handle.reading():
        report = report_of(handle.folder)
        pairs, cost = verdicts(report), read_cost(handle.folder)
        memory = (cost and cost.peak_bytes) or None
        return ReportPage(model, handle.number, pairs, _heat_map(pairs), report, read_timings(handle.folder), memory)


@page(router, "/models/{model_id}/pair", "pair.html")
def show_pair(
    services: ServicesDep, model_id: Named, source_type: Text, target_type: Text, version: Number = None
) -> PairPage:
    """One pair closer: intervals, differences, who gets good recommendations, calibration, bias, variety."""
    handle = _version(services, model_id, version)
    with handle.reading():
        pairs = verdicts(report_of(handle.folder))
    wanted = source_type, target_type
    found = next((one for one in pairs if (one.quality.source_type, one.quality.target_type) == wanted), None)
    if found is None:
        raise UnknownType(f"version {handle.number} was not judged on the pair {source_type!r} to {target_type!r}")
    return PairPage(models.find_model(services.settings, model_id), handle.number, found)


@page(router, "/models/{model_id}/graph", "graph.html")
def show_graph(services: ServicesDep, model_id: Named, version: Number = None) -> GraphPage:
    """The types of a version's graph and how many edges lead from which to which."""
    handle = _version(services, model_id, version)
    with handle.reading():
        report = report_of(handle.folder)
    model = models.find_model(services.settings, model_id)
    return GraphPage(model, handle.number, draw(report.graph), report)


@page(router, "/models/{model_id}/schedules", "schedules.html")
def show_schedules(services: ServicesDep, model_id: Named) -> SchedulesPage:
    """What a model does by itself."""
    auto = None
    with suppress(AutoTrainOff):
        auto = auto_train.of_model(services.settings, model_id)
    model = models.find_model(services.settings, model_id)
    return SchedulesPage(model, schedules.of_model(services.settings, model_id), auto)


@page(router, "/models/{model_id}/lineage", "lineage.html")
def show_lineage(services: ServicesDep, model_id: Named, version: Number = None) -> LineagePage:
    """From batches to answers."""
    told = lineage.lineage(services.settings, model_id, version)
    folder = ModelVersions(services.settings.home, model_id).version(told.version).folder
    return LineagePage(models.find_model(services.settings, model_id), told, read_timings(folder))


@router.post(f"{CONSOLE}/models/{{model_id}}/schedules", include_in_schema=False)
def add_schedule(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Train or refresh a model at the times of a cron expression."""
    asked = {name: fields.text(name) for name in ("work", "cron", "timezone")}
    api.add_schedule(services, model_id, check(ScheduleRequest, asked))
    return go_to(f"/models/{model_id}/schedules")


@router.post(f"{CONSOLE}/models/{{model_id}}/schedules/remove", include_in_schema=False)
def remove_schedule(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Delete a schedule."""
    api.remove_schedule(services, model_id, fields.text("schedule_id"))
    return go_to(f"/models/{model_id}/schedules")


@router.post(f"{CONSOLE}/models/{{model_id}}/auto-train", include_in_schema=False)
def switch_auto_train_on(services: ServicesDep, model_id: Named, fields: FieldsDep) -> Response:
    """Train a model by itself after uploads."""
    wanted = {name: seconds_of(fields.text(name)) for name in ("quiet_seconds", "min_interval_seconds")}
    api.switch_auto_train_on(services, model_id, check(AutoTrainRequest, wanted))
    return go_to(f"/models/{model_id}/schedules")


@router.post(f"{CONSOLE}/models/{{model_id}}/auto-train/off", include_in_schema=False)
def switch_auto_train_off(services: ServicesDep, model_id: Named) -> Response:
    """Train a model after uploads no more."""
    api.switch_auto_train_off(services, model_id)
    return go_to(f"/models/{model_id}/schedules")


def _version(services: Services, model_id: str, number: int | None) -> Version:
    versions = ModelVersions(services.settings.home, model_id)
    return versions.answering() if number is None else versions.named(number)


def _heat_map(pairs: list[PairVerdict]) -> HeatMap:
    by_types = {(one.quality.source_type, one.quality.target_type): one for one in pairs}
    sources, targets = ({pair[end] for pair in by_types} for end in (0, 1))
    columns = sorted(targets)
    return HeatMap(
        columns, [(source, [by_types.get((source, target)) for target in columns]) for source in sorted(sources)]
    )
