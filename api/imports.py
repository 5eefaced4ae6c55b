"""An upload on its way from received files to imported batches: entered, begun, waited for; or nothing of it stays."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi.concurrency import run_in_threadpool

from lucid.api.jobs import forget_upload, upload
from lucid.api.services import Services
from lucid.api.waiting import wait_until
from lucid.data.batches import remove_batch_files
from lucid.data.csv_load import read_file_type
from lucid.errors import LucidError, MachineError, Unavailable, UnknownBatch, UnusableFile, error_of
from lucid.schema.batches import Batch, Naming
from lucid.schema.fields import OnError
from lucid.store.files import make_folder
from lucid.store.home import Home
from lucid.store.tables.batches import Entered
from lucid.store.tables.requests import RequestKey


@dataclass(frozen=True)
class Wanted:
    """How files are to be read."""

    on_error: OnError
    naming: Naming

    def parameters(self) -> dict[str, Any]:
        """As the flow takes them."""
        return {"on_error": self.on_error, **asdict(self.naming)}


async def begin(
    services: Services, received: Sequence[Path], batches: Sequence[Batch], wanted: Wanted, key: RequestKey | None
) -> list[str]:
    """Enter an import and start it; returns the ids of its batches, for a repeat those of the first call.

    Whoever finds that no flow run was made for them makes it, so that a call that was cut short is brought to its end.
    Raises UnusableFile where a header shows it, IdempotencyKeyReused, and Unavailable where no flow run can be made;
    nothing is entered then.
    """
    try:
        entered = await run_in_threadpool(_enter, services, received, batches, wanted, key)
    except BaseException:  # also where the client goes away, while the thread enters them all the same
        await run_in_threadpool(forget_upload, services.settings, [batch.batch_id for batch in batches])
        raise
    if not entered.begun:
        parameters = _parameters(services, batches, wanted, entered.batch_ids)
        await services.queue.begin(upload(services.settings, entered.batch_ids, parameters))
    return entered.batch_ids


async def wait(services: Services, batch_ids: Sequence[str], key: RequestKey | None, deadline: float) -> list[Batch]:
    """The batches once they are imported, or as they are when the deadline has passed.

    Raises what made one fail, and all are forgotten then; UnknownBatch where one was deleted meanwhile, Unavailable
    where they are gone because the first call with the key could not start them.
    """
    try:
        return await wait_until(_all_completed, partial(_look, services, batch_ids), deadline)
    except UnknownBatch as error:
        raise await run_in_threadpool(_why_gone, services, key, error) from None


# Beginning


def _enter(
    services: Services, received: Sequence[Path], batches: Sequence[Batch], wanted: Wanted, key: RequestKey | None
) -> Entered:
    """Store what came in and enter it; what a first call with the key has stored and entered takes its place."""
    entered = None
    try:
        _store(services, received, batches, wanted.naming)
        parameters = _parameters(services, batches, wanted, [batch.batch_id for batch in batches])
        entered = services.catalog.batches.enter(batches, parameters, key)
    except UnusableFile:
        if key:
            services.catalog.requests.knows(key)  # raises where another file came with it
        raise
    finally:
        for batch in batches:
            if entered is None or batch.batch_id not in entered.batch_ids:
                remove_batch_files(services.settings.home, batch.batch_id)
    return entered


def _parameters(
    services: Services, batches: Sequence[Batch], wanted: Wanted, batch_ids: Sequence[str]
) -> dict[str, Any]:
    """What the flow is told. The files of a repeat have the names of the first ones, or it would be another request."""
    files = [_path(services, batch_id, batch) for batch_id, batch in zip(batch_ids, batches, strict=True)]
    return {"files": [str(file) for file in files], **wanted.parameters(), "batch_ids": [*batch_ids]}


def _store(services: Services, received: Sequence[Path], batches: Sequence[Batch], naming: Naming) -> None:
    """Move uploads to where their imports find them, and refuse at once what a header shows to be unusable."""
    for source, batch in zip(received, batches, strict=True):
        path = _path(services, batch.batch_id, batch)
        make_folder(path.parent)
        read_file_type(source.rename(path), services.settings, naming)


def _path(services: Services, batch_id: str, batch: Batch) -> Path:
    return Home(services.settings.home).upload(batch_id) / batch.file_name


def _forget(services: Services, batch_ids: Sequence[str]) -> None:
    """Remove batches that nobody uses; one that cannot be taken out of the catalog now is ended by the sweep."""
    for batch_id in batch_ids:  # first, for that may make room
        remove_batch_files(services.settings.home, batch_id)
    with suppress(MachineError):
        services.catalog.batches.delete(batch_ids)


# Waiting


def _all_completed(batches: Sequence[Batch]) -> bool:
    return all(batch.status == "completed" for batch in batches)


def _look(services: Services, batch_ids: Sequence[str]) -> list[Batch]:
    """The batches as they are now; raises what made one of them fail, UnknownBatch where one is not there any more."""
    try:
        batches = services.catalog.batches.find(batch_ids)
        if any(batch.status == "error" for batch in batches):
            _raise_failure(services, batch_ids)
            batches = services.catalog.batches.find(batch_ids)
    except UnknownBatch:  # a call with the same key may have told why and removed them
        _raise_failure(services, batch_ids)
        raise
    return batches


def _raise_failure(services: Services, batch_ids: Sequence[str]) -> None:
    """Raise what made one of the batches fail, if one did, and forget them."""
    failure = services.catalog.batches.failure(batch_ids)
    if failure is not None:
        _forget(services, batch_ids)
        raise error_of(failure.code, failure.message)


def _why_gone(services: Services, key: RequestKey | None, error: UnknownBatch) -> LucidError:
    """What to say of batches that a call waits for and that are there no more."""
    if key is None:
        return error
    if not services.catalog.requests.knows(key):
        return Unavailable("the first call with this key could not start the import, or the import stopped; try again")
    deleted = "deleted since the first call with this Idempotency-Key; to import the files again, send a new key"
    return UnknownBatch(f"{error.message}: {deleted}")
