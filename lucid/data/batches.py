"""Import: CSV files in, one immutable batch out of each.

The files of one call are stored together or not at all: each is loaded into a staging folder first, then all
are renamed into place and made visible in one catalog transaction. Which rows a training uses is decided
later, in `lucid.data.selection`.
"""

import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from lucid.data.csv_load import PLAIN, REJECTS, ROWS, load_file, read_rejects
from lucid.data.type_changes import tell_changes
from lucid.errors import InvalidRequest, MachineError
from lucid.health import HealthWarnings
from lucid.logs import about
from lucid.schema.batches import MAX_FILES, Batch, BatchChange, LoadedFile, Naming, RejectedRow
from lucid.schema.fields import MAX_TAG, MAX_TAGS, OnError, utc_now
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.duck import connect
from lucid.store.files import fsync, write_text
from lucid.store.home import Home
from lucid.store.locks import begun, forget, is_worked_on, was_worked_on, working
from lucid.store.machine import telling, told
from lucid.store.tables.batches import RunningBatch
from lucid.typing import IsLost, Progress

UPLOAD_SECONDS = 3600
"""Uploads that no batch waits for any more are removed after this time."""
_log = logging.getLogger("lucid")
_LOCK, _BATCH_ID = "import-", re.compile("[0-9a-f]{32}")
LOADED, LOADED_FILE = "loaded.json", TypeAdapter(LoadedFile)
"""What a loaded file leaves beside its rows for `publish_batches`."""


def batches_of(files: Sequence[Path], tags: Sequence[str]) -> list[Batch]:
    """New batches for files on this machine; raises InvalidRequest where one does not exist."""
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise InvalidRequest(f"{', '.join(missing)}: no such file", code="no_such_file")
    return new_batches([file.name for file in files], tags)


def check_tags(tags: Sequence[str]) -> list[str]:
    """Tags without repeats, in the given order; raises InvalidRequest for an unusable one."""
    if len(set(tags)) > MAX_TAGS:
        raise InvalidRequest(f"{len(set(tags)):,} tags are more than the {MAX_TAGS} that a batch may carry")
    for tag in tags:
        if not tag.strip() or len(tag) > MAX_TAG or "," in tag or not tag.isprintable():
            raise InvalidRequest(
                f"tag {tag[: MAX_TAG + 1]!r} must be 1 to {MAX_TAG} printable characters without a comma"
            )
    return list(dict.fromkeys(tag.strip() for tag in tags))


def new_batches(file_names: Sequence[str], tags: Sequence[str]) -> list[Batch]:
    """Batches that are about to be loaded, with fresh ids; raises InvalidRequest for no file or a bad tag."""
    if not file_names:
        raise InvalidRequest("no file to import")
    if len(file_names) > MAX_FILES:
        raise InvalidRequest(f"{len(file_names):,} files are more than {MAX_FILES} in one call; make several calls")
    labels = check_tags(tags)
    return [
        Batch(batch_id=uuid.uuid4().hex, timestamp=utc_now(), tags=labels, status="running", file_name=name)
        for name in file_names
    ]


def import_files(
    settings: Settings,
    catalog: Catalog,
    files: Sequence[Path],
    batches: Sequence[Batch],
    on_error: OnError = "set_aside",
    progress: Progress = lambda _percent, _doing: None,
    naming: Naming = PLAIN,
) -> list[Batch]:
    """Load files into batches in this process; all of them or none. Raises as `importing` and `load_batch` do."""
    ids = [batch.batch_id for batch in batches]
    with importing(settings, catalog, batches):
        for number, (path, batch_id) in enumerate(zip(files, ids, strict=True)):
            progress(100 * number / len(files), f"loading {path.name}")
            load_batch(settings, path, batch_id, on_error, naming)
        publish_batches(settings.home, catalog, ids)
        progress(100, "done")
    return catalog.batches.find(ids)


@contextmanager
def importing(settings: Settings, catalog: Catalog, batches: Sequence[Batch]) -> Iterator[None]:
    """Work on batches as their only worker; they are entered in the catalog if they are not yet.

    Inside, each is loaded with `load_batch`, wherever that runs, and then all are published with `publish_batches`.
    Whatever goes wrong is raised again: the batches are then marked as failed and nothing of them is stored, so nothing
    may load them any more by then. Uploads are removed in the end. Raises InvalidRequest for batches that have ended
    already, MachineError where the machine does not give what the import needs.
    """
    home, ids = settings.home, [batch.batch_id for batch in batches]
    with _entered(home, catalog, batches) as ended:
        try:
            with telling(home):
                yield
        except BaseException as error:
            with suppress(MachineError):
                _fail(home, catalog, ids, error)
                ended += ids
            raise
        ended += ids
    for batch_id in ids:
        shutil.rmtree(Home(home).upload(batch_id), ignore_errors=True)


