"""The life of a training around its steps: its entry, its lock, its progress, its end, and what becomes of dead ones.

What it does meanwhile stands in `lucid.training.steps`, which loads torch; this here is what the API needs as well.
"""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from lucid.data.known import check_names
from lucid.errors import (
    AlreadyTraining,
    InvalidRequest,
    LucidError,
    MachineError,
    NothingToRefresh,
    TrainingFailed,
    UnknownModel,
)
from lucid.health import HealthWarnings
from lucid.logs import about
from lucid.schema.fields import RunStatus, Stage, utc_now
from lucid.schema.training import ModelStatus, TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home, text_of
from lucid.store.locks import PATIENCE_SECONDS, begun, forget, is_worked_on, working
from lucid.store.machine import telling
from lucid.store.tables.deliveries import Event
from lucid.store.tables.requests import RequestKey
from lucid.store.tables.trainings import TrainingRow
from lucid.training.estimate import note_peak, read_cost
from lucid.training.memory import Peak
from lucid.training.publishing import publish, settle
from lucid.training.remaining import Clock, last_timings, read_timings, tell_left
from lucid.typing import IsLost, Progress
from lucid.versions.files import TIMINGS
from lucid.versions.lifecycle import REMOVED, ModelVersions
from lucid.versions.version import Version
from lucid.webhooks.callbacks import deliver_patiently, make_event

MAX_REQUEST_BYTES = 100_000
"""How long a request may be in JSON: it stays in the catalog, where every refresh repeats it, and DuckDB gives
long texts blocks of 256 kB."""
_DIED, _REFRESH_DIED, _STOPPED = (
    "the training process ended before it was done; train again",
    "the process of the refresh ended before it was done; refresh again",
    "stopped before it was done; begin it again",
)
INTERRUPTED = (_DIED, _STOPPED)
"""What is said of trainings that have ended without a fault of their own."""
_REPORT_SECONDS = 1.0
_CANCELLED = "cancelled"
_LOCK = "train-"


@dataclass(frozen=True)
class Spread:
    """Has parts of a step done elsewhere, or in other threads of this process; see `lucid.training.parts`.

    `do` takes a training, the name of what is to be done for each part, and the parts; it yields what comes of each in
    their order. Fewer parts than `least` are done sooner by the step itself, which divides them further among all
    processors.
    """

    do: Callable[["Training", str, Sequence[Any]], Iterator[Any]]
    in_this_process: bool
    least: int


@dataclass(frozen=True)
class Training:
    """A running training: which version it makes and what it was asked to do.

    `refresh_of` names the parent version, from which a refresh is derived instead of fitting a new one. One that is not
    `cancellable` is completed all the same.
    """

    settings: Settings
    model_id: str
    version: int
    started: datetime
    request: TrainingRequest
    refresh_of: int | None = None
    watcher: Progress | None = None
    cancellable: bool = True
    spread: Spread | None = None
    """Has parts of a step done; without it the step does all of them."""

    @property
    def versions(self) -> ModelVersions:
        """All versions of its model."""
        return ModelVersions(self.settings.home, self.model_id)

    @property
    def made(self) -> Version:
        """The version that it makes, as far as it has come."""
        return self.versions.version(self.version)

    @property
    def folder(self) -> Path:
        return self.made.folder

    @property
    def work(self) -> Path:
        """Files that only the steps between select and publish need."""
        return self.made.work

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.home)

    @property
    def status(self) -> ModelStatus:
        """How far it has come by now; raises UnknownModel where its model was deleted."""
        return self.catalog.trainings.get(self.model_id, self.version).status

    @property
    def erases(self) -> bool:
        """Whether it makes a version without erased entities, which selects no data."""
        return self.refresh_of is not None and not self.status.data_batch_ids

    @property
    def has_ended(self) -> bool:
        return self.status.status != "running"


def new_model_id() -> str:
    return f"model-{secrets.token_hex(4)}"


def enter(
    settings: Settings, request: TrainingRequest, stage: Stage = "select", key: RequestKey | None = None
) -> ModelStatus:
    """Enter a training in the catalog, which gives it its version; age counts from this moment.

    Where a request with the key has entered one before, that one as it is now. Raises AlreadyTraining while the model
    is being trained, IdempotencyKeyReused, InvalidRequest for a request that is too long to be kept, MachineError where
    it cannot be written down, and what `check_names` does; nothing is entered then.
    """
    size = len(json.dumps(_kept(request)))
    if size > MAX_REQUEST_BYTES:
        raise InvalidRequest(
            f"the request is {size:,} bytes of JSON, at most {MAX_REQUEST_BYTES:,} are allowed; "
            "give fewer or shorter conditions, rules, pairs and tags, or tag the batches to use"
        )
    catalog, model_id = Catalog(settings.home), request.model_id or new_model_id()
    if key is None or not catalog.requests.knows(key):  # of a repeat, the training has begun, whatever is there now
        check_names(settings.home, request)
    return catalog.trainings.start(model_id, _kept(request), utc_now(), stage, key=key)


