"""The deployments of the service: the one table of them, and that Prefect runs nothing else under their names.

What they run is ours and is put right. When, how many at once, and under which words is a default that people may
change in Prefect (`lucid.flows.defaults`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import time
from importlib.metadata import version
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from lucid.errors import Unavailable
from lucid.flows.approve_version import approve_version
from lucid.flows.auto_train import auto_train
from lucid.flows.compact_events import compact_events
from lucid.flows.defaults import Daily, Defaults, first_schedules, follow_schedule, followed, kept, read_made, remember
from lucid.flows.erase_entity import erase_entity
from lucid.flows.import_data import import_data
from lucid.flows.maintain_home import maintain_home
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.train_model import train_model
from lucid.settings import Settings, load_settings

VERSION = version("lucid-recommender")
"""Every deployment carries the version of the Lucid that registered it."""


@dataclass(frozen=True)
class Deployment:
    """A flow and the deployment by which it is started.

    At most `limit` of its runs work at once; further ones wait in Prefect, without a process or a place of other
    deployments, until one of them has ended. A daily one starts by itself at the time of day that it takes from the
    settings, an hourly one five minutes past.
    """

    flow: Flow[..., Any]
    name: str
    description: str
    tags: tuple[str, ...]
    limit: int
    daily: Callable[[Settings], time | None] | None = None
    hourly: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.flow.name}/{self.name}"

    @property
    def concurrency(self) -> ConcurrencyLimitConfig:
        return ConcurrencyLimitConfig(limit=self.limit, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)

    def defaults(self, settings: Settings) -> Defaults:
        """What people may change of it, as it is made."""
        at = self.daily(settings) if self.daily else None
        daily = Daily(cron=f"{at.minute} {at.hour} * * *", timezone=settings.refresh_timezone) if at else None
        if self.hourly:
            daily = Daily(cron="5 * * * *", timezone="UTC")
        return Defaults(description=self.description, tags=frozenset(self.tags), limit=self.limit, daily=daily)


DEPLOYMENTS = (
    Deployment(
        import_data,
        "import-data",
        "Import CSV files of entities or interactions.",
        tags=("lucid", "data"),
        limit=4,  # of each up to two files are loaded at once, with 1 GB of memory at most for one
    ),
    Deployment(
        compact_events,
        "compact-events",
        "Turn events into batches.",
        tags=("lucid", "data"),
        limit=1,  # another one would wait for it
        hourly=True,
    ),
    Deployment(
        train_model,
        "train-model",
        "Train a model and let it answer.",
        tags=("lucid", "model"),
        limit=2,  # each holds a graph and its decompositions in memory, and uses all processors
    ),
    Deployment(
        auto_train,
        "auto-train",
        "Train a model after uploads, if that is due; started by an automation of the model.",
        tags=("lucid", "model"),
        limit=2,  # each only looks and is done at once
    ),
    Deployment(
        approve_version,
        "approve-version",
        "Wait for somebody to promote or reject a version that is held; started by the service.",
        tags=("lucid", "model"),
        limit=2,  # each only asks and is suspended at once
    ),
    Deployment(
        refresh_recommendations,
        "refresh-recommendations",
        "Precompute recommendations again.",
        tags=("lucid", "model"),
        limit=1,
        daily=lambda settings: settings.refresh_time_of_day,
    ),
    Deployment(
        erase_entity,
        "erase-entity",
        "Erase entities for good; started by the API.",
        tags=("lucid", "privacy"),
        limit=1,  # each goes through all batches and models, and waits for what works on them
    ),
    Deployment(
        maintain_home,
        "maintain-home",
        "Remove what nothing needs any more.",
        tags=("lucid", "operations"),
        limit=1,
        daily=lambda settings: settings.maintenance_time_of_day,
    ),
)
"""All deployments; prefect.yaml says the same for work pools, and a test holds it to this."""

RUNS_AT_ONCE = sum(deployment.limit for deployment in DEPLOYMENTS)
"""How many runs one process that serves the flows lets work at once where nobody has changed a limit: all of them.

