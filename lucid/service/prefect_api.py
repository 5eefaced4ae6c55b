"""Calls of the Prefect server that `lucid up` starts or that the settings name, over plain HTTP."""

import math
import ssl
import time
from collections.abc import Generator
from functools import cache
from typing import Any
from uuid import uuid4

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from lucid.errors import Unavailable
from lucid.settings import Settings

OUR_DEPLOYMENTS = (
    "import_data/import-data",
    "compact_events/compact-events",
    "train_model/train-model",
    "auto_train/auto-train",
    "approve_version/approve-version",
    "refresh_recommendations/refresh-recommendations",
    "erase_entity/erase-entity",
    "maintain_home/maintain-home",
)
"""Full names of our deployments: of the flow, and of the deployment."""
IMPORT_DATA, COMPACT_EVENTS, TRAIN_MODEL, AUTO_TRAIN, APPROVE_VERSION, REFRESH, ERASE_ENTITY, MAINTAIN_HOME = (
    OUR_DEPLOYMENTS
)

OUR_TAG = "lucid"
"""The tag of everything of ours, runs too."""

_TOKEN_SECONDS = 600
"""How long a CSRF token is used; Prefect's live for an hour."""
_PATIENCE_SECONDS = 15


def model_tag(model_id: str) -> str:
    """The tag of all runs that work on a model."""
    return f"model:{model_id}"


def batch_tag(batch_id: str) -> str:
    """The tag of the run that imports a batch."""
    return f"batch:{batch_id}"


class SignedIn(httpx.Auth):
    """Signs calls in, and tells a server with CSRF protection that no page of a stranger sends them."""

    requires_response_body = True

    def __init__(self, base_url: str, auth_string: str | None) -> None:
        """`auth_string` is `user:password`, None where the server asks for none."""
        user, _, password = (auth_string or "").partition(":")
        self._basic = httpx.BasicAuth(user, password) if user else None
        self._token_url = f"{base_url}/csrf-token"
        self._token: dict[str, str] = {}
        self._token_at = -math.inf

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yields the calls that one call takes: for a token, where it changes anything, and the call itself."""
        writes = request.method != "GET"
        if writes and time.monotonic() - self._token_at > _TOKEN_SECONDS:
            yield from self._ask_for_token()
        response = yield self._signed(request, writes)
        if writes and response.status_code == httpx.codes.FORBIDDEN:  # the server may have forgotten our token
            yield from self._ask_for_token()
            yield self._signed(request, writes)

    def _signed(self, request: httpx.Request, writes: bool) -> httpx.Request:
        if self._basic:
            request = next(self._basic.auth_flow(request))
        if writes:
            request.headers.update(self._token)
        return request

    def _ask_for_token(self) -> Generator[httpx.Request, httpx.Response, None]:
        client = uuid4().hex
        asked = httpx.Request("GET", self._token_url, params={"client": client})
        response = yield self._signed(asked, writes=False)
        self._token = {}  # for a server without such protection, and one that is busy: the call itself tells
        if response.is_success:
            self._token = {"Prefect-Csrf-Token": response.json()["token"], "Prefect-Csrf-Client": client}
            self._token_at = time.monotonic()
        elif response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            self._token_at = time.monotonic()


class PrefectApi:
    """Calls that a command or a thread waits for; one that meets a busy server is tried again for a while."""

    def __init__(self, settings: Settings, auth_string: str | None) -> None:
        auth = SignedIn(settings.prefect_api, auth_string)
        self._client = httpx.Client(
            base_url=settings.prefect_api, auth=auth, timeout=10, trust_env=False, verify=_tls()
        )

    def __enter__(self) -> "PrefectApi":
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """What the server answers, None for nothing; raises Unavailable where it does not, or refuses."""
        attempts = Retrying(
            retry=retry_if_exception(_is_busy),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(_PATIENCE_SECONDS),
            reraise=True,
        )
        try:
            response: httpx.Response = attempts(self._try, method, path, **arguments)
        except httpx.HTTPStatusError as error:
            raise Unavailable(f"the Prefect server refuses this ({error.response.text[:500]})") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"the Prefect server does not answer ({error}); start it with: lucid up") from error
        return response.json() if response.content else None

    def deployment_id(self, name: str) -> str:
        """The id of a deployment of ours, by its full name."""
        return str(self.call("GET", f"/deployments/name/{name}")["id"])

    def cancel(self, flow_run_id: str) -> None:
        """Let Prefect end a flow run, together with its process; one that has ended stays as it is."""
        self.call("POST", f"/flow_runs/{flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}})

    def _try(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._client.request(method, path, **arguments).raise_for_status()


@cache
def _tls() -> ssl.SSLContext:
    """What HTTPS is spoken with; made once, as that takes longer than a call."""
    return httpx.create_ssl_context(trust_env=False)


def _is_busy(error: BaseException) -> bool:
    """Whether another try may end better: on SQLite, Prefect answers 503 to what is written at the same time."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == httpx.codes.SERVICE_UNAVAILABLE
    return isinstance(error, httpx.TimeoutException)
