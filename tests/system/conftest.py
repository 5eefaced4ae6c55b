"""A service for each module, which stays up for all its tests, with the key that its first start made."""

from collections.abc import Generator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service import Service


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a test that failed what the runs of its service do, which it may have waited for."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.when == "call" and report.failed and isinstance(service, Service):
        report.sections.append(("what runs do", service.what_runs_do()))
    return report


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("service") / "home", prefect_database)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def key(service: Service) -> str:
    return service.first_key()


@pytest.fixture(scope="module")
def client(service: Service, key: str) -> Iterator[httpx.Client]:
    """A client that may do everything."""
    with service.client(key) as client:
        yield client
