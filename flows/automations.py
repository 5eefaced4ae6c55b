"""What Prefect does by itself for our runs: it takes one for dead that shows no sign of life any more."""

from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from lucid.service.prefect_api import APPROVE_VERSION, OUR_DEPLOYMENTS

HEARTBEAT_SECONDS = 30
"""How often a run shows that it lives; Prefect has no shorter time."""
_SILENT = timedelta(seconds=100)
_ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_WATCHED = [name.partition("/")[0] for name in OUR_DEPLOYMENTS if name != APPROVE_VERSION]
"""Flows whose runs show signs of life until they end. One that waits for a person is suspended, and shows none."""

DEAD_RUNS = AutomationCore(
    name="lucid: runs that show no sign of life",
    description=f"A run of Lucid that was not heard of for {_SILENT.seconds} s has crashed, and gives its place back.",
    trigger=EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in _ENDS)},
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        # Not by their tags, which people may change.
        match_related=ResourceSpecification(
            {
                "prefect.resource.role": "flow",
                "prefect.resource.name": _WATCHED,
            }
        ),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=_SILENT,
    ),
    actions=[ChangeFlowRunState(state=StateType.CRASHED, message="the process of this run shows no sign of life")],
)


async def install(client: PrefectClient) -> None:
    """Make our automation where it is absent; one that people have changed or switched off stays as it is."""
    if not await client.read_automations_by_name(DEAD_RUNS.name):
        await client.create_automation(DEAD_RUNS)
