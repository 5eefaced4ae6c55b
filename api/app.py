"""The application: wires routes, keys, errors and the pieces they use. Loads neither torch nor Prefect."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import NO_SNIFFING, check_routes, describe_keys
from api.keyring import KeyRing
from api.lookups import Lookups
from api.metrics import Measured, Metrics
from api.openapi import EVERYWHERE, complete_document, problems
from api.paths import BASE, Aliases
from api.problems import add_error_handlers
from api.routes import data_batch, entities, health, models, recommended_items
from api.runs import Runs
from api.strangers import OwnRequests
from lucid.data import batches
from lucid.erasure import requests
from lucid.health import HealthWarnings
from lucid.service.origins import own_addresses
from lucid.serving.registry import ModelRegistry
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.files import OTHERS, close_home
from lucid.training import run
from lucid.versions.inspection import Inspection
from lucid.webhooks.sender import Sender

SWEEP_SECONDS = 10
KEEP_UP_SECONDS = 1
VERIFY_BYTES_PER_SECOND = 32_000_000
"""A few hundredths of a processor, and no more than a slow disk has to spare beside look-ups."""


def create_service() -> ASGIApp:
    """What uvicorn calls: the application as the environment sets it up, with look-ups answered before it."""
    os.umask(OTHERS)  # whatever whoever started us lets others read: this is customers' data
    close_home(load_settings().home)
    # DuckDB would load it with the first parameter of a query, if it could: 70 MB and a third of a second for nothing.
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # which makes every import of it fail
    settings = load_settings()
    return OwnRequests(Lookups(create_app(settings)), own_addresses(settings, settings.api_port))


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API on one `LUCID_HOME`; without settings, the environment decides."""
    settings = settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        keys: KeyRing = app.state.keys
        background = (
            asyncio.create_task(_sweep_again_and_again(settings, app.state.runs, app.state.warnings)),
            asyncio.create_task(keys.keep_up()),
            asyncio.create_task(_keep_up_again_and_again(app.state.shelf, app.state.warnings)),
            asyncio.create_task(_verify_again_and_again(app.state.shelf, app.state.warnings)),
        )
        gc.freeze()  # what lives as long as the process is not looked at again while calls are answered
        yield
        for task in background:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await keys.record_uses()
        await app.state.runs.close()

    # The documentation pages come from here too: a self-hosted service may have no way to the Internet.
    app: FastAPI = FastAPIOffline(
        title="Lucid",
        version="0.1.0",
        summary="Recommendations of any entity type for any entity type.",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        # Paths are normalised below, so a slash too many is no detour for the client.
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.catalog = Catalog(settings.home)
    app.state.warnings = HealthWarnings()
    app.state.keys = KeyRing(app.state.catalog, settings.rate_limit, app.state.warnings)
    app.state.shelf = ModelRegistry(settings.home, patient=False, warnings=app.state.warnings)
    app.state.runs = Runs(settings)
    app.state.readiness = health.Readiness(app.state.catalog, app.state.runs, app.state.warnings)
    app.state.metrics = Metrics()
    add_error_handlers(app)
    for routes in (recommended_items.router, data_batch.router, entities.router, models.router):
        app.include_router(routes, prefix=BASE, responses=problems(*EVERYWHERE))
    app.include_router(health.router)
    check_routes(app)
    complete_document(app)
    describe_keys(app)
    app.state.metrics.know_routes(app)
    app.add_middleware(Measured, metrics=app.state.metrics)
    app.add_middleware(Aliases)
    app.add_middleware(NoSniffing)
    return app


async def _keep_up_again_and_again(shelf: ModelRegistry, warnings: HealthWarnings) -> None:
    """Notice what others than this process have uploaded, within a second."""
    while True:
        with warnings.apart("uploads", "what was uploaded could not be read"):
            await asyncio.to_thread(shelf.refresh)
        await asyncio.sleep(KEEP_UP_SECONDS)


async def _verify_again_and_again(shelf: ModelRegistry, warnings: HealthWarnings) -> None:
    """Compare each version with its checksums once after it was opened, a piece at a time and without haste."""
    while True:
        with warnings.apart("checksums", "versions could not be compared with their checksums"):
            steps = shelf.verify()
            while read := await asyncio.to_thread(next, steps, 0):
                await asyncio.sleep(read / VERIFY_BYTES_PER_SECOND)
        await asyncio.sleep(KEEP_UP_SECONDS)


class NoSniffing:
    """Tells browsers to take every answer for what it says it is: ids and names in it may look like a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], NO_SNIFFING]
            await send(message)

        await self._app(scope, receive, sent)


async def _sweep_again_and_again(settings: Settings, runs: Runs, warnings: HealthWarnings) -> None:
    """End what died without saying so, and look what is wrong in the home, now and every few seconds."""
    loop = asyncio.get_running_loop()
    inspection, sender = Inspection(settings.home, warnings), Sender(settings, warnings)

    def is_lost(flow_run_id: str | None, entered: datetime) -> bool:
        return asyncio.run_coroutine_threadsafe(runs.is_lost(flow_run_id, entered), loop).result()

    sweeps: dict[str, Callable[[], None]] = {
        "trainings": lambda: run.sweep(settings, is_lost=is_lost, warnings=warnings),
        "callbacks": sender.send,
        "imports": lambda: batches.sweep(settings, Catalog(settings.home), is_lost=is_lost, warnings=warnings),
        "erasures": lambda: requests.sweep(settings, is_lost=is_lost, warnings=warnings),
        "models": inspection.look,
    }
    while True:
        for kind, sweep in sweeps.items():
            with warnings.apart(f"sweep of {kind}", f"could not look after {kind}"):
                await asyncio.to_thread(sweep)
        await asyncio.sleep(SWEEP_SECONDS)
