"""What needs no key is for our own addresses only: a stranger's page could read it under a name that leads here."""

from starlette.types import ASGIApp, Receive, Scope, Send

from lucid.api.problems import FOREIGN_ADDRESS, problem
from lucid.service.origins import OwnAddresses

PROBES = {"/health", "/health/live", "/health/ready"}
"""Asked by whoever balances or watches, by any name or address; they tell nothing of the data."""


class OwnRequests:
    """Refuses requests without a key that name another host, or come from another's page; lets all others pass.

    A request with a key in its header is no stranger's, or its key will be refused.
    """

    def __init__(self, app: ASGIApp, own: OwnAddresses) -> None:
        self._app = app
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["path"] not in PROBES and not _has_key(scope):
            refusal = self._own.foreign(scope["headers"])
            app = problem(421, FOREIGN_ADDRESS, refusal) if refusal else app
        await app(scope, receive, send)


def _has_key(scope: Scope) -> bool:
    return any(name == b"apikey" for name, _ in scope["headers"])