A run takes a place before Prefect looks at its deployment's limit, and gives it back if it has to wait. So many places
are never all taken by one deployment.
"""

_FIRST = Settings.model_construct(refresh_time="03:00", refresh_timezone="UTC")
"""With these the release that remembered nothing made its deployments, and put all of them right at each start."""


@dataclass(frozen=True)
class Found:
    """A deployment as Prefect has it, None where it is absent, and what was made of it last."""

    ours: Deployment
    known: DeploymentResponse | None
    made: Defaults

    def due(self, defaults: Defaults) -> Defaults:
        """What it shall have: what people have made of it, and the defaults in all else."""
        return kept(self.known, self.made, defaults) if self.known else defaults


async def find(client: PrefectClient, ours: Deployment) -> Found:
    """Ask Prefect for one of our deployments."""
    try:
        known = await client.read_deployment_by_name(ours.full_name)
    except ObjectNotFound:
        known = None
    made = await read_made(client)
    return Found(ours, known, made.get(ours.name) or ours.defaults(_FIRST))


async def places(client: PrefectClient, settings: Settings) -> int:
    """How many runs one process lets work at once: a place for each that the limits allow, as people have set them."""
    found = [await find(client, ours) for ours in DEPLOYMENTS]
    return sum(one.due(one.ours.defaults(settings)).limit for one in found)


async def register(runner: Runner, client: PrefectClient, settings: Settings | None = None) -> None:
    """Register all deployments with the runner, which runs our flows whatever the server says of their code.

    What others have made of what they run is put right; raises Unavailable where that is not possible. Schedules,
    pauses, limits, tags and descriptions that people have changed stay.
    """
    settings = settings or load_settings()
    for ours in DEPLOYMENTS:
        defaults = ours.defaults(settings)
        found = await find(client, ours)
        due = found.due(defaults)
        if found.known:
            await _clear(client, found.known)
        deployment_id = await _add(runner, found, due)
        await follow(client, found, defaults)
        wrong = _differences(ours, due, await client.read_deployment(deployment_id))
        if wrong:
            raise Unavailable(f"Prefect does not keep the deployment {ours.name} as it is: {', '.join(wrong)}")


async def follow(client: PrefectClient, found: Found, defaults: Defaults) -> None:
    """Let the schedule that is ours follow the settings, and remember what is made now."""
    made = defaults
    if found.known:
        await follow_schedule(client, found.known, found.made, defaults)
        made = followed(found.known, found.made, defaults)
    by_name = await read_made(client)
    if by_name.get(found.ours.name) != made:
        await remember(client, {**by_name, found.ours.name: made})


async def _add(runner: Runner, found: Found, due: Defaults) -> UUID:
    """Register a deployment with the runner, and on the server what is due of it."""
    ours, known = found.ours, found.known
    deployment = await ours.flow.ato_deployment(
        ours.name,
        schedules=[] if known else first_schedules(due),
        concurrency_limit=replace(ours, limit=due.limit).concurrency,
        description=due.description,
        tags=sorted(due.tags),
        version=VERSION,
        entrypoint_type=EntrypointType.MODULE_PATH,  # whatever folder the service is started in
    )
    deployment.work_pool_name = deployment.work_queue_name = None  # said, so that it has none
    if known:  # Prefect leaves alone what it is not told
        as_found = {"description": known.description == due.description, "tags": {*known.tags} == due.tags}
        deployment.model_fields_set.difference_update(
            {"schedules", "paused"} | {name for name in as_found if as_found[name]}
        )
    deployment_id = await runner.aadd_deployment(deployment)
    # What `Runner.aadd_flow` does, too, which would tell Prefect of all fields.
    runner._deployment_registry.register_flow(deployment_id, ours.flow)
    return deployment_id


async def _clear(client: PrefectClient, known: DeploymentResponse) -> None:
    """Take from a deployment what none of ours has and what registering it leaves as it is."""
    if _added(known):
        empty = DeploymentUpdate(path=None, storage_document_id=None, infrastructure_document_id=None)
        await client.update_deployment(known.id, empty)
    limit = known.global_concurrency_limit
    if limit and not limit.active:
        await client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active=True))


def _added(known: DeploymentResponse) -> list[str]:
    """What a deployment has that none of ours has."""
    extra = {
        "path": known.path,
        "pull_steps": known.pull_steps,
        "job_variables": known.job_variables,
        "parameters": known.parameters,
        "work_pool_name": known.work_pool_name,
        "storage_document_id": known.storage_document_id,
        "infrastructure_document_id": known.infrastructure_document_id,
        "a limit that limits nothing": known.global_concurrency_limit and not known.global_concurrency_limit.active,
    }
    return [name for name, value in extra.items() if value]


def _differences(ours: Deployment, due: Defaults, known: DeploymentResponse) -> list[str]:
    """In which fields a deployment is not as it was registered."""
    limit, options = known.global_concurrency_limit, known.concurrency_options
    same = {
        "entrypoint": (known.entrypoint, f"{ours.flow.fn.__module__}.{ours.flow.fn.__name__}"),
        "enforce_parameter_schema": (known.enforce_parameter_schema, True),
        "version": (known.version, VERSION),
        "limit": (limit and limit.limit, due.limit),
        "collision_strategy": (options and options.collision_strategy, ours.concurrency.collision_strategy),
    }
    return _added(known) + [f"{name} is {found!r}" for name, (found, wanted) in same.items() if found != wanted]
