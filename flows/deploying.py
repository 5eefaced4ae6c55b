"""What `prefect deploy` does before it writes a deployment of prefect.yaml: see that what people changed stays.

`prefect deploy` gives a deployment the schedules that the file names, and lets it go on where it was paused. So the
file names no schedule: a deployment that is absent is made here with its own, and what people changed of another is
put back.
"""

import asyncio
import atexit
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate

from lucid.flows.automations import install
from lucid.flows.defaults import Defaults, first_schedules
from lucid.flows.deployments import DEPLOYMENTS, Deployment, Found, find, follow
from lucid.settings import Settings, load_settings


def keep_changes(name: str) -> None:
    """Make the deployment of that name with its default schedule where it is absent; else keep what people changed.

    Makes our automations too, where they are absent.
    """
    ours = next(one for one in DEPLOYMENTS if one.name == name)
    asyncio.run(_prepare(ours, load_settings()))


async def _prepare(ours: Deployment, settings: Settings) -> None:
    defaults = ours.defaults(settings)
    async with get_client() as client:
        found = await find(client, ours)
        if found.known:
            changed = _changed(found, defaults)
            if changed.model_fields_set:
                # Prefect has no step for the time after it has written the deployment.
                atexit.register(_put_back, found.known.id, changed)
        else:
            await _make(client, ours, defaults)
        await follow(client, found, defaults)
        await install(client)


async def _make(client: PrefectClient, ours: Deployment, defaults: Defaults) -> None:
    flow_id = await client.create_flow_from_name(ours.flow.name)
    await client.create_deployment(flow_id, ours.name, schedules=first_schedules(defaults), paused=False)


def _changed(found: Found, defaults: Defaults) -> DeploymentUpdate:
    """What people have made of a deployment, schedules apart, of which Prefect is not told."""
    known, due = found.known, found.due(defaults)
    assert known
    changed = {
        "paused": (known.paused, False),
        "description": (due.description, defaults.description),
        "tags": (sorted(due.tags), sorted(defaults.tags)),
        "concurrency_limit": (due.limit, defaults.limit),
    }
    return DeploymentUpdate.model_validate({name: is_now for name, (is_now, was) in changed.items() if is_now != was})


def _put_back(deployment_id: UUID, changed: DeploymentUpdate) -> None:
    """Give a deployment back what people had made of it."""
    with get_client(sync_client=True) as client:  # a process that ends starts no threads for the other
        client.update_deployment(deployment_id, changed)