def load_batch(
    settings: Settings, path: Path, batch_id: str, on_error: OnError = "set_aside", naming: Naming = PLAIN
) -> LoadedFile:
    """Load a file into a batch that is being imported; what `publish_batches` needs of it is left next to its rows.

    Raises UnusableFile where the file cannot be used, or, with on_error="abort", where any row is bad.
    """
    staging, began = Home(settings.home).staging(batch_id), time.monotonic()
    with about(batch_id=batch_id), telling(settings.home):
        loaded = load_file(settings, path, staging, on_error, naming)
        write_text(staging / LOADED, LOADED_FILE.dump_json(loaded).decode())
        counts = f"{loaded.loaded:,} {loaded.file_type}, {loaded.rejected:,} rows set aside"
        _log.info("%s, batch %s: %s, loaded in %.1f s", path.name, batch_id, counts, time.monotonic() - began)
    return loaded


def publish_batches(
    home: Path, catalog: Catalog, batch_ids: Sequence[str], *, events_through: int | None = None
) -> None:
    """Make batches that are loaded visible to trainings, all at once; they warn of ids that change their type.

    `events_through` as for `Batches.complete`.
    """
    with telling(home):
        loaded = [_take_loaded(Home(home).staging(batch_id)) for batch_id in batch_ids]
        loaded = _compared(home, catalog, batch_ids, loaded)
        for batch_id in batch_ids:
            folder = Home(home).staging(batch_id)
            for file in folder.iterdir():
                fsync(file)
            folder.rename(Home(home).batch(batch_id))
        fsync(Home(home).batches)
        catalog.batches.complete(list(zip(batch_ids, loaded, strict=True)), events_through)


def _compared(home: Path, catalog: Catalog, batch_ids: Sequence[str], loaded: Sequence[LoadedFile]) -> list[LoadedFile]:
    """What files held, with a warning for ids that another type had in an earlier batch, or file of the same call."""
    selected = catalog.batches.select(None)
    earlier = [Home(home).batch(batch.batch_id) / ROWS for batch in selected if batch.file_type == "entities"]
    earlier = [path for path in earlier if path.exists()]  # one may have been deleted meanwhile
    compared = []
    for batch_id, file in zip(batch_ids, loaded, strict=True):
        rows = Home(home).staging(batch_id) / ROWS
        if file.file_type == "entities":
            warnings = _warn_of_changes(Home(home).staging(batch_id), rows, earlier) if earlier else []
            file, earlier = replace(file, warnings=[*file.warnings, *warnings]), [*earlier, rows]
        compared.append(file)
    return compared


def _warn_of_changes(folder: Path, rows: Path, earlier: Sequence[Path]) -> list[str]:
    spill = folder / "spill"
    try:
        with connect(spill=spill, memory_limit="1GB") as connection:
            return tell_changes(connection, str(rows), [str(path) for path in earlier])
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _take_loaded(staging: Path) -> LoadedFile:
    """What loading has left for the catalog, which is no part of a published batch."""
    loaded = LOADED_FILE.validate_json((staging / LOADED).read_bytes())
    (staging / LOADED).unlink()
    return loaded


@contextmanager
def _entered(home: Path, catalog: Catalog, batches: Sequence[Batch]) -> Iterator[list[str]]:
    """Work on batches that stand in the catalog, as their only worker; gives a list for those that have ended.

    What has ended, or could not be entered, needs no lock any more, whatever comes after.
    """
    ids, ended = [batch.batch_id for batch in batches], list[str]()
    with ExitStack() as stack:
        stack.callback(_forget, home, ended)
        try:
            with telling(home):
                for batch_id in ids:
                    stack.enter_context(working(home, _lock_name(batch_id)))
                catalog.batches.enter(batches)
        except MachineError:
            ended += ids
            raise
        yield ended


def _fail(home: Path, catalog: Catalog, batch_ids: Sequence[str], error: BaseException) -> None:
    """Mark batches as failed and remove what is there of them.

    Raises MachineError where that cannot be written; the next sweep does it.
    """
    for batch_id in batch_ids:  # first of all, for that may make room
        shutil.rmtree(Home(home).staging(batch_id), ignore_errors=True)
    message, code = "the import stopped unexpectedly; upload again", "import_stopped"
    if told := getattr(error, "for_customers", None):  # by our errors, and by what the flows raise
        message, code = told, getattr(error, "code", code)
    for failed in catalog.batches.fail(batch_ids, message, code):
        remove_batch_files(home, failed)


