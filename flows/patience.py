"""What Prefect gives up where its server is away for a while, and Lucid does not.

A service starts its Prefect server again within seconds, or a minute under a rush; nothing may be lost by that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
from prefect._internal import observers
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

_log = logging.getLogger(__name__)


def be_patient() -> None:
    """Let every client of this process wait for the server, and look for cancelled runs as long as it lives.

    Prefect tries again where nobody listens only if the same client was answered before, and a run makes many: one
    that begins in that moment would fail. And its runner looks no more for runs that people cancel, until it is started
    anew, once it could not look three times.
    """
    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        client._has_connected = _Always()  # type: ignore[assignment]
    observers.critical_service_loop = again_and_again  # type: ignore[assignment, attr-defined]


class _Always:
    """An attribute that is true, whatever is assigned to it."""

    def __get__(self, _client: object, _kind: type | None = None) -> bool:
        return True

    def __set__(self, _client: object, _value: bool) -> None:
        pass


async def again_and_again(workload: Callable[[], Awaitable[object]], interval: float, **_forgiving: object) -> None:
    """Do a piece of work every so many seconds until cancelled; that the server does not answer ends nothing."""
    answered = True
    with suppress(asyncio.CancelledError):  # Prefect asks its task for an error, and trips over one that was cancelled
        while True:
            try:
                await workload()
                answered = True
            except httpx.HTTPError as error:
                if answered:  # told once, not each time
                    _log.warning("the Prefect server does not answer (%s); it is asked again and again", error)
                answered = False
            await asyncio.sleep(interval)
