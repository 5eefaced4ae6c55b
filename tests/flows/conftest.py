"""One Prefect server of its own for all tests of flows, and a home that the flows find in their environment."""

from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness

from lucid.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    """A server with an empty database, which flows and clients of this process talk to."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(autouse=True)
def flows_use_this_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows load their settings themselves, as they do in a process of their own."""
    monkeypatch.setenv("LUCID_HOME", str(settings.home))
