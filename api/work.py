"""Figures of work that other processes do: trainings, refreshes and imports, as the catalog tells; live versions."""

import math
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, Histogram

from lucid.disk import DiskMeter
from lucid.errors import LucidError
from lucid.schema.disk import DiskUse
from lucid.schema.fields import utc_now
from lucid.store.catalog import Catalog
from lucid.store.home import Home, text_of
from lucid.store.tables.database import Ended
from lucid.versions.lifecycle import ModelVersions

_SECONDS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_DISK_SECONDS = 60.0
"""The disk is measured this often at most: of ten thousand batches that takes a tenth of a second."""
_LATE = timedelta(minutes=5)
"""What is written into the catalog may bear a time that is older by this: a busy catalog lets writers wait."""


class WorkFigures:
    """Counts what has ended since this process started, and says how old live versions are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "lucid_work_seconds",
            "Trainings, refreshes and imports that ended, and how long they took, from their entry on.",
            ("work", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._age = Gauge(
            "lucid_live_version_age_seconds",
            "Time since the version that answers was published, of each model.",
            ("model",),
            registry=registry,
        )
        self._disk = Gauge("lucid_disk_bytes", "What the home takes of the disk.", ("kind",), registry=registry)
        self._model_disk = Gauge(
            "lucid_model_disk_bytes", "What the versions of each model take of the disk.", ("model",), registry=registry
        )
        self._meter: DiskMeter | None = None
        self._measure_at = 0.0
        self._began = self._looked = utc_now()
        self._counted: dict[tuple[str, str], datetime] = {}

    def look(self, home: Path) -> None:
        """Bring the figures up to date; where the catalog is busy, they stay as they were."""
        now = utc_now()
        with suppress(LucidError):
            catalog, since = Catalog(home), max(self._began, self._looked - _LATE)
            self.count([*catalog.trainings.ended(since), *catalog.batches.ended(since)])
            self._looked, self._counted = now, {key: at for key, at in self._counted.items() if at >= since}
        self.show_ages(_published(home), now)
        if time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + _DISK_SECONDS
            self._meter = self._meter or DiskMeter(home)
            self.show_disk(self._meter.look())

    def count(self, ended: Iterable[Ended]) -> None:
        """Count each piece of work once, however often it is told."""
        for one in ended:
            known = one.work, one.name
            if known not in self._counted:
                self._counted[known] = one.ended
                self._seconds.labels(one.work, one.outcome).observe((one.ended - one.started).total_seconds())

    def show_ages(self, published: dict[str, datetime], now: datetime) -> None:
        """Show how old the live version of each model is; a model that is gone is shown no more."""
        self._age.clear()
        for model_id, created in published.items():
            self._age.labels(model_id).set(math.ceil((now - created).total_seconds()))

    def show_disk(self, use: DiskUse) -> None:
        """Show what the home takes of the disk; a model that is gone is shown no more."""
        for kind, size in use.by_kind.items():
            self._disk.labels(kind).set(size)
        self._model_disk.clear()
        for model in use.by_model:
            self._model_disk.labels(model.model_id).set(model.bytes)


def _published(home: Path) -> dict[str, datetime]:
    """When the version was published that answers for each model."""
    found = {}
    for folder in Home(home).models.glob("*"):
        model_id = text_of(folder.name)
        if model_id is not None:
            with suppress(LucidError, OSError):  # removed in this moment, never finished, or damaged
                found[model_id] = ModelVersions(home, model_id).pointed_at().manifest.created
    return found