@contextmanager
def working_on(
    settings: Settings, request: TrainingRequest, version: int | None = None, watcher: Progress | None = None
) -> Iterator[Training]:
    """Work on a training as its only worker: the one that `enter` gave this version, or a new one.

    Whatever goes wrong inside ends the training in `error` and is raised again. Raises AlreadyTraining where another
    process works on the model, InvalidRequest where the version has ended.
    """
    model_id = request.model_id or new_model_id()
    with alone_with(settings, model_id):
        named = request.model_copy(update={"model_id": model_id})
        number = version if version is not None else enter(settings, named).version
        with _ending_in_error(resume(settings, model_id, number, watcher)) as training:
            yield training


def enter_refresh(settings: Settings, model_id: str, stage: Stage = "select") -> ModelStatus:
    """Enter a refresh of a model's live version in the catalog.

    Raises UnknownModel, ModelNotReady, and AlreadyTraining while the model is being trained or refreshed.
    """
    live = ModelVersions(settings.home, model_id).live().number
    trainings = Catalog(settings.home).trainings
    return trainings.start(model_id, trainings.get(model_id, live).request, utc_now(), stage, refresh_of=live)


@contextmanager
def refreshing(
    settings: Settings, model_id: str, version: int | None = None, watcher: Progress | None = None
) -> Iterator[Training]:
    """Work on a refresh of a model's live version as the model's only worker; see `deriving`."""
    with alone_with(settings, model_id), deriving(settings, model_id, version, watcher) as training:
        yield training


@contextmanager
def alone_with(settings: Settings, model_id: str) -> Iterator[None]:
    """Hold the model's lock; what an earlier holder left running is dead and is ended first.

    Raises AlreadyTraining where another process works on the model.
    """
    try:
        with telling(settings.home), _holding(settings.home, model_id, PATIENCE_SECONDS):
            for row in Catalog(settings.home).trainings.running():
                if row.status.model_id == model_id and row.status.stage != "queued":
                    _end_dead(settings, row)
            yield
    except Timeout:
        raise AlreadyTraining(f"another process works on model {model_id!r}; wait until it ends") from None


@contextmanager
def _holding(home: Path, model_id: str, patience_seconds: float = 0) -> Iterator[None]:
    """Hold the model's lock; afterwards neither the lock's file stays, nor a folder of the model with nothing in it.

    Raises Timeout where another process or thread holds it.
    """
    try:
        with working(home, _lock_name(model_id), patience_seconds):
            try:
                yield
            finally:
                ModelVersions(home, model_id).remove_empty()
    finally:
        forget(home, _lock_name(model_id))


@contextmanager
def deriving(
    settings: Settings, model_id: str, version: int | None = None, watcher: Progress | None = None
) -> Iterator[Training]:
    """Make a version from the live one that is not trained anew: the one that was entered, while it runs, or a new one.

    The caller holds the model's lock. Raises UnknownModel, ModelNotReady, and AlreadyTraining where a training waits
    for its worker.
    """
    if version is None or find(settings, model_id, version).has_ended:
        version = enter_refresh(settings, model_id).version
    with _ending_in_error(resume(settings, model_id, version, watcher)) as training:
        yield training


@contextmanager
def _ending_in_error(training: Training) -> Iterator[Training]:
    with about(model_id=training.model_id, version=training.version):
        try:
            with telling(training.settings.home):
                yield training
        except BaseException as error:
            with suppress(MachineError):  # the next sweep ends it
                fail(training, error)
            raise


def resume(settings: Settings, model_id: str, version: int, watcher: Progress | None = None) -> Training:
    """A training that runs, for whoever works on it, in whatever process; raises InvalidRequest where it has ended."""
    row = Catalog(settings.home).trainings.get(model_id, version)
    if row.status.status != "running":
        raise InvalidRequest(f"version {version} of model {model_id!r} has ended ({row.status.status}); train again")
    return _training(settings, row, watcher)


