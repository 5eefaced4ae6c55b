"""An API call becomes a flow run: the only place that talks to the Prefect server, over plain HTTP."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import httpx
from fastapi.concurrency import run_in_threadpool
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from lucid.errors import Unavailable
from lucid.schema.fields import utc_now
from lucid.service import pulse
from lucid.settings import Settings

IMPORT_DATA, TRAIN_MODEL, ERASE_ENTITY = (
    "import_data/import-data",
    "train_model/train-model",
    "erase_entity/erase-entity",
)
_AWAY_SECONDS, _BUSY_SECONDS = 15, 60
"""How long a call waits for a Prefect server that is not there, and for one that has too much to do."""
_PATIENCE, _FOREIGN_PATIENCE = timedelta(seconds=60), timedelta(minutes=30)  # a container may have to be fetched first
_TOKEN_SECONDS = 600
"""How long a CSRF token is used; Prefect's live for an hour."""
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class FlowRun(NamedTuple):
    """A flow run as Prefect knows it, and where people see it."""

    flow_run_id: str
    url: str


@dataclass(frozen=True)
class Job:
    """Work that is entered already and waits for a flow run.

    `note` writes down which run does the work; `withdraw` forgets the work, and is told why. Both are called in a
    thread. Whoever starts the same `work`, a name that is never used again, gets the same run.
    """

    deployment: str
    parameters: dict[str, Any]
    note: Callable[[FlowRun], object]
    withdraw: Callable[[BaseException], object]
    work: str | None = None
    all_or_nothing: bool = False
    """Whether it is withdrawn whatever goes wrong, also where the client goes away, or the run is made but not noted.

    Any other is withdrawn only where Prefect is unavailable: without its note, a run that was made does the work.
    """


class Runs:
    """Creates flow runs and tells whether they are lost."""

    def __init__(self, settings: Settings) -> None:
        user, _, password = (settings.prefect_auth_string or "").partition(":")
        auth = httpx.BasicAuth(user, password) if user else None
        self._client = httpx.AsyncClient(base_url=settings.prefect_api, auth=auth, timeout=10, trust_env=False)
        self._ui = settings.prefect_ui
        self._own_server = settings.prefect_api_url is None
        self._home = settings.home
        # On SQLite, Prefect answers 503 to what is written at the same time; so calls are sent one after the other.
        self._turn = asyncio.Lock()
        self._token: dict[str, str] = {}
        self._token_at = -math.inf

    async def start(self, job: Job) -> FlowRun:
        """Create the flow run of a job and note it; where that goes wrong, the job is withdrawn.

        Raises Unavailable where Prefect does not answer or does not know the deployment, and what `note` raises.
        """
        made = None
        try:
            made = await self.create(job.deployment, job.parameters, job.work)
            await run_in_threadpool(job.note, made)
        except BaseException as error:
            if job.all_or_nothing or (made is None and isinstance(error, Unavailable)):
                await run_in_threadpool(job.withdraw, error)
            raise
        return made

    async def create(self, deployment: str, parameters: dict[str, Any], work: str | None = None) -> FlowRun:
        """Start a deployment; returns its flow run.

        Whoever starts the same `work`, a name that is never used again, gets the same run. Raises Unavailable where
        Prefect does not answer or does not know the deployment.
        """
        # The key makes a repeated call return the run that an unanswered one has made.
        body = {"parameters": parameters, "idempotency_key": work or uuid4().hex, "state": {"type": "SCHEDULED"}}
        found = await self._send("GET", f"/deployments/name/{deployment}")
        run = await self._send("POST", f"/deployments/{found['id']}/create_flow_run", json=body)
        return FlowRun(run["id"], f"{self._ui}/runs/flow-run/{run['id']}")

    async def cancel(self, flow_run_id: str) -> None:
        """Let Prefect end a flow run, together with its process; one that has ended stays as it is.

        Raises Unavailable where Prefect does not answer.
        """
        await self._send("POST", f"/flow_runs/{flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}})

    async def is_lost(self, flow_run_id: str | None, entered: datetime) -> bool | Literal["cancelled"]:
        """Whether no process will begin the work of a flow run any more: it has ended, or there is no such run.

        "cancelled" where that is because somebody cancelled it.

        A run that a worker took but never began, because it died, is scheduled once more.
        """
        if flow_run_id is None:  # it gets one moments after it was entered
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
            response: httpx.Response = await attempts(self._try, method, path, **arguments)
        except httpx.HTTPError as error:
            raise Unavailable(f"the Prefect server cannot start the flow now ({error}); try again") from error
        found: dict[str, Any] = response.json()
        return found

    async def _try(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async with self._turn:
            headers = await self._csrf() if method != "GET" else {}
            response = await self._client.request(method, path, headers=headers, **arguments)
            if response.status_code == httpx.codes.FORBIDDEN:  # the server may have forgotten our token
                self._token_at = -math.inf
                response = await self._client.request(method, path, headers=await self._csrf(), **arguments)
            return response.raise_for_status()

    async def _csrf(self) -> dict[str, str]:
        """The headers by which a Prefect server with CSRF protection knows that a page does not send the call."""
        if time.monotonic() - self._token_at > _TOKEN_SECONDS:
            client = uuid4().hex
            response = await self._client.get("/csrf-token", params={"client": client})
            if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:  # it has no such protection
                self._token = {}
            else:
                token: str = response.raise_for_status().json()["token"]
                self._token = {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}
            self._token_at = time.monotonic()
        return self._token


def _is_over(state: RetryCallState) -> bool:
    """Whether a call has been tried for as long as what came of its last try deserves."""
    error = state.outcome.exception() if state.outcome else None
    return (state.seconds_since_start or 0) >= _patience_seconds(error)


def _patience_seconds(error: BaseException | None) -> float:
    """How long a call is tried that ends so; zero where another try cannot help."""
    if isinstance(error, httpx.HTTPStatusError):
        # A deployment that is not there may still be registered.
        codes: dict[int, float] = {httpx.codes.SERVICE_UNAVAILABLE: _BUSY_SECONDS, httpx.codes.NOT_FOUND: _AWAY_SECONDS}
        return codes.get(error.response.status_code, 0)
    if isinstance(error, httpx.ReadTimeout):
        return _BUSY_SECONDS
    return _AWAY_SECONDS if isinstance(error, httpx.TransportError) else 0
