"""The deployments of the service: what is registered, and that Prefect runs nothing else under their names."""

from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from flows.erase_entity import erase_entity
from flows.import_data import import_data
from flows.refresh_recommendations import refresh_recommendations
from flows.train_model import train_model
from lucid.errors import Unavailable

REFRESH_CRON = "0 3 * * *"
"""When recommendations are refreshed, in UTC; the same stands in prefect.yaml."""


@dataclass(frozen=True)
class Served:
    """A flow and the deployment by which it is started."""

    flow: Flow[..., Any]
    name: str
    description: str
    cron: str | None = None


SERVED = (
    Served(import_data, "import-data", "Import CSV files of entities or interactions."),
    Served(train_model, "train-model", "Train a model and let it answer."),
    Served(refresh_recommendations, "refresh-recommendations", "Precompute recommendations again.", cron=REFRESH_CRON),
    Served(erase_entity, "erase-entity", "Erase entities for good; started by the API."),
)


async def register(runner: Runner, client: PrefectClient) -> None:
    """Register all deployments with the runner, which runs our flows whatever the server says of their code.

    What others have made of a deployment is put right; raises Unavailable where that is not possible.
    """
    for served in SERVED:
        known = await _find(client, served)
        if known and _added(known):  # registering it again would leave that as it is
            await client.delete_deployment(known.id)
        deployment_id = await runner.aadd_flow(
            served.flow,
            served.name,
            cron=served.cron,
            description=served.description,
            entrypoint_type=EntrypointType.MODULE_PATH,  # whatever folder the service is started in
        )
        wrong = _differences(served, await client.read_deployment(deployment_id))
        if wrong:
            raise Unavailable(f"Prefect does not keep the deployment {served.name} as it is: {', '.join(wrong)}")


async def _find(client: PrefectClient, served: Served) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(f"{served.flow.name}/{served.name}")
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
    }
    return [name for name, value in extra.items() if value]


def _differences(served: Served, known: DeploymentResponse) -> list[str]:
    """In which fields a deployment is not as it was registered."""
    same = {
        "entrypoint": (known.entrypoint, f"{served.flow.fn.__module__}.{served.flow.fn.__name__}"),
        "paused": (known.paused, False),
        "enforce_parameter_schema": (known.enforce_parameter_schema, True),
        "description": (known.description, served.description),
    }
    return _added(known) + [f"{name} is {found!r}" for name, (found, ours) in same.items() if found != ours]
