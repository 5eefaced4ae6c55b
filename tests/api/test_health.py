"""Health warnings: how many there are is open, what they are is for the administrator."""

import asyncio
import logging

import httpx
import pytest

from lucid.api.app import create_app
from lucid.api.services import services_of
from lucid.health import HealthWarnings
from lucid.keys import create_key
from lucid.settings import Settings
from lucid.store.catalog import Catalog


def test_sentences_are_told_to_administrators_only(settings: Settings) -> None:
    """Anyone else learns the number of them; they name models and files."""
    catalog = Catalog(settings.home)
    administrator, reader = (create_key(catalog, scopes=[scope])[1] for scope in ("admin", "data:read"))
    app = create_app(settings)
    services = services_of(app)
    services.warnings.warn("live", "model 'x' has no readable version")

    async def warnings(*keys: str | None) -> list[tuple[int, list[str]]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            headers = [{"apikey": key} if key else {} for key in keys]
            found = [(await client.get("/health/ready", headers=header)).json() for header in headers]
            return [(body["warning_count"], body["warnings"]) for body in found]

    async def use() -> None:
        hidden: tuple[int, list[str]] = (1, [])
        told = await warnings(administrator, reader, "wrong", None)
        assert [(1, ["model 'x' has no readable version"]), hidden, hidden, hidden] == told

        services.warnings.settle("live")

        assert [(0, [])] == await warnings(administrator)
        await services.runs.close()

    asyncio.run(use())


def test_a_warning_is_logged_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    """Said again it is no news; another sentence about the same thing is, and so is its return."""
    warnings = HealthWarnings()

    with caplog.at_level(logging.WARNING):
        for sentence in ("a", "a", "b"):
            warnings.warn("x", sentence)
        warnings.settle("x")
        warnings.warn("x", "b")

    assert ["a", "b", "b"] == caplog.messages
    assert ["b"] == warnings.current()
