"""Backups of a home: a folder elsewhere that a home can be made of again, and nothing that is half one.

A backup is of one moment: the catalog as it was, and the files that belong to it. Lucid writes files once and then only
renames or removes them, so they are copied while all goes on; where one is gone or another before it is copied, a later
moment is taken, and what is copied already stays. What ran at that moment ends, or is done again, as after a crash.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from lucid.errors import Damaged, InvalidRequest, Unavailable
from lucid.schema.batches import Batch
from lucid.schema.fields import utc_now
from lucid.service.run import is_served
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.documents import sealed, unsealed
from lucid.store.event_log import EventLog
from lucid.store.files import checksum, copy_new, fsync, make_folder, write_text
from lucid.store.home import Home
from lucid.store.impression_log import ImpressionLog
from lucid.store.machine import telling
from lucid.typing import Progress
from lucid.versions.files import MANIFEST as VERSION_MANIFEST
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.manifest import read_manifest

MANIFEST = "backup.json"
FORMAT = 1
_MOMENTS = 20
"""Of how many moments a copy is tried."""
_LOOKS, _PAUSE_SECONDS = 100, 0.05
"""How often it is looked for one in which the catalog stands still while it is copied, for milliseconds."""
_UNFINISHED = ".unfinished"
_DATABASE_VARIABLES = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL"
"""Where people tell Prefect to use a database of their own."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds; `files` by their paths below the home, with size in bytes and SHA-256. `created` is UTC.

    `schedules` tells whether Prefect's database is in it, with the schedules of models and the history of runs.
    """

    created: datetime
    home: str
    batches: int
    versions: int
    schedules: bool
    files: Mapping[str, tuple[int, str]]
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(size for size, _ in self.files.values())


def back_up(settings: Settings, target: Path, progress: Progress = lambda _percent, _doing: None) -> Backup:
    """Copy a home into a new folder, whether it is served or not; what is there in the end is complete.

    Raises InvalidRequest where there is no home, or where the folder is not empty or lies in the home, MachineError
    where the machine does not give what that takes, Unavailable where the home changes faster than it is copied.
    """
    home, target = Home(settings.home), target.expanduser().absolute()
    if not home.catalog.is_file():
        raise InvalidRequest(f"there is nothing to back up in {home.path}: it is no home of Lucid", code="no_home")
    if target.resolve().is_relative_to(home.path.resolve()):
        raise InvalidRequest(f"{target} lies in the home itself; back it up to another disk", code="bad_target")
    _expect_new(target)
    with telling(target), _aside(target.with_name(target.name + _UNFINISHED)) as aside:
        backup = _Copying(settings, aside, progress).of_some_moment()
        write_text(
            aside / MANIFEST, sealed({"format": FORMAT, **asdict(backup), "created": backup.created.isoformat()})
        )
        _sync_folders(aside)
        os.rename(aside, target)  # which takes the place of an empty folder, and of nothing else
        fsync(target.parent)
    return backup


def restore(
    settings: Settings, source: Path, progress: Progress = lambda _percent, _doing: None, *, replace: bool = False
) -> Backup:
    """Make a home of a backup; every file is compared with its checksum before anything of it is to be seen.

    With `replace`, a home that is there is renamed to `….replaced-<time>`. Raises Damaged, naming the file, where the
    backup is not as it was made, InvalidRequest where it is none, where the home is not empty, or where a service runs
    on it, Unavailable where a later release has made the backup, MachineError.
    """
    home, source = settings.home.resolve(), source.expanduser().absolute()
    backup = read_backup(source)
    if is_served(settings):
        raise InvalidRequest(f"a service runs on {home}; stop it first: lucid down", code="already_running")
    mounted = home.is_mount()
    entries = [entry for entry in _entries(home) if not entry.name.endswith(_UNFINISHED) and entry.name != "lost+found"]
    if entries and (mounted or not replace):
        advice = "empty it, or name another" if mounted else "name another, or let --replace set that one aside"
        raise InvalidRequest(f"the home {home} is not empty ({entries[0].name}); {advice}", code="home_not_empty")
    # Nothing takes the place of a mounted folder; so there it is written inside.
    aside = home / f".restored{_UNFINISHED}" if mounted else home.with_name(f"{home.name}.restored{_UNFINISHED}")
    with telling(aside), _aside(aside):
        done = 0
        for name, (size, digest) in backup.files.items():
            progress(100 * done / max(1, backup.size), f"restoring {name}")
            _restore_file(source, name, size, digest, aside / name)
            done += size
        restored = Catalog(aside)  # raises Unavailable for that of a later release
        restored.batches.move_uploads(backup.home, str(home))
        _sync_folders(aside)
        _take_place(aside, home, entries)
    for folder in (aside, home):
        Catalog.forget(folder)
    return backup


def read_backup(folder: Path) -> Backup:
    """What a backup holds; raises InvalidRequest where a folder is none, Damaged where that cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise InvalidRequest(
            f"{folder} is no complete backup: it has no {MANIFEST}; give the folder that `lucid backup` has made",
            code="no_backup",
        )
    try:
        raw = unsealed(path.read_text(encoding="utf-8"))
        number = raw.pop("format")
        if number > FORMAT:
            raise Unavailable(
                f"{folder} was made by a later release of Lucid (format {number}); use that or a newer one"
            )
        files = {_below(name): (int(size), str(digest)) for name, (size, digest) in raw.pop("files").items()}
        created, warnings = datetime.fromisoformat(raw.pop("created")), tuple(raw.pop("warnings"))
        return Backup(files=files, created=created, warnings=warnings, **raw)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(folder, MANIFEST, "it is not as it was written") from error


