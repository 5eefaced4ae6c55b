"""Whether the parts that calls need are there: the home, the catalog, Prefect, room on the disk."""

import asyncio
import os
import shutil
import time
from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, Field

from lucid.api.runs import Runs
from lucid.health import HealthWarnings
from lucid.store.catalog import Catalog

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
            reading = self._reading = asyncio.create_task(asyncio.to_thread(self._catalog.keys.all))
        done, _ = await asyncio.wait({reading}, timeout=PATIENCE_SECONDS)
        return bool(done) and reading.exception() is None


def _part(found: bool) -> Part:
    return "ok" if found else "unavailable"
