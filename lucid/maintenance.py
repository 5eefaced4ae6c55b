"""Maintenance: what nothing needs any more leaves a home, so that one that is left alone does not grow for ever.

What cannot wait is swept by the service every few seconds: dead trainings and imports, broken uploads, locks (see
`lucid.training.run.sweep` and its fellows). Here stands what is rare or takes long. Each step looks for itself what is
due, and removes nothing that is being made, answered from or referred to; so one that was killed is simply done again.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lucid.disk import bytes_of
from lucid.errors import AlreadyTraining, DamagedVersion, InvalidRequest, ModelNotReady, Unavailable, UnknownModel
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.event_log import EventLog
from lucid.store.home import Home, text_of
from lucid.store.impression_log import ImpressionLog
from lucid.store.machine import telling
from lucid.training.run import alone_with
from lucid.versions.lifecycle import ModelVersions

MAX_DAYS = 3650
_LEFT_SECONDS = 3600
"""What is written aside takes its place at once; what still lies there after this time was left by a killed process."""
_LEFT = ("*.new", "*.new.wal", ".probe-*")
"""Names of files that are written aside, see `lucid.store.files`."""
_CATALOG_BYTES = 10_000_000
"""A shorter catalog is not written anew."""
_PREFECT_BYTES = 100_000_000
"""So much of Prefect's file has to be free, and half of it, before it is written anew."""
_BUSY_SECONDS = 60.0


@dataclass(frozen=True)
class Removed:
    """What a step has removed, or would remove in a dry run; `left` tells of what it leaves to a person."""

    count: int = 0
    bytes: int = 0
    left: str = ""


@dataclass(frozen=True)
class Upkeep:
    """One maintenance: of which home, up to which time history is forgotten, and whether it only looks."""

    settings: Settings
    before: datetime
    dry_run: bool = False

    @property
    def home(self) -> Home:
        return Home(self.settings.home)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.home)


@dataclass(frozen=True)
class Step:
    """A step of a maintenance, and what it removes."""

    what: str
    work: Callable[[Upkeep], Removed]

    def __call__(self, upkeep: Upkeep) -> Removed:
        """Raises MachineError, Unavailable; what it has removed by then stays removed."""
        with telling(upkeep.settings.home):
            return self.work(upkeep)


def upkeep_now(settings: Settings, keep_history_days: float | None = None, *, dry_run: bool = False) -> Upkeep:
    """A maintenance that begins now, and keeps history for as long as the settings say or as is given.

    Raises InvalidRequest for days that are none.
    """
    days = settings.keep_history_days if keep_history_days is None else keep_history_days
    if not 0 <= days <= MAX_DAYS:
        raise InvalidRequest(f"history cannot be kept for {days} days; expected 0 to {MAX_DAYS:,}")
    return Upkeep(settings, utc_now() - timedelta(days=days), dry_run)


# Files


def _old_versions(upkeep: Upkeep) -> Removed:
    """Versions beyond those that are kept; a model on which a process works is left to that."""
    sizes, keep = list[int](), upkeep.settings.keep_versions
    for versions in _models(upkeep):
        alone = nullcontext() if upkeep.dry_run else alone_with(upkeep.settings, versions.model_id)
        with suppress(AlreadyTraining, ModelNotReady, UnknownModel, DamagedVersion), alone:
            sizes += [bytes_of(version.folder) for version in versions.superfluous(keep)]
            if not upkeep.dry_run:
                versions.prune(keep)
    return Removed(len(sizes), sum(sizes))


def _half_done(upkeep: Upkeep) -> Removed:
    """What killed processes were writing, and batches that were being loaded and are not any more."""
    home, before = upkeep.home, time.time() - _LEFT_SECONDS
    folders = (home.path, home.erasures, home.experiments, home.batches, *home.models.glob("*"))
    written = [path for folder in folders for name in _LEFT for path in folder.glob(name)]
    loading = home.staging("").name
    there = [path for path in home.batches.glob("*") if path.is_dir()]
    known = upkeep.catalog.batches.known()  # read last: each was entered before it had a folder
    dead = [
        path
        for path in there
        if path.name.startswith(loading) and known.get(path.name.removeprefix(loading)) != "running"
    ]
    removed = _remove(upkeep, [*(path for path in written if _time(path) < before), *dead])
    unknown = [path for path in there if not path.name.startswith(".") and path.name not in known]
    if not unknown:
        return removed
    names = ", ".join(f"batches/{path.name}" for path in unknown[:3]) + (", …" if len(unknown) > 3 else "")
    left = f"batches that the catalog does not know, {len(unknown)}: {names}; remove these folders if nobody needs them"
    return Removed(removed.count, removed.bytes, left)


def _old_logs(upkeep: Upkeep) -> Removed:
    """Logs that were put aside and not written to since."""
    aside = [path for path in upkeep.home.logs.glob("*.log.*") if _time(path) < upkeep.before.timestamp()]
    return _remove(upkeep, aside)