class _Moved(Exception):
    """What belongs to the moment that was chosen is not there any more."""


@dataclass(frozen=True)
class _Seen:
    """A file at a moment: two that are equal have the same bytes."""

    inode: int
    size: int
    changed: int


@dataclass(frozen=True)
class _Moment:
    """What belongs to a home at a moment: its files by path, the catalog and Prefect's database apart."""

    files: Mapping[str, _Seen]
    batches: int

    @property
    def versions(self) -> list[str]:
        """The folders of versions, below the home."""
        paths = (PurePosixPath(name) for name in self.files)
        return sorted(path.parent.as_posix() for path in paths if path.name == VERSION_MANIFEST)


class _Copying:
    """Copies of one home into a folder, moment after moment, until all of one are there."""

    def __init__(self, settings: Settings, folder: Path, progress: Progress) -> None:
        self._settings, self._home, self._folder, self._progress = settings, Home(settings.home), folder, progress
        self._seen: dict[str, _Seen] = {}
        self._files: dict[str, tuple[int, str]] = {}

    def of_some_moment(self) -> Backup:
        for _ in range(_MOMENTS):
            with suppress(_Moved, FileNotFoundError):
                created = utc_now()
                schedules = self._copy_prefect()  # first: a run that the catalog knows and Prefect does not is lost
                self._copy_logs()  # before the catalog, which then says which events its batches hold already
                moment = self._moment()
                self._copy(moment)
                return Backup(
                    created,
                    str(self._home.path),
                    moment.batches,
                    len(moment.versions),
                    schedules,
                    dict(sorted(self._files.items())),
                    tuple(self._odd(moment.versions)),
                )
        raise Unavailable(f"{self._home.path} changes faster than it is copied; try again when less is deleted there")

    def _moment(self) -> _Moment:
        """Copy the catalog, and see which files belong to it; raises _Moved where it never stands still for that."""
        for _ in range(_LOOKS):
            with suppress(_Moved, FileNotFoundError):
                before = _seen(self._home.catalog)
                snapshot = self._folder / self._home.catalog.name
                snapshot.unlink(missing_ok=True)
                catalog = Catalog(self._home.path)
                catalog.copy_to(snapshot)
                known = catalog.batches.find()
                files = self._of_batches(known) | self._of_service()
                for model_id in catalog.trainings.models():
                    files |= self._of_model(ModelVersions(self._home.path, model_id))
                if _seen(self._home.catalog) == before:
                    self._note(snapshot.name, *_measured(snapshot))
                    return _Moment(files, len(known))
            time.sleep(_PAUSE_SECONDS)
        raise _Moved

    def _of_service(self) -> dict[str, _Seen]:
        single = self._home.callback_secret, self._home.prefect_auth, self._home.batches_changed
        rules = self._home.placements.glob("*/*.json")
        several = *_plain(self._home.erasures), *_plain(self._home.experiments), *rules
        return self._listed([*(path for path in single if path.exists()), *several])

    def _of_batches(self, known: Sequence[Batch]) -> dict[str, _Seen]:
        files: dict[str, _Seen] = {}
        for batch in known:
            folder = self._home.upload if batch.status == "running" else self._home.batch
            files |= self._listed(_plain(folder(batch.batch_id)))
        return files

    def _of_model(self, model: ModelVersions) -> dict[str, _Seen]:
        """The files of all versions that were published, what was found against them, and which one answers."""
        live = model.pointer.read_bytes() if model.pointer.is_file() else None
        files: dict[str, _Seen] = {}
        for version in model.begun():
            if version.is_begun:
                files |= self._listed(_plain(version.folder))
        files |= self._listed(model.reviews())
        if live is not None:
            files |= self._listed([model.pointer])
            if model.pointer.read_bytes() != live:
                raise _Moved
        return files

    def _listed(self, paths: Sequence[Path]) -> dict[str, _Seen]:
        return {path.relative_to(self._home.path).as_posix(): _seen(path) for path in paths}

    def _copy(self, moment: _Moment) -> None:
        """Copy what is not copied yet; raises _Moved or FileNotFoundError where something is another file by now."""
        for name in [name for name, seen in self._seen.items() if moment.files.get(name) != seen]:
            del self._seen[name], self._files[name]
            (self._folder / name).unlink()
        total = sum(seen.size for seen in moment.files.values())
        done = sum(seen.size for seen in self._seen.values())
        for name, seen in moment.files.items():
            if name not in self._seen:
                self._progress(100 * done / max(1, total), f"copying {name}")
                with (self._home.path / name).open("rb") as source:
                    if _of_stat(os.fstat(source.fileno())) != seen:
                        raise _Moved
                    self._note(name, *copy_new(source, self._folder / name))
                self._seen[name] = seen
                done += seen.size

    def _copy_prefect(self) -> bool:
        """Copy the database of our own Prefect server as it is now; tells whether there is one."""
        database = self._home.prefect / "prefect.db"
        elsewhere = self._settings.prefect_api_url or any(os.environ.get(name) for name in _DATABASE_VARIABLES)
        if elsewhere or not database.is_file():
            return False
        target = self._folder / database.relative_to(self._home.path)
        make_folder(target.parent)
        target.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        self._note(target.relative_to(self._folder).as_posix(), *_measured(target))
        return True

    def _copy_logs(self) -> None:
        for log in (EventLog(self._home.path), ImpressionLog(self._home.path)):
            target = self._folder / log.path.name
            target.unlink(missing_ok=True)
            if log.copy_to(target):
                self._note(target.name, *_measured(target))

    def _note(self, name: str, size: int, digest: str) -> None:
        self._files[name] = size, digest

    def _odd(self, versions: Sequence[str]) -> Iterator[str]:
        """A sentence for each version that is not as it was published; it is in the backup as it is."""
        for name in versions:
            try:
                expected = read_manifest(self._folder / name).sha256
            except Damaged as error:
                yield f"{name} is damaged: {error.message}"
                continue
            wrong = [
                file for file, digest in expected.items() if self._files.get(f"{name}/{file}", (0, ""))[1] != digest
            ]
            if wrong:
                yield f"{name} is damaged: {wrong[0]} is not as it was published; see: lucid check"


