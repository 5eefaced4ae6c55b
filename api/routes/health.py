"""Whether the API lives and is ready, and its figures; needs no key."""

import asyncio
import os
import shutil
import time
from contextlib import suppress
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from api.problems import Problem, problem
from api.runs import Runs
from lucid.errors import LucidError
from lucid.health import HealthWarnings
from lucid.store.catalog import Catalog

router = APIRouter(tags=["health"])

PATIENCE_SECONDS = 2
_FRESH_SECONDS = 1
LOW_BYTES = 100_000_000
"""With less room than this on its disk, an operator should look after the home."""

Part = Literal["ok", "unavailable"]


class Ready(BaseModel):
    """What answers; without Prefect, look-ups go on and only imports, trainings and erasures cannot start."""

    status: Literal["ready"] = "ready"
    home: Part
    catalog: Part
    prefect: Part
    warning_count: int = Field(description="How many things an operator should look at; answers go on meanwhile.")
    warnings: list[str] = Field([], description="What they are; for a key with the scope admin only.")


class Readiness:
    """Looks whether the parts that calls need are there; takes about two seconds at most."""

    def __init__(self, catalog: Catalog, runs: Runs, warnings: HealthWarnings) -> None:
        self._catalog = catalog
        self._runs = runs
        self._warnings = warnings
        self._reading: asyncio.Task[object] | None = None
        self._began = 0.0

    async def look(self) -> Ready:
        looks = self._reads_catalog(), self._runs.answer(PATIENCE_SECONDS)
        # Whatever goes wrong with a part, it is not there.
        catalog, prefect = (found is True for found in await asyncio.gather(*looks, return_exceptions=True))
        home = os.access(self._catalog.path.parent, os.W_OK)
        self._look_at_the_disk()
        warnings = self._warnings.current()
        return Ready(
            home=_part(home),
            catalog=_part(catalog),
            prefect=_part(prefect),
            warning_count=len(warnings),
            warnings=warnings,
        )

    def _look_at_the_disk(self) -> None:
        with suppress(OSError):  # the home is gone, which is told already
            if shutil.disk_usage(self._catalog.path.parent).free < LOW_BYTES:
                left = f"less than {LOW_BYTES // 1_000_000} MB left"
                self._warnings.warn("disk", f"the disk of LUCID_HOME has {left}; uploads and trainings need room")
            else:
                self._warnings.settle("disk")

    async def _reads_catalog(self) -> bool:
        """Whether the catalog can be read; many who ask at once share one look, as readers keep writers out."""
        reading = self._reading
        if reading is None or (reading.done() and time.monotonic() - self._began > _FRESH_SECONDS):
            self._began = time.monotonic()
            reading = self._reading = asyncio.create_task(asyncio.to_thread(self._catalog.keys))
        done, _ = await asyncio.wait({reading}, timeout=PATIENCE_SECONDS)
        return bool(done) and reading.exception() is None


@router.get("/health", include_in_schema=False)
@router.get("/health/live")
async def live() -> dict[str, str]:
    """Answers while the API runs."""
    return {"status": "ok"}


@router.get(
    "/health/ready",
    response_model=Ready,
    responses={
        503: {
            "model": Problem,
            "content": {"application/problem+json": {}},
            "description": "The home cannot be written, or the catalog not be read.",
        }
    },
)
async def ready(request: Request) -> Ready | JSONResponse:
    """Whether the API can work; Prefect is told apart, because look-ups need none."""
    found: Ready = await request.app.state.readiness.look()
    if not await _is_administrator(request):  # the sentences name models and files
        found = found.model_copy(update={"warnings": []})
    missing = [name for name in ("home", "catalog") if getattr(found, name) != "ok"]
    return problem(503, "unavailable", f"not ready: {' and '.join(missing)} unavailable") if missing else found


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Figures in the text format of Prometheus: counts and durations by route, never ids, keys or names."""
    return Response(request.app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _is_administrator(request: Request) -> bool:
    try:
        await request.app.state.keys.admit(request.headers.get("apikey"), "admin")
    except LucidError:
        return False
    return True


def _part(found: bool) -> Part:
    return "ok" if found else "unavailable"
