"""Flow runs as the API makes, cancels and watches them, over plain HTTP."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from lucid.api.jobs import FlowRun
from lucid.errors import Unavailable
from lucid.schema.fields import utc_now
from lucid.service import pulse
from lucid.service.prefect_api import OUR_TAG, SignedIn
from lucid.settings import Settings

AWAY_SECONDS, _BUSY_SECONDS = 15, 60
"""How long a call waits for a Prefect server that is not there, and for one that has too much to do."""
_PATIENCE, _FOREIGN_PATIENCE = timedelta(seconds=60), timedelta(minutes=30)  # a container may have to be fetched first
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class Runs:
    """Makes and cancels flow runs, and tells whether they are lost."""

    def __init__(self, settings: Settings) -> None:
        auth = SignedIn(settings.prefect_api, settings.prefect_auth_string)
        self._client = httpx.AsyncClient(base_url=settings.prefect_api, auth=auth, timeout=10, trust_env=False)
        self._ui = settings.prefect_ui
        self._own_server = settings.prefect_api_url is None
        self._home = settings.home
        # On SQLite, Prefect answers 503 to what is written at the same time; so calls are sent one after the other.
        self._turn = asyncio.Lock()

    async def place(self, deployment: str) -> str | None:
        """The id of a deployment that has a place for one more run; None where its limit is reached.

        Runs that are due count, whoever has asked for them. Raises httpx.HTTPError, see `is_away` and `is_refused`.
        """
        found = (await self._try("GET", f"/deployments/name/{deployment}")).json()
        limit = found["global_concurrency_limit"]
        if limit is None or not limit["active"]:
            return str(found["id"])
        counts = [
            await self._count(found["id"], type={"any_": ["PENDING", "RUNNING", "CANCELLING"]}),
            await self._count(found["id"], before=utc_now(), type={"any_": ["SCHEDULED"]}),
        ]
        return str(found["id"]) if sum(counts) < limit["limit"] else None

    async def _count(self, deployment_id: str, before: datetime | None = None, **state: Any) -> int:
        """How many runs of a deployment are in such a state, and were to begin before a time if one is given."""
        due = {"next_scheduled_start_time": {"before_": before.isoformat()}} if before else {}
        body = {"flow_runs": {"state": state, **due}, "deployments": {"id": {"any_": [deployment_id]}}}
        return int((await self._try("POST", "/flow_runs/count", json=body)).json())

    async def make(self, deployment_id: str, parameters: dict[str, Any], work: str, tags: Sequence[str]) -> FlowRun:
        """Make a flow run of a deployment, with these tags beside those of the deployment.

        Whoever starts the same `work`, a name that is never used again, gets the same run. Raises httpx.HTTPError, see
        `is_away` and `is_refused`.
        """
        state = {"type": "SCHEDULED"}
        body = {"parameters": parameters, "idempotency_key": work, "tags": [OUR_TAG, *tags], "state": state}
        run = (await self._try("POST", f"/deployments/{deployment_id}/create_flow_run", json=body)).json()
        return FlowRun(run["id"], f"{self._ui}/runs/flow-run/{run['id']}")

    async def cancel(self, flow_run_id: str) -> None:
        """Let Prefect end a flow run, together with its process, at once; one that has ended stays as it is.

        Raises Unavailable where Prefect does not answer.
        """
        await self._send("POST", f"/flow_runs/{flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}})

    async def is_lost(self, flow_run_id: str | None, entered: datetime) -> bool | Literal["cancelled"]:
        """Whether no process will begin the work of a flow run any more: it has ended, or there is no such run.

        "cancelled" where that is because somebody cancelled it.

        A run that a worker took but never began, because it died, is scheduled once more.
        """
        if flow_run_id is None:  # an earlier release has entered it, or it is written down in this moment
            return utc_now() - entered > _PATIENCE
        try:
            response = await self._client.get(f"/flow_runs/{flow_run_id}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return True
            run = response.raise_for_status().json()
            if run["state_type"] in ("PENDING", "RUNNING") and self._is_dead(run["state"]["timestamp"]):
                again = {"state": {"type": "SCHEDULED"}}  # by force, it would keep its place among the runs that work
                await self._try("POST", f"/flow_runs/{flow_run_id}/set_state", json=again)
        except httpx.HTTPError:
            return False
        return "cancelled" if run["state_type"] == "CANCELLED" else run["state_type"] in _ENDED

    def _is_dead(self, since: str) -> bool:
        """Whether a worker that took a run at this time should have begun it by now."""
        taken = datetime.fromisoformat(since)
        if not self._own_server:
            return utc_now() - taken > _FOREIGN_PATIENCE
        began = pulse.began(self._home)  # what an earlier process took ended with it
        return (began is not None and taken < began) or utc_now() - taken > _PATIENCE

    async def answer(self, patience_seconds: float) -> bool:
        """Whether the Prefect server answers."""
        try:
            response = await self._client.get("/health", timeout=patience_seconds)
        except httpx.HTTPError:
            return False
        return response.is_success

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(httpx.HTTPError),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=_is_over,
            reraise=True,
        )
        try:
            response: httpx.Response = await attempts(self._ask, method, path, **arguments)
        except httpx.HTTPError as error:
            raise Unavailable(f"the Prefect server cannot start the flow now ({error}); try again") from error
        found: dict[str, Any] = response.json()
        return found

    async def _try(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async with self._turn:
            return await self._ask(method, path, **arguments)

    async def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return (await self._client.request(method, path, **arguments)).raise_for_status()


def _is_over(state: RetryCallState) -> bool:
    """Whether a call has been tried for as long as what came of its last try deserves."""
    error = state.outcome.exception() if state.outcome else None
    return (state.seconds_since_start or 0) >= _patience_seconds(error)


def _patience_seconds(error: BaseException | None) -> float:
    """How long a call is tried that ends so; zero where another try cannot help."""
    if not isinstance(error, httpx.HTTPError) or is_refused(error):
        return 0
    return AWAY_SECONDS if is_away(error) else _BUSY_SECONDS


def is_away(error: httpx.HTTPError) -> bool:
    """Whether a call ended so because the Prefect server is not there, or does not know the deployment yet."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.NOT_FOUND
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ReadTimeout)


def is_refused(error: httpx.HTTPError) -> bool:
    """Whether a call that ended so would end so again."""
    again = httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.NOT_FOUND
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in again