def find(settings: Settings, model_id: str, version: int) -> Training:
    """A training whether it runs or has ended; raises UnknownModel where nothing is known of it."""
    return _training(settings, Catalog(settings.home).trainings.get(model_id, version))


def _training(settings: Settings, row: TrainingRow, watcher: Progress | None = None) -> Training:
    status = row.status
    request = TrainingRequest.model_validate({**row.request, "model_id": status.model_id})
    return Training(settings, status.model_id, status.version, status.start_timestamp, request, row.refresh_of, watcher)


def fail(training: Training, error: BaseException) -> ModelStatus:
    """End a training in `error` with a message for the customer; what it left is removed.

    A refresh that found nothing ends well, with a message that says so.
    A training that is complete all the same ends well: its version answers from now on. Raises MachineError where that
    cannot be written down; the next sweep does it.
    """
    return _end(training.settings.home, training.model_id, training.version, error)


def _end(home: Path, model_id: str, version: int, error: BaseException, callback_url: str | None = None) -> ModelStatus:
    """See `fail`; the event for a callback URL is entered in the catalog together with the end."""
    catalog = Catalog(home)
    versions = ModelVersions(home, model_id)
    made = versions.version(version)
    owes = (lambda status: make_event(status, callback_url)) if callback_url else None
    with telling(made.folder):
        if made.is_complete:
            publish(catalog, versions, made, owes=owes)
        else:
            versions.remove_version(made)  # first, for that may make room
            cancelled = catalog.trainings.get(model_id, version).status.stage == "cancelling"
            status: RunStatus = "completed" if isinstance(error, NothingToRefresh) else "error"
            message = _CANCELLED if cancelled else customer_message(error)
            catalog.trainings.end(model_id, version, status, message, utc_now(), owes)
    return catalog.trainings.get(model_id, version).status


def call_back(training: Training) -> None:
    """Tell the customer how a training ended, if it was asked to; a callback that does not arrive fails nothing."""
    with suppress(MachineError):  # at most the catalog does not know of it
        if event := ended_event(training):
            deliver_patiently(training.settings, training.catalog, event)


def ended_event(training: Training, event_id: str | None = None, created: datetime | None = None) -> Event | None:
    """What to tell the customer who asked to be told; None where nobody did, or where the end is not written down yet.

    The next sweep writes it down then and tells the customer. `event_id` and `created` as in `make_event`.
    """
    url, status = training.request.callback_url, training.status
    return make_event(status, url, event_id, created) if url and status.status != "running" else None


def end_unbegun(settings: Settings, status: ModelStatus, error: BaseException) -> bool:
    """End a training that was entered but that no process will begin; a repeat of its request enters another.

    One for which a flow run was made meanwhile stays as it is, which False tells.
    """
    catalog = Catalog(settings.home)
    if catalog.trainings.get(status.model_id, status.version).flow_run_id is not None:
        return False
    catalog.requests.forget_training(status.model_id, status.version)
    _end(settings.home, status.model_id, status.version, error)
    return True


def cancel(settings: Settings, model_id: str) -> TrainingRow:
    """Ask the running training or refresh of a model to end, and return it.

    It ends in `error` with the message "cancelled": at once where it has no flow run yet, else when its process reports
    progress the next time, or by `sweep` where no process has begun it; one that is being published completes. Raises
    UnknownModel, NotTraining.
    """
    row = Catalog(settings.home).trainings.cancel(model_id)
    if row.flow_run_id is None:
        _end_if_dead(settings, row, lambda _run, _entered: "cancelled")
    return row


def sweep(settings: Settings, *, is_lost: IsLost, warnings: HealthWarnings | None = None) -> None:
    """End trainings whose process is gone, and remove what they left; what is owed to their customers is entered.

    A training that no process has begun is ended if `is_lost` says that its flow run never will begin it; one that
    waits for a flow run goes on waiting. What goes wrong with one model is a warning, and the others are swept all the
    same.
    """
    home, warnings = settings.home, warnings or HealthWarnings()
    with warnings.round("trainings") as each:
        for row in Catalog(home).trainings.running():
            model_id, version = row.status.model_id, row.status.version
            with (
                about(model_id=model_id, version=version),
                each.apart(model_id, f"the dead training of model {model_id!r} is not ended"),
            ):
                _end_if_dead(settings, row, is_lost)
    with warnings.round("held versions") as each:
        for row in Catalog(home).trainings.held():
            model_id, version = row.status.model_id, row.status.version
            with each.apart(model_id, f"what became of version {version} of model {model_id!r} is not written down"):
                versions = ModelVersions(home, model_id)
                settle(Catalog(home), versions, versions.version(version))
    with warnings.round("leftovers") as each:
        for folder in Home(home).models.glob("*"):
            failing = f"what is left in models/{folder.name} could not be removed"
            with each.apart(folder.name, failing), suppress(FileNotFoundError):  # deleted in this moment
                _clear(home, folder)
    for model_id in begun(home, _LOCK):
        forget(home, _lock_name(model_id))