# Files


def _expect_new(target: Path) -> None:
    if target.is_mount():
        raise InvalidRequest(
            f"{target} is a disk of its own; name a folder that is to be made on it", code="bad_target"
        )
    if target.is_dir() and not any(target.iterdir()):
        return
    if os.path.lexists(target):
        raise InvalidRequest(f"{target} exists already; name a folder that is new or empty", code="target_not_empty")


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder to write into, which is gone afterwards where it was not renamed; what an earlier attempt left goes."""
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _plain(folder: Path) -> list[Path]:
    """The files in a folder, without what is being written aside."""
    return [path for path in _entries(folder) if path.is_file() and path.suffix != ".new"]


def _seen(path: Path) -> _Seen:
    return _of_stat(path.stat())


def _of_stat(found: os.stat_result) -> _Seen:
    return _Seen(found.st_ino, found.st_size, found.st_mtime_ns)


def _measured(path: Path) -> tuple[int, str]:
    fsync(path)
    return path.stat().st_size, checksum(path)


def _below(name: str) -> str:
    """A path of a backup's list, which leads nowhere else; raises ValueError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name:
        raise ValueError(f"{name!r} is no path below a home")
    return name


def _restore_file(source: Path, name: str, size: int, digest: str, target: Path) -> None:
    try:
        with (source / name).open("rb") as file:
            found = copy_new(file, target)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _damaged(source, name, "it is missing") from error
    if found[0] != size:
        raise _damaged(source, name, f"{found[0]:,} bytes instead of {size:,}")
    if found[1] != digest:
        raise _damaged(source, name, "other bytes than were backed up")


def _damaged(folder: Path, name: str, what: str) -> Damaged:
    return Damaged(f"the backup {folder} is damaged: {name}: {what}; nothing was restored; use another backup")


def _take_place(aside: Path, home: Path, entries: Sequence[Path]) -> None:
    """Let what was restored be the home; `entries` are what stands there."""
    if aside.parent == home:  # a mounted folder: the catalog comes last, without which there is no home
        for entry in sorted(aside.iterdir(), key=lambda entry: entry.name == Home(home).catalog.name):
            entry.rename(home / entry.name)
        return
    if entries:
        home.rename(home.with_name(f"{home.name}.replaced-{utc_now():%Y%m%dT%H%M%SZ}"))
    aside.rename(home)
    fsync(home.parent)


def _sync_folders(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            fsync(path)
