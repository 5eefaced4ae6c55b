"""The services of an application: built once, typed, and read from `app.state` in one place only."""

import ast
import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

import lucid.api.services
from lucid.api.app import create_app
from lucid.api.services import Services, ServicesDep, build_services, register, services_of
from lucid.settings import Settings

PACKAGE = Path(lucid.api.services.__file__).parent


def reads_of_state(path: Path) -> list[int]:
    """The lines of a module that use an attribute `state` of anything."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node.lineno for node in nodes if isinstance(node, ast.Attribute) and node.attr == "state"]


def test_only_one_module_knows_where_services_are_kept() -> None:
    """No other module of the API reads `app.state`, so that nothing in it is found by a loose name."""
    reading = {path.name for path in PACKAGE.rglob("*.py") if reads_of_state(path)}

    assert {"services.py"} == reading


def test_an_application_has_its_own_services(settings: Settings, tmp_path: Path) -> None:
    """They are on the home that it was made for, and cannot be exchanged one by one."""
    services = services_of(create_app(settings))

    assert settings is services.settings
    assert services is not services_of(create_app(settings))
    with pytest.raises(AttributeError):
        services.settings = Settings(home=tmp_path / "other")  # type: ignore[misc]


def test_a_route_gets_the_services_of_its_application(settings: Settings) -> None:
    """By the type of a parameter, which no client can send and no document shows."""
    app, services = FastAPI(), build_services(settings)
    register(app, services)
    given: list[Services] = []

    @app.get("/")
    def route(services: ServicesDep) -> None:
        given.append(services)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return (await client.get("/?services=x")).status_code

    assert 200 == asyncio.run(ask())
    assert [services] == given
    assert "parameters" not in app.openapi()["paths"]["/"]["get"]
