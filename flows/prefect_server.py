"""Our own Prefect server, closed to strangers: what `lucid up` starts first.

Prefect asks for the auth string and for CSRF tokens, as the environment tells it. But it takes any name for its own and
lets pages of any origin open a websocket; so the addresses of a request are looked at before it comes to Prefect.
"""

import gc
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from prefect.logging import configuration
from prefect.server.api.server import create_app
from prefect.server.database import provide_database_interface
from prefect.server.events import triggers
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lucid import logs
from lucid.service.origins import OwnAddresses, own_addresses
from lucid.settings import load_settings

_COLLECT_SECONDS = 1.0
_ALL_TIMES = 20
"""So often as young objects are looked at for garbage, all are looked at once."""


class OwnRequests:
    """Lets requests pass that come from our own addresses; all others are refused unread.

    The pages of the UI may load and call nothing but our own addresses either, and stand in no other page.
    """

    def __init__(self, app: ASGIApp, own: OwnAddresses) -> None:
        self._app = app
        self._own = own
        self._policy = (b"content-security-policy", _policy(own).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._own.foreign(scope["headers"]) if scope["type"] in ("http", "websocket") else None

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._policy]
            await send(message)

        if refusal is None:
            await self._app(scope, receive, sent)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "foreign address"})
        else:
            body = json.dumps({"detail": refusal}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def _policy(own: OwnAddresses) -> str:
    """What a browser may do for a page of the UI; without it, the UI calls a service that counts its users.

    Its graph of a run is laid out by a worker that it makes itself. No policy can name an IPv6 address.
    """
    pages = " ".join(sorted(page for page in own.pages if "[" not in page))
    return (
        f"default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; worker-src 'self' blob:; "
        f"style-src 'self' 'unsafe-inline'; connect-src 'self' {pages} {pages.replace('http', 'ws')}; "
        "frame-ancestors 'none'"
    )


def collect_apart() -> None:
    """Let a thread of its own collect this process's garbage from now on, so that the event loop never does.

    The garbage of a Prefect server on SQLite may hold a cursor. To free it waits for the cursor's connection, which may
    wait for a lock that only the event loop can have released: the server would stand still until SQLite gives up.
    """
    gc.disable()
    gc.freeze()  # what is there now stays
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    while True:
        for _ in range(_ALL_TIMES):
            time.sleep(_COLLECT_SECONDS)
            gc.collect(1)
        gc.collect()


def evaluate_in_turn() -> None:
    """Let Prefect's evaluation of triggers wait for its turn to write, instead of failing where another has written.

    On SQLite it reads first: where somebody else writes before it does, it fails at once, and after four tries the
    event is put aside. Then a run that has ended looks as if it had not, and is taken for dead.
    """
    triggers.automations_session = _session_that_writes  # type: ignore[assignment, attr-defined]


@asynccontextmanager
async def _session_that_writes(begin_transaction: bool = False) -> AsyncIterator[AsyncSession]:
    database = provide_database_interface()
    async with database.session_context(begin_transaction, with_for_update=begin_transaction) as session:
        yield session


def main() -> None:
    """Serve the Prefect API and its UI until stopped."""
    settings = load_settings()
    own = own_addresses(settings, settings.prefect_port, settings.prefect_ui)
    app = OwnRequests(create_app(final=True), own)
    logs.take_over(settings.log_format)  # Prefect has set up its own with the application
    configuration.setup_logging = lambda *_asked: {}  # and would again with each automation that acts
    collect_apart()
    evaluate_in_turn()
    uvicorn.run(app, host=settings.host, port=settings.prefect_port, log_config=None, log_level="warning")


if __name__ == "__main__":
    main()
