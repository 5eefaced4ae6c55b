"""Experiments: which part of the sources gets which answers, what came of it so far, and how one is begun and ended."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from lucid.api.console.access import CONSOLE
from lucid.api.console.guard import Screen
from lucid.api.console.pages import follow, go_to, page
from lucid.api.console.viewer import Fields, FieldsDep, expect_typed
from lucid.api.routes import experiments as api
from lucid.api.services import ServicesDep
from lucid.schema.experiments import (
    Experiment,
    ExperimentName,
    ExperimentReport,
    ExperimentRequest,
    VariantDifference,
    VariantEvents,
)
from lucid.schema.fields import check

router = APIRouter(route_class=Screen)

NamedExperiment = Annotated[ExperimentName, Path()]
_VARIANTS = 4
"""So many may be named in the form; the API takes more."""


@dataclass(frozen=True)
class ExperimentsPage:
    """All experiments, by name, and what one may be begun with."""

    experiments: list[Experiment]
    models: list[str]
    placements: list[str]
    variants: int = _VARIANTS


@dataclass(frozen=True)
class EventsOfType:
    """What came of each variant in events of one type; None for a variant that nothing came of.

    `most` is the highest end of an interval of rates, `furthest` how far from 0 one of differences reaches.
    """

    type: str
    variants: list[tuple[str, VariantEvents | None]]
    differences: list[VariantDifference]
    most: float
    furthest: float


@dataclass(frozen=True)
class ResultsPage:
    """An experiment and what came of it so far, by type of events."""

    report: ExperimentReport
    by_type: list[EventsOfType]


@page(router, "/experiments", "experiments.html")
def show_experiments(services: ServicesDep) -> ExperimentsPage:
    """Those that run, and those that were stopped."""
    found = api.list_experiments(services)
    return ExperimentsPage(found, services.catalog.trainings.models(), services.placements.names())


@page(router, "/experiments/{name}/results", "experiment.html")
def show_results(services: ServicesDep, name: NamedExperiment) -> ResultsPage:
    """What came of one."""
    report = api.show_experiment(services, name)
    types = sorted({events.type for result in report.results for events in result.events})
    return ResultsPage(report, [_of_type(report, event_type) for event_type in types])


@router.post(f"{CONSOLE}/experiments", include_in_schema=False)
def begin(request: Request, services: ServicesDep, fields: FieldsDep) -> Response:
    """Begin one; a variant without a name is none."""
    asked = {"name": fields.text("name"), "model_id": fields.text("model_id"), "variants": _variants(fields)}
    begun = api.begin_experiment(services, check(ExperimentRequest, asked))
    return follow(request, f"/experiments/{begun.name}/results")


@router.post(f"{CONSOLE}/experiments/{{name}}/stop", include_in_schema=False)
def stop(services: ServicesDep, name: NamedExperiment) -> Response:
    """Give everybody the live version again."""
    api.stop_experiment(services, name)
    return go_to(f"/experiments/{name}/results")


@router.post(f"{CONSOLE}/experiments/{{name}}/delete", include_in_schema=False)
def delete(services: ServicesDep, name: NamedExperiment, fields: FieldsDep) -> Response:
    """Delete one, once its name was typed."""
    expect_typed(fields, name)
    api.delete_experiment(services, name)
    return go_to("/experiments")


def _variants(fields: Fields) -> list[dict[str, Any]]:
    """The variants of the form, in which each field ends with the number of its variant."""
    rows = [
        {part: fields.text(f"{part}.{number}") for part in ("name", "share", "version", "placement")}
        for number in range(_VARIANTS)
    ]
    return [{part: value for part, value in row.items() if value} for row in rows if row["name"]]


def _of_type(report: ExperimentReport, event_type: str) -> EventsOfType:
    variants = [
        (result.name, next((one for one in result.events if one.type == event_type), None)) for result in report.results
    ]
    differences = [one for one in report.differences if one.type == event_type]
    most = max((one.high for _, one in variants if one), default=0.0)
    furthest = max((abs(end) for one in differences for end in (one.low, one.high)), default=0.0)
    return EventsOfType(event_type, variants, differences, most, furthest)