def _end_if_dead(settings: Settings, row: TrainingRow, is_lost: IsLost) -> None:
    status = row.status
    waits = status.stage == "queued" and row.flow_run_id is None
    if waits or is_worked_on(settings.home, _lock_name(status.model_id)):
        return
    lost = status.stage != "queued" or is_lost(row.flow_run_id, status.start_timestamp)
    if lost:
        # By now a worker may have begun it, or another sweep ended it; or the model is deleted.
        with suppress(Timeout, UnknownModel), _holding(settings.home, status.model_id):
            if Catalog(settings.home).trainings.get(status.model_id, status.version).status.status == "running":
                _end_dead(settings, row, cancelled=lost == _CANCELLED)


def _end_dead(settings: Settings, row: TrainingRow, *, cancelled: bool = False) -> None:
    status = row.status
    died = _DIED if row.refresh_of is None else _REFRESH_DIED
    error = LucidError(_CANCELLED if cancelled else died)
    _end(settings.home, status.model_id, status.version, error, row.request.get("callback_url"))


def _clear(home: Path, folder: Path) -> None:
    """Remove what was being removed when its process died, and the folder of a model that has nothing in it."""
    if not folder.is_dir():
        return
    for removed in (folder, *folder.iterdir()):
        if removed.name.startswith(REMOVED):
            shutil.rmtree(removed, ignore_errors=True)
    model_id = text_of(folder.name)
    if model_id and folder.is_dir() and not any(folder.iterdir()):
        with suppress(Timeout), _holding(home, model_id):
            pass  # the folder goes with the lock


def _lock_name(model_id: str) -> str:
    return f"{_LOCK}{model_id}"


def _kept(request: TrainingRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"model_id"})


def customer_message(error: BaseException) -> str:
    """What a customer is told of the error that ended a training."""
    told: str | None = getattr(error, "for_customers", None)  # by our errors, and by what the flows raise
    if told:
        return told
    if isinstance(error, KeyboardInterrupt):  # Ctrl-C
        return _CANCELLED
    if not isinstance(error, Exception):  # another signal
        return _STOPPED
    return (
        f"the training failed unexpectedly ({type(error).__name__}); the operator finds details in the flow run's log"
    )


@contextmanager
def reporting(training: Training, stage: Stage, share: tuple[float, float], doing: str) -> Iterator[Progress]:
    """Tell the catalog and the watcher how far the training has come, and about how long it will take; spaced out.

    `share` is the part of the whole that the stage takes up, from and to percent; the progress that is given counts
    from 0 to 100 within it, and raises TrainingFailed where the training was cancelled.
    """
    (start, end), catalog, last, began = share, training.catalog, 0.0, time.monotonic()
    peak = Peak()
    clock = _clock(training)

    def progress(percent: float, doing: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            whole = start + (end - start) * percent / 100
            left = tell_left(clock.seconds_left(stage, percent, last - began))
            message = f"{doing}, {left}" if left else doing
            if training.watcher:
                training.watcher(whole, message)
            runs_on = catalog.trainings.set_progress(
                training.model_id, training.version, stage, round(whole, 1), message
            )
            if not runs_on and training.cancellable:
                raise TrainingFailed(_CANCELLED, code="cancelled")

    progress(0, doing)
    yield progress
    if stage != "publish":  # a published folder is not written to any more
        waited = cost.waited if stage == "select" and (cost := read_cost(training.folder)) else 0.0
        _record_time(training.folder, stage, time.monotonic() - began - waited)
        note_peak(training.folder, peak.bytes())


def _record_time(folder: Path, stage: Stage, seconds: float) -> None:
    (folder / TIMINGS).write_text(json.dumps({**read_timings(folder), stage: round(seconds, 2)}))


def _clock(training: Training) -> Clock:
    """Estimates what is left of a training that has come so far."""
    refresh = training.refresh_of is not None
    return Clock(read_timings(training.folder), last_timings(training.versions, refresh=refresh), refresh)
