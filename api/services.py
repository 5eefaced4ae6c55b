"""What the calls of one application work with: built once, handed to routes by type, and nowhere a loose name."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.applications import Starlette

from lucid.api.dry_runs import DryRuns
from lucid.api.intake import Intake
from lucid.api.jobs import lanes
from lucid.api.keyring import KeyRing
from lucid.api.metrics import Metrics
from lucid.api.queue import Queue
from lucid.api.readiness import Readiness
from lucid.api.runs import Runs
from lucid.api.training_room import TrainingRoom
from lucid.experiments.answers import NotedAnswers
from lucid.health import HealthWarnings
from lucid.placements.files import Placements
from lucid.serving.registry import ModelRegistry
from lucid.settings import Settings
from lucid.store.catalog import Catalog


@dataclass(frozen=True)
class Services:
    """The parts of one application on one `LUCID_HOME`."""

    settings: Settings
    catalog: Catalog
    warnings: HealthWarnings
    keys: KeyRing
    registry: ModelRegistry
    noted: NotedAnswers
    intake: Intake
    placements: Placements
    runs: Runs
    queue: Queue
    dry_runs: DryRuns
    training_room: TrainingRoom
    readiness: Readiness
    metrics: Metrics


def build_services(settings: Settings) -> Services:
    """All parts for these settings; creates what is missing of the catalog, starts nothing."""
    catalog, warnings, runs = Catalog(settings.home), HealthWarnings(), Runs(settings)
    dry_runs = DryRuns(settings)
    training_room = TrainingRoom(settings, dry_runs)
    registry = ModelRegistry(settings.home, patient=False, warnings=warnings)
    return Services(
        settings=settings,
        catalog=catalog,
        warnings=warnings,
        keys=KeyRing(catalog, settings.rate_limit, warnings),
        registry=registry,
        noted=NotedAnswers(settings.home, registry),
        intake=Intake(settings),
        placements=Placements(settings.home),
        runs=runs,
        queue=Queue(runs, lanes(settings, training_room.next)),
        dry_runs=dry_runs,
        training_room=training_room,
        readiness=Readiness(catalog, runs, warnings),
        metrics=Metrics(),
    )


def register(app: Starlette, services: Services) -> None:
    """Let the calls of an application work with these."""
    app.state.services = services


def services_of(app: Starlette) -> Services:
    """What an application works with, for whatever is no route: guards, error answers, background work."""
    services: Services = app.state.services
    return services


async def _services(request: Request) -> Services:  # async, for FastAPI gives all others to a thread
    return services_of(request.app)


ServicesDep = Annotated[Services, Depends(_services)]
"""A route that names a parameter so gets the application's services."""
