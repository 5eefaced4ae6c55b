"""The deployments of the service: the one table of them, and that Prefect runs nothing else under their names."""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from flows.erase_entity import erase_entity
from flows.import_data import import_data
from flows.refresh_recommendations import refresh_recommendations
from flows.train_model import train_model
from lucid.errors import Unavailable

VERSION = version("lucid")
"""Every deployment carries the version of the Lucid that registered it."""
TIMEZONE = "UTC"


@dataclass(frozen=True)
class Deployment:
    """A flow and the deployment by which it is started.

    At most `limit` of its runs work at once; further ones wait in Prefect, without a process or a place of other
    deployments, until one of them has ended. `cron` is in UTC; None means that nobody but people and the API start it.
    """

    flow: Flow[..., Any]
    name: str
    description: str
    tags: tuple[str, ...]
    limit: int
    cron: str | None = None

    @property
    def full_name(self) -> str:
        return f"{self.flow.name}/{self.name}"

    @property
    def concurrency(self) -> ConcurrencyLimitConfig:
        return ConcurrencyLimitConfig(limit=self.limit, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


DEPLOYMENTS = (
    Deployment(
        import_data,
        "import-data",
        "Import CSV files of entities or interactions.",
        tags=("lucid", "data"),
        limit=4,  # of each up to two files are loaded at once, with 1 GB of memory at most for one
    ),
    Deployment(
        train_model,
        "train-model",
        "Train a model and let it answer.",
        tags=("lucid", "model"),
        limit=2,  # each holds a graph and its decompositions in memory, and uses all processors
    ),
    Deployment(
        refresh_recommendations,
        "refresh-recommendations",
        "Precompute recommendations again.",
        tags=("lucid", "model"),
        limit=1,
        cron="0 3 * * *",
    ),
    Deployment(
        erase_entity,
        "erase-entity",
        "Erase entities for good; started by the API.",
        tags=("lucid", "privacy"),
        limit=1,  # each goes through all batches and models, and waits for what works on them
    ),
)
"""All deployments; prefect.yaml says the same for work pools, and a test holds it to this."""

RUNS_AT_ONCE = sum(deployment.limit for deployment in DEPLOYMENTS)
"""How many runs one process that serves the flows lets work at once: a place for each that the limits allow.

A run takes a place before Prefect looks at its deployment's limit, and gives it back if it has to wait. So many places
are never all taken by one deployment.
"""


async def register(runner: Runner, client: PrefectClient) -> None:
    """Register all deployments with the runner, which runs our flows whatever the server says of their code.

    What others have made of a deployment is put right; raises Unavailable where that is not possible.
    """
    for ours in DEPLOYMENTS:
        known = await _find(client, ours)
        if known and _added(known):  # registering it again would leave that as it is
            await client.delete_deployment(known.id)
        deployment_id = await runner.aadd_flow(
            ours.flow,
            ours.name,
            schedules=[CronSchedule(cron=ours.cron, timezone=TIMEZONE)] if ours.cron else [],
            concurrency_limit=ours.concurrency,
            description=ours.description,
            tags=list(ours.tags),
            version=VERSION,
            entrypoint_type=EntrypointType.MODULE_PATH,  # whatever folder the service is started in
        )
        wrong = _differences(ours, await client.read_deployment(deployment_id))
        if wrong:
            raise Unavailable(f"Prefect does not keep the deployment {ours.name} as it is: {', '.join(wrong)}")


async def _find(client: PrefectClient, ours: Deployment) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(ours.full_name)
    except ObjectNotFound:
        return None


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


def _differences(ours: Deployment, known: DeploymentResponse) -> list[str]:
    """In which fields a deployment is not as it was registered."""
    limit, options = known.global_concurrency_limit, known.concurrency_options
    same = {
        "entrypoint": (known.entrypoint, f"{ours.flow.fn.__module__}.{ours.flow.fn.__name__}"),
        "paused": (known.paused, False),
        "enforce_parameter_schema": (known.enforce_parameter_schema, True),
        "description": (known.description, ours.description),
        "tags": (sorted(known.tags), sorted(ours.tags)),
        "version": (known.version, VERSION),
        "schedules": (_schedules(known), [(ours.cron, TIMEZONE, True, {})] if ours.cron else []),
        "limit": (limit and limit.limit, ours.limit),
        "collision_strategy": (options and options.collision_strategy, ours.concurrency.collision_strategy),
    }
    return _added(known) + [f"{name} is {found!r}" for name, (found, wanted) in same.items() if found != wanted]


def _schedules(known: DeploymentResponse) -> list[tuple[str, str | None, bool, dict[str, Any]]]:
    """When a deployment starts by itself: cron expression, time zone, whether it does so now, and with what."""
    return [
        (
            getattr(one.schedule, "cron", repr(one.schedule)),
            getattr(one.schedule, "timezone", None),
            one.active,
            one.parameters,
        )
        for one in known.schedules
    ]