def _undelivered(upkeep: Upkeep) -> Removed:
    """Events that Prefect's server could not record; it keeps each as a file, and never removes one."""
    before = max(upkeep.before, utc_now() - timedelta(days=upkeep.settings.keep_runs_days)).timestamp()
    return _remove(upkeep, [path for path in (upkeep.home.prefect / "dlq").glob("*") if _time(path) < before])


# Rows of the catalog


def _trainings(upkeep: Upkeep) -> Removed:
    kept = {versions.model_id: _there(versions) for versions in _models(upkeep)}
    return Removed(upkeep.catalog.trainings.forget_ended(upkeep.before, kept, dry_run=upkeep.dry_run))


def _deliveries(upkeep: Upkeep) -> Removed:
    return Removed(upkeep.catalog.deliveries.forget(upkeep.before, dry_run=upkeep.dry_run))


def _failed_imports(upkeep: Upkeep) -> Removed:
    return Removed(upkeep.catalog.batches.forget_failed(upkeep.before, dry_run=upkeep.dry_run))


def _request_keys(upkeep: Upkeep) -> Removed:
    return Removed(upkeep.catalog.requests.forget_old(utc_now(), dry_run=upkeep.dry_run))


# Events


def _event_ids(upkeep: Upkeep) -> Removed:
    """Ids by which repeated events are known; a repeat after so long is taken for another event."""
    log = EventLog(upkeep.settings.home)
    try:
        return Removed(log.forget_ids(upkeep.before.timestamp(), dry_run=upkeep.dry_run))
    finally:
        log.close()


# Impressions


def _old_impressions(upkeep: Upkeep) -> Removed:
    """Answers that were shown long ago, with what came of them."""
    before = utc_now() - timedelta(days=upkeep.settings.keep_impressions_days)
    log = ImpressionLog(upkeep.settings.home)
    try:
        return Removed(log.forget(int(before.timestamp() * 1e6), dry_run=upkeep.dry_run))
    finally:
        log.close()


# Databases


def _catalog_file(upkeep: Upkeep) -> Removed:
    """What the catalog takes beyond its rows. Nothing tells how much that is, so a long one is written anew to see."""
    path = upkeep.home.catalog
    before = bytes_of(path)
    if upkeep.dry_run or before < _CATALOG_BYTES:
        return Removed()
    upkeep.catalog.rewrite()
    return _shorter(path, before)


def _prefect_file(upkeep: Upkeep) -> Removed:
    """Free pages of the SQLite file of our own Prefect server, where these are many: its vacuum only frees them."""
    path = upkeep.home.prefect / "prefect.db"
    if not path.exists():  # another server, or PostgreSQL
        return Removed()
    before = bytes_of(path)
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
            free = _pragma(connection, "freelist_count") * _pragma(connection, "page_size")
            if free < max(_PREFECT_BYTES, before // 2):
                return Removed()
            if upkeep.dry_run:
                return Removed(1, free)
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # only then the file gets shorter
    except sqlite3.Error as error:
        raise Unavailable(f"{path} could not be made shorter ({error}); the next maintenance tries again") from error
    return _shorter(path, before)


def _shorter(path: Path, before: int) -> Removed:
    after = bytes_of(path)
    return Removed(1, before - after) if after < before else Removed()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


STEPS: tuple[Step, ...] = (
    Step("old versions", _old_versions),
    Step("half-done files", _half_done),
    Step("old logs", _old_logs),
    Step("undelivered events of Prefect", _undelivered),
    Step("callbacks", _deliveries),
    Step("keys of repeated requests", _request_keys),
    Step("ids of old events", _event_ids),
    Step("old impressions", _old_impressions),
    Step("trainings and refreshes", _trainings),  # after what tells of them
    Step("failed imports", _failed_imports),
    Step("the catalog, written anew", _catalog_file),
    Step("Prefect's database, written anew", _prefect_file),
)
"""What a maintenance does, in this order; each step may be done alone."""


def maintain(upkeep: Upkeep) -> Iterator[tuple[Step, Removed]]:
    """Do all steps, and say after each what it has removed; raises as they do."""
    for step in STEPS:
        yield step, step(upkeep)


def _models(upkeep: Upkeep) -> list[ModelVersions]:
    """All models that have a folder; what else lies there is not ours."""
    names = [text_of(folder.name) for folder in sorted(upkeep.home.models.glob("*")) if folder.is_dir()]
    return [ModelVersions(upkeep.settings.home, model_id) for model_id in names if model_id]


def _there(versions: ModelVersions) -> set[int]:
    """Numbers of the versions that have a folder, and of the one that should answer."""
    numbers = {version.number for version in versions.begun()}
    with suppress(FileNotFoundError, DamagedVersion):
        numbers.add(versions.pointed_at().number)
    return numbers


def _remove(upkeep: Upkeep, paths: Iterable[Path]) -> Removed:
    """Remove files and folders; one that goes by itself in this moment counts or does not."""
    sizes = []
    for path in paths:
        sizes.append(bytes_of(path))
        if upkeep.dry_run:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return Removed(len(sizes), sum(sizes))


def _time(path: Path) -> float:
    """When a file was last written; now, where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
