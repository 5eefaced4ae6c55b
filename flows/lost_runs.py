"""Runs that ended together with the process that served the flows, without a word to Prefect."""

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed, Scheduled

from lucid.flows.deployments import DEPLOYMENTS
from lucid.flows.erase_entity import erase_entity

_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_ERASURE = next(deployment.name for deployment in DEPLOYMENTS if deployment.flow is erase_entity)


async def end_lost_runs(client: PrefectClient) -> None:
    """Say of all runs that are under way that they are not, so that they hold no place of their deployment's limit.

    To be called by a process that serves the flows before it begins any run, on a server whose runs nobody else works
    on. What was never begun, and every erasure, which may be done again, waits for its turn once more.
    """
    for deployment in DEPLOYMENTS:
        for run in await _under_way(client, deployment.name):  # no more than its limit, so all of them
            await client.set_flow_run_state(run.id, _next_state(run, deployment.name))


async def _under_way(client: PrefectClient, deployment_name: str) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY))),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment_name])),
    )


def _next_state(run: FlowRun, deployment_name: str) -> State[None]:
    if run.state_type == StateType.CANCELLING:
        return Cancelled()
    if run.state_type == StateType.PENDING or deployment_name == _ERASURE:
        return Scheduled()
    return Crashed(message="the process of this run ended before it was done")
