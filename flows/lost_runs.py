"""Runs that ended together with the process that served the flows, without a word to Prefect, and those it missed."""

from asyncio import to_thread
from itertools import groupby

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed, Scheduled

from lucid.flows.approve_version import approve_version
from lucid.flows.artifacts import end_progress_of
from lucid.flows.auto_train import auto_train
from lucid.flows.compact_events import compact_events
from lucid.flows.deployments import DEPLOYMENTS
from lucid.flows.erase_entity import erase_entity
from lucid.flows.maintain_home import maintain_home
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.schema.fields import utc_now

_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_AGAIN = (approve_version, auto_train, compact_events, erase_entity, maintain_home, refresh_recommendations)
_REPEATED = {one.name for one in DEPLOYMENTS if one.flow in _AGAIN}
"""Deployments whose runs may be done again from the beginning, whatever they have done."""
_PAGE = 200


async def end_lost_runs(client: PrefectClient) -> None:
    """Say of all runs that are under way that they are not, so that they hold no place of their deployment's limit.

    To be called by a process that serves the flows before it begins any run, on a server whose runs nobody else works
    on. What was never begun, and what may be done again, as every erasure and refresh, waits for its turn once more.
    """
    for deployment in DEPLOYMENTS:
        for run in await _under_way(client, deployment.name):  # no more than its limit, so all of them
            state = _next_state(run, deployment.name)
            await client.set_flow_run_state(run.id, state)
            if state.is_final():
                await to_thread(end_progress_of, run.id, state)


async def skip_missed_runs(client: PrefectClient) -> None:
    """Let each schedule that came due while nobody served the flows start one run, the latest, and no more.

    To be called before any run begins. The others are cancelled, and say why.
    """
    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=utc_now()),
        tags=FlowRunFilterTags(all_=["auto-scheduled"]),
    )
    for deployment in DEPLOYMENTS:
        missed = await _all(client, due, deployment.name)
        by_schedule = sorted(missed, key=lambda run: (_schedule_of(run), run.expected_start_time or utc_now()))
        for _, runs in groupby(by_schedule, _schedule_of):
            for run in list(runs)[:-1]:
                why = "missed while the service was down; a later run of its schedule does the work"
                await client.set_flow_run_state(run.id, Cancelled(message=why))


async def _all(client: PrefectClient, which: FlowRunFilter, deployment_name: str) -> list[FlowRun]:
    """All such runs of a deployment, however many pages they are."""
    named = DeploymentFilter(name=DeploymentFilterName(any_=[deployment_name]))
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(
            flow_run_filter=which,
            deployment_filter=named,
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=_PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < _PAGE:
            return found


def _schedule_of(run: FlowRun) -> str:
    """Which schedule has made a run."""
    return str(run.created_by.id if run.created_by else run.parameters)


async def _under_way(client: PrefectClient, deployment_name: str) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY))),
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment_name])),
    )


def _next_state(run: FlowRun, deployment_name: str) -> State[None]:
    if run.state_type == StateType.CANCELLING:
        return Cancelled()
    if run.state_type == StateType.PENDING or deployment_name in _REPEATED:
        return Scheduled()
    return Crashed(message="the process of this run ended before it was done")
