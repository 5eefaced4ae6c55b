"""A Prefect server that is away for a while."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

from lucid.flows.patience import again_and_again, be_patient
from tests.support.service import free_port


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def server_from_now_on(port: int) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", port), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this test only."""
    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        monkeypatch.setattr(client, "_has_connected", None, raising=False)
    monkeypatch.setattr("prefect._internal.observers.critical_service_loop", None)
    be_patient()


def test_a_client_waits_for_a_server_that_never_answered_it() -> None:
    """Also for the first answer of all."""
    port = free_port()
    answers: list[int] = []

    def ask() -> None:
        with PrefectHttpxSyncClient(base_url=f"http://127.0.0.1:{port}", enable_csrf_support=False) as client:
            answers.append(client.get("/health").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(1)
    assert asking.is_alive()

    with server_from_now_on(port):
        asking.join(60)

    assert [204] == answers


def test_what_is_looked_for_again_and_again_outlives_every_outage(caplog: pytest.LogCaptureFixture) -> None:
    """The outage is told once; that it is cancelled in the end is no error of it."""
    looks: list[int] = []

    async def look() -> None:
        looks.append(len(looks))
        if 3 <= len(looks) < 20:
            raise httpx.ConnectError("nobody is there")

    async def for_a_while() -> None:
        looking = asyncio.create_task(again_and_again(look, 0.001, jitter_range=0.3))
        while len(looks) < 30:
            await asyncio.sleep(0.01)
        looking.cancel()
        await asyncio.wait([looking])
        assert looking.exception() is None

    asyncio.run(asyncio.wait_for(for_a_while(), 60))

    assert 1 == caplog.text.count("nobody is there")
