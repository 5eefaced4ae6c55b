"""The application: wires routes, keys, errors and the pieces they use. Loads neither torch nor Prefect."""

import gc
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from lucid import logs
from lucid.api.auth import check_routes
from lucid.api.background import background_work
from lucid.api.console import access
from lucid.api.console.guard import Screen
from lucid.api.console.screens import open_console
from lucid.api.fast_lookups import FastLookups
from lucid.api.metrics import Measured
from lucid.api.nosniff import NoSniffing
from lucid.api.openapi import EVERYWHERE, SERVERS, TAGS, complete_document, problems
from lucid.api.paths import BASE, Aliases
from lucid.api.problems import add_error_handlers
from lucid.api.routes import (
    data_batch,
    entities,
    events,
    experiments,
    health,
    models,
    placements,
    recommended_items,
    upload,
)
from lucid.api.services import build_services, register, services_of
from lucid.api.strangers import OwnRequests
from lucid.service.origins import own_addresses
from lucid.settings import Settings, load_settings
from lucid.store.files import OTHERS, close_home


def create_service() -> ASGIApp:
    """What uvicorn calls: the application as the environment sets it up, with look-ups answered before it."""
    os.umask(OTHERS)  # whatever whoever started us lets others read: this is customers' data
    close_home(load_settings().home)
    # DuckDB would load it with the first parameter of a query, if it could: 70 MB and a third of a second for nothing.
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # which makes every import of it fail
    settings = load_settings()
    logs.take_over(settings.log_format)  # uvicorn has set up its own by now
    app = create_app(settings)
    return OwnRequests(FastLookups(app, services_of(app)), own_addresses(settings, settings.api_port, settings.api))


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API on one `LUCID_HOME`; without settings, the environment decides."""
    services = build_services(settings or load_settings())

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with background_work(services):
            gc.freeze()  # what lives as long as the process is not looked at again while calls are answered
            yield

    # The documentation pages come from here too: a self-hosted service may have no way to the Internet.
    app: FastAPI = FastAPIOffline(
        title="Lucid",
        version="0.1.0",
        summary="Recommendations of any entity type for any entity type.",
        servers=SERVERS,
        openapi_tags=TAGS,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        # Paths are normalised below, so a slash too many is no detour for the client.
        redirect_slashes=False,
    )
    register(app, services)
    add_error_handlers(app)
    for routes in (recommended_items, upload, data_batch, events, entities, models, placements, experiments):
        app.include_router(routes.router, prefix=BASE, responses=problems(*EVERYWHERE))
    app.include_router(health.router)
    open_console(app)
    check_routes(app, (Screen,), access.OPEN)
    complete_document(app)
    services.metrics.know_routes(app)
    app.add_middleware(Measured, metrics=services.metrics)
    app.add_middleware(Aliases)
    app.add_middleware(NoSniffing)
    return app