def sweep(settings: Settings, catalog: Catalog, *, is_lost: IsLost, warnings: HealthWarnings | None = None) -> None:
    """End imports whose process is gone, and remove what they and broken uploads left.

    One that was uploaded over HTTP is done again, but not for ever. An import that no process has begun is ended if
    `is_lost` says that its flow run never will begin it; one that waits for a flow run goes on waiting. What goes wrong
    with one import or upload is a warning, and the others are swept all the same.
    """
    home, warnings = settings.home, warnings or HealthWarnings()
    begun_before = begun(home, _LOCK)
    waiting = catalog.batches.running()
    with warnings.round("imports") as each:
        for batch in waiting:
            failing = f"the dead import of batch {batch.batch_id} could not be ended"
            with about(batch_id=batch.batch_id), each.apart(batch.batch_id, failing):
                _end_if_dead(home, catalog, batch, is_lost)
    waited_for = {batch.batch_id for batch in waiting}
    with warnings.round("uploads") as each:
        for folder in Home(home).uploads.glob("*"):
            if not (_BATCH_ID.fullmatch(folder.name) and folder.is_dir()):  # not ours
                continue
            if folder.name not in waited_for:
                with each.apart(folder.name, f"the old upload uploads/{folder.name} could not be removed"):
                    _remove_old(folder)
    _forget(home, [batch_id for batch_id in begun_before if batch_id not in waited_for])


def _forget(home: Path, batch_ids: Sequence[str]) -> None:
    for batch_id in batch_ids:
        forget(home, _lock_name(batch_id))


def _end_if_dead(home: Path, catalog: Catalog, batch: RunningBatch, is_lost: IsLost) -> None:
    lock = _lock_name(batch.batch_id)
    if batch.waits or is_worked_on(home, lock):
        return
    lost = was_worked_on(home, lock) or is_lost(batch.flow_run_id, batch.entered)
    if lost == "cancelled":
        _end_dead(home, catalog, batch.batch_id, "cancelled")
    elif lost and not _do_again(home, catalog, [batch.batch_id]):
        _end_dead(home, catalog, batch.batch_id, "the import process ended before it was done; upload again")


def _do_again(home: Path, catalog: Catalog, batch_ids: Sequence[str]) -> bool:
    """Let a dead import wait for another flow run, with nothing of what it has done; False where it is given up."""
    waiting = catalog.batches.wait_again(batch_ids)
    for batch_id in waiting:
        for folder in (Home(home).staging(batch_id), Home(home).batch(batch_id)):
            shutil.rmtree(folder, ignore_errors=True)
        forget(home, _lock_name(batch_id))
    return bool(waiting)


def _end_dead(home: Path, catalog: Catalog, batch_id: str, message: str) -> None:
    for failed in catalog.batches.fail([batch_id], message, "import_stopped"):
        remove_batch_files(home, failed)


def _remove_old(folder: Path) -> None:
    with suppress(FileNotFoundError):
        last_written = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
        if last_written < time.time() - UPLOAD_SECONDS:
            shutil.rmtree(folder)


def remove_batch_files(home: Path, batch_id: str) -> None:
    """Remove everything on disk that belongs to a batch, wherever its import stopped."""
    for folder in (Home(home).staging(batch_id), Home(home).batch(batch_id), Home(home).upload(batch_id)):
        shutil.rmtree(folder, ignore_errors=True)
    forget(home, _lock_name(batch_id))


def find_batches(catalog: Catalog, batch_ids: Sequence[str] | None, tags: Sequence[str] | None) -> list[Batch]:
    """The named batches that carry all of the tags, none where the list of names is empty.

    Raises InvalidRequest without any condition, UnknownBatch for an unknown id.
    """
    if not batch_ids and not tags:
        raise InvalidRequest("name the batches by batch_id or tags")
    return catalog.batches.find(batch_ids, tags)


def update_batches(
    catalog: Catalog, batch_ids: Sequence[str] | None, tags: Sequence[str] | None, change: BatchChange
) -> list[Batch]:
    """Change the batches that `find_batches` finds and return them as they are now."""
    ids = [batch.batch_id for batch in find_batches(catalog, batch_ids, tags)]
    catalog.batches.update(ids, None if change.tags is None else check_tags(change.tags), change.archived)
    return catalog.batches.find(ids)


def delete_batches(
    home: Path, catalog: Catalog, batch_ids: Sequence[str] | None, tags: Sequence[str] | None
) -> list[Batch]:
    """Delete the batches that `find_batches` finds and return them; models trained with them stay as they are."""
    batches = find_batches(catalog, batch_ids, tags)
    catalog.batches.delete([batch.batch_id for batch in batches])
    for batch in batches:
        remove_batch_files(home, batch.batch_id)
    return batches


def rejected_rows(home: Path, catalog: Catalog, batch_id: str) -> Iterator[list[RejectedRow]]:
    """All rows of a batch that were set aside, by line, in blocks; raises UnknownBatch."""
    catalog.batches.find([batch_id])
    path = Home(home).batch(batch_id) / REJECTS
    return told(path, read_rejects(path)) if path.exists() else iter(())


def _lock_name(batch_id: str) -> str:
    return f"{_LOCK}{batch_id}"
