"""A training from start to end, step by step: each step reads what the one before left in the version's folder.

Flows call the steps as tasks; `train` runs them in a row without a server. The steps hand over a `Training`, a small
value, and never tables.
"""

import json
import math
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from lucid.data.selection import interactions_among, read_selection, select
from lucid.errors import (
    AlreadyTraining,
    DamagedVersion,
    InvalidRequest,
    LucidError,
    MachineError,
    ModelNotReady,
    OutdatedVersion,
    TrainingFailed,
    UnknownModel,
)
from lucid.graph.entity_index import EntityIndex
from lucid.graph.histories import InteractionHistory
from lucid.health import HealthWarnings
from lucid.schema.fields import RunStatus, Stage, utc_now
from lucid.schema.training import ModelStatus, PrecomputePair, TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog, Event, RequestKey, TrainingRow
from lucid.store.locks import PATIENCE_SECONDS, begun, forget, is_worked_on, text_of, working
from lucid.store.machine import telling
from lucid.training.report import read_report, write_report
from lucid.typing import IsLost, Progress
from lucid.versions import lifecycle
from lucid.versions.precompute import precompute as precompute_pairs
from lucid.versions.uploads import folded_views, uploads_since
from lucid.webhooks.callbacks import check_callback, deliver_patiently, make_event

if TYPE_CHECKING:
    from lucid.training.tuning import Before

# torch is imported inside the steps that use it: starting a training from the API must not load it.

_SHARE: dict[Stage, tuple[float, float]] = {
    "queued": (0, 0),
    "select": (0, 5),
    "build": (5, 10),
    "fit": (10, 70),
    "evaluate": (70, 75),
    "precompute": (75, 97),
    "publish": (97, 100),
}
"""Part of the whole, in percent, that each stage takes up."""
MAX_REQUEST_BYTES = 100_000
"""How long a request may be in JSON: it stays in the catalog, where every refresh repeats it, and DuckDB gives
long texts blocks of 256 kB."""
_REPORT_SECONDS = 0.5
_CANCELLED = "cancelled"
_LOCK = "train-"


@dataclass(frozen=True)
class Training:
    """A running training: which version it makes and what it was asked to do.

    `refresh_of` names the version whose vectors a refresh takes over instead of fitting new ones.
    """

    settings: Settings
    model_id: str
    version: int
    started: datetime
    request: TrainingRequest
    refresh_of: int | None = None
    watcher: Progress | None = None

    @property
    def folder(self) -> Path:
        return lifecycle.version_folder(self.settings.home, self.model_id, self.version)

    @property
    def work(self) -> Path:
        """Files that only the steps between select and publish need."""
        return self.folder / "work"

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.home)


def new_model_id() -> str:
    return f"model-{secrets.token_hex(4)}"


def enter(
    settings: Settings, request: TrainingRequest, stage: Stage = "select", key: RequestKey | None = None
) -> ModelStatus:
    """Enter a training in the catalog, which gives it its version; age counts from this moment.

    Where a request with the key has entered one before, that one as it is now. Raises AlreadyTraining while the model
    is being trained, IdempotencyKeyReused, InvalidRequest for a request that is too long to be kept, MachineError where
    it cannot be written down; nothing is entered then.
    """
    size = len(json.dumps(_kept(request)))
    if size > MAX_REQUEST_BYTES:
        raise InvalidRequest(
            f"the request is {size:,} bytes of JSON, at most {MAX_REQUEST_BYTES:,} are allowed; "
            "give fewer or shorter conditions, rules, pairs and tags, or tag the batches to use"
        )
    model_id = request.model_id or new_model_id()
    return Catalog(settings.home).start_training(model_id, _kept(request), utc_now(), stage, key=key)


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
        with _ending_in_error(_resume(settings, model_id, number, watcher)) as training:
            yield training


@contextmanager
def refreshing(settings: Settings, model_id: str, watcher: Progress | None = None) -> Iterator[Training]:
    """Work on a refresh of a model's live version as the model's only worker; see `succeeding`."""
    with alone_with(settings, model_id), succeeding(settings, model_id, watcher) as training:
        yield training


@contextmanager
def alone_with(settings: Settings, model_id: str) -> Iterator[None]:
    """Hold the model's lock; what an earlier holder left running is dead and is ended first.

    Raises AlreadyTraining where another process works on the model.
    """
    try:
        with telling(settings.home), _holding(settings.home, model_id, PATIENCE_SECONDS):
            for row in Catalog(settings.home).running_trainings():
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
                lifecycle.remove_empty(home, model_id)
    finally:
        forget(home, _lock_name(model_id))


@contextmanager
def succeeding(settings: Settings, model_id: str, watcher: Progress | None = None) -> Iterator[Training]:
    """Make a successor of the live version that is not trained anew and gets the next version number.

    The caller holds the model's lock. Raises UnknownModel, ModelNotReady, and AlreadyTraining where a training waits
    for its worker.
    """
    live = lifecycle.live_version(settings.home, model_id)
    catalog = Catalog(settings.home)
    request = catalog.training(model_id, live).request
    entered = catalog.start_training(model_id, request, utc_now(), "select", refresh_of=live)
    with _ending_in_error(_resume(settings, model_id, entered.version, watcher)) as training:
        yield training


@contextmanager
def _ending_in_error(training: Training) -> Iterator[Training]:
    try:
        with telling(training.settings.home):
            yield training
    except BaseException as error:
        with suppress(MachineError):  # the next sweep ends it
            fail(training, error)
        raise


def _resume(settings: Settings, model_id: str, version: int, watcher: Progress | None) -> Training:
    row = Catalog(settings.home).training(model_id, version)
    if row.status.status != "running":
        raise InvalidRequest(f"version {version} of model {model_id!r} has ended ({row.status.status}); train again")
    return _training(settings, row, watcher)


def _training(settings: Settings, row: TrainingRow, watcher: Progress | None = None) -> Training:
    status = row.status
    request = TrainingRequest.model_validate({**row.request, "model_id": status.model_id})
    return Training(settings, status.model_id, status.version, status.start_timestamp, request, row.refresh_of, watcher)


def select_data(training: Training) -> Path:
    """Choose the rows by tags and age; leaves `work/entities.parquet` and its fellows."""
    with _stage(training, "select", "choosing the data"):
        catalog = training.catalog
        batches = catalog.select_batches(training.request.data_tags)
        catalog.set_training_batches(training.model_id, training.version, [batch.batch_id for batch in batches])
        shutil.rmtree(training.folder, ignore_errors=True)
        select(
            training.settings.home,
            batches,
            training.work,
            started=training.started,
            maximum_interaction_age_days=training.request.maximum_interaction_age_days,
            data_filters=training.request.data_filters,
            metadata_rules=training.request.metadata_rules,
        )
    return training.work


def build_graph(training: Training) -> Path:
    """Turn the rows into a typed graph; leaves `work/graph.safetensors`."""
    with _stage(training, "build", "building the graph"):
        from lucid.graph.typed_graph import build, write_graph

        write_graph(build(read_selection(training.work)), training.work)
    return training.work


def fit_model(training: Training) -> Path:
    """Choose on held-out interactions, then fit on everything; leaves vectors and `config.json`."""
    with _stage(training, "fit", "fitting the model") as progress:
        from lucid.evaluation.quality import interacted_rows, split
        from lucid.graph.typed_graph import read_graph
        from lucid.model.decomposition import Solver, weighted_edges
        from lucid.training.tuning import choose, refit

        graph, seed = read_graph(training.work), training.settings.seed
        solver = Solver.of(seed, training.settings.device)
        chosen = choose(
            graph,
            split(graph, seed),
            solver,
            lambda percent, doing: progress(0.85 * percent, doing),
            _settings_before(training),
        )
        _write_fitted(training.work, graph, chosen, seed)
        progress(85, "fitting on everything")
        fitted = refit(graph, chosen, solver)
        _write_fitted(training.folder, graph, fitted, seed)
        lifecycle.write_interacted(training.folder, interacted_rows(graph))
        edges, relations = weighted_edges(graph, fitted.choice.weights)
        lifecycle.write_edges(training.folder, edges)
        lifecycle.write_origin(training.folder, _origin(training, relations, graph.times()[1]))
        for name in (lifecycle.ENTITIES, lifecycle.VALUES):
            shutil.copyfile(training.work / name, training.folder / name)
    return training.folder


def evaluate_model(training: Training) -> Path:
    """Judge the choice on held-out interactions that nothing was chosen on; leaves `report.json`."""
    with _stage(training, "evaluate", "judging on held-out interactions"):
        from lucid.evaluation.quality import report_pairs, split
        from lucid.graph.typed_graph import read_graph

        graph = read_graph(training.work)
        config = lifecycle.read_config(training.work)
        views = lifecycle.read_views(training.work, config)
        quality = report_pairs(split(graph, training.settings.seed), views, list(config.pairs.values()))
        selection = read_selection(training.work)
        write_report(
            training.folder,
            training.model_id,
            training.version,
            selection,
            graph.counts(),
            config.chosen,
            quality,
        )
    return training.folder / lifecycle.REPORT


def precompute(training: Training) -> int:
    """Compute recommendations ahead; returns how many."""
    with _stage(training, "precompute", "precomputing recommendations") as progress:
        return precompute_pairs(training.folder, _pairs(training), progress)


def publish(training: Training) -> ModelStatus:
    """Let the version answer and say so in the catalog; returns the final status."""
    with _stage(training, "publish", "publishing"):
        shutil.rmtree(training.work, ignore_errors=True)
        lifecycle.complete(training.settings.home, training.model_id, training.version, training.refresh_of, utc_now())
        lifecycle.go_live(training.settings.home, training.model_id, training.version)
        lifecycle.prune(training.settings.home, training.model_id, training.settings.keep_versions)
    training.catalog.end_training(training.model_id, training.version, "completed", "", utc_now())
    return training.catalog.training(training.model_id, training.version).status


def fail(training: Training, error: BaseException) -> ModelStatus:
    """End a training in `error` with a message for the customer; what it left is removed.

    A training that is complete all the same ends well: its version answers from now on. Raises MachineError where that
    cannot be written down; the next sweep does it.
    """
    return _end(training.settings.home, training.model_id, training.version, error)


def _end(home: Path, model_id: str, version: int, error: BaseException, callback_url: str | None = None) -> ModelStatus:
    """See `fail`; the event for a callback URL is entered in the catalog together with the end."""
    catalog = Catalog(home)
    outcome: tuple[RunStatus, str] = "completed", ""
    with telling(lifecycle.version_folder(home, model_id, version)):
        if lifecycle.is_complete(home, model_id, version):
            lifecycle.go_live(home, model_id, version)
        else:
            lifecycle.remove_version(home, model_id, version)  # first, for that may make room
            cancelled = catalog.training(model_id, version).status.stage == "cancelling"
            outcome = "error", _CANCELLED if cancelled else _customer_message(error)
        owes = (lambda status: make_event(status, callback_url)) if callback_url else None
        catalog.end_training(model_id, version, *outcome, utc_now(), owes)
    return catalog.training(model_id, version).status


STEPS: tuple[Callable[[Training], Any], ...] = (
    select_data,
    build_graph,
    fit_model,
    evaluate_model,
    precompute,
)


def train(settings: Settings, request: TrainingRequest, watcher: Progress | None = None) -> ModelStatus:
    """Run a whole training in this process, callback included, and return its final status.

    Raises what made it fail, CallbackRefused before anything has begun. A callback that cannot be delivered fails
    nothing; the catalog holds its outcome.
    """
    if request.callback_url:
        check_callback(settings, request.callback_url)
    ended: Training | None = None
    try:
        with working_on(settings, request, watcher=watcher) as training:
            ended = training
            for step in STEPS:
                step(training)
            return publish(training)
    finally:
        if ended:
            call_back(ended)


def call_back(training: Training) -> None:
    """Tell the customer how a training ended, if it was asked to; a callback that does not arrive fails nothing."""
    with suppress(MachineError):  # at most the catalog does not know of it
        if event := ended_event(training):
            deliver_patiently(training.settings, training.catalog, event)


def ended_event(training: Training) -> Event | None:
    """What to tell the customer who asked to be told; None where nobody did, or where the end is not written down yet.

    The next sweep writes it down then and tells the customer.
    """
    url, status = training.request.callback_url, training.catalog.training(training.model_id, training.version).status
    return make_event(status, url) if url and status.status != "running" else None


def take_over(training: Training) -> Path:
    """Give a refresh the vectors of the version it refreshes, with what has been uploaded since folded in."""
    assert training.refresh_of is not None
    home = training.settings.home
    source = lifecycle.version_folder(home, training.model_id, training.refresh_of)
    with _stage(training, "build", "taking over the vectors"):
        lifecycle.expect_sound(source, thoroughly=True)
        with lifecycle.reading(source):
            model, origin = lifecycle.read_model(source), lifecycle.read_origin(source)
            index = EntityIndex(source / lifecycle.TEXTS)
        uploads = uploads_since(home, source, model.config, origin, training.request, index, now=training.started)
        lifecycle.write_views(training.folder, folded_views(model, uploads))
        selected = set(read_selection(training.work).batch_ids)
        folded = sorted({*origin.folded_ids, *selected} - set(origin.batch_ids))
        lifecycle.write_origin(training.folder, replace(origin, folded_ids=folded))
        for name in (lifecycle.ENTITIES, lifecycle.VALUES, lifecycle.EDGES, lifecycle.CONFIG, lifecycle.REPORT):
            shutil.copyfile(source / name, training.folder / name)
        edges = interactions_among(training.work, source / lifecycle.ENTITIES)
        lifecycle.write_interacted(
            training.folder, InteractionHistory.from_edges(model.config.entity_types.size, *edges)
        )
    return training.folder


def end_unbegun(settings: Settings, status: ModelStatus, error: LucidError) -> ModelStatus:
    """End a training that was entered but that no process will begin; a repeat of its request enters another.

    One for which a repeat has made a flow run meanwhile goes on.
    """
    catalog = Catalog(settings.home)
    row = catalog.training(status.model_id, status.version)
    if row.flow_run_id is not None:
        return row.status
    catalog.forget_training_key(status.model_id, status.version)
    return _end(settings.home, status.model_id, status.version, error)


def cancel(settings: Settings, model_id: str) -> TrainingRow:
    """Ask the running training of a model to end, and return it.

    It ends in `error` with the message "cancelled" when its process reports progress the next time, or by `sweep` where
    no process has begun it; one that is being published completes. Raises UnknownModel, NotTraining.
    """
    return Catalog(settings.home).cancel_training(model_id)


def sweep(settings: Settings, *, is_lost: IsLost, warnings: HealthWarnings | None = None) -> None:
    """End trainings whose process is gone, and remove what they left; what is owed to their customers is entered.

    A training that no process has begun is ended if `is_lost` says that its flow run never will begin it. What goes
    wrong with one model is a warning, and the others are swept all the same.
    """
    home, warnings = settings.home, warnings or HealthWarnings()
    with warnings.round("trainings") as each:
        for row in Catalog(home).running_trainings():
            with each.apart(row.status.model_id, f"the dead training of model {row.status.model_id!r} is not ended"):
                _end_if_dead(settings, row, is_lost)
    with warnings.round("leftovers") as each:
        for folder in (home / "models").glob("*"):
            failing = f"what is left in models/{folder.name} could not be removed"
            with each.apart(folder.name, failing), suppress(FileNotFoundError):  # deleted in this moment
                _clear(home, folder)
    for model_id in begun(home, _LOCK):
        forget(home, _lock_name(model_id))


def _end_if_dead(settings: Settings, row: TrainingRow, is_lost: IsLost) -> None:
    status = row.status
    if is_worked_on(settings.home, _lock_name(status.model_id)):
        return
    if status.stage != "queued" or is_lost(row.flow_run_id, status.start_timestamp):
        # By now a worker may have begun it, or another sweep ended it; or the model is deleted.
        with suppress(Timeout, UnknownModel), _holding(settings.home, status.model_id):
            if Catalog(settings.home).training(status.model_id, status.version).status.status == "running":
                _end_dead(settings, row)


def _end_dead(settings: Settings, row: TrainingRow) -> None:
    status = row.status
    if row.flow_run_id is None:  # the call that entered it was cut short before it answered
        Catalog(settings.home).forget_training_key(status.model_id, status.version)
    error = LucidError("the training process ended before it was done; train again")
    _end(settings.home, status.model_id, status.version, error, row.request.get("callback_url"))


def _clear(home: Path, folder: Path) -> None:
    """Remove what was being removed when its process died, and the folder of a model that has nothing in it."""
    if not folder.is_dir():
        return
    for removed in (folder, *folder.iterdir()):
        if removed.name.startswith(lifecycle.REMOVED):
            shutil.rmtree(removed, ignore_errors=True)
    model_id = text_of(folder.name)
    if model_id and folder.is_dir() and not any(folder.iterdir()):
        with suppress(Timeout), _holding(home, model_id):
            pass  # the folder goes with the lock


def _lock_name(model_id: str) -> str:
    return f"{_LOCK}{model_id}"


def _kept(request: TrainingRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"model_id"})


def _settings_before(training: Training) -> "Before | None":
    """Settings of the live version; None where there is none to be read, as for a model that is new."""
    from lucid.model.decomposition import Weights
    from lucid.training.tuning import Before

    home, model_id = training.settings.home, training.model_id
    try:
        folder = lifecycle.version_folder(home, model_id, lifecycle.live_version(home, model_id))
        with lifecycle.reading(folder):
            config = lifecycle.read_config(folder)
    except (ModelNotReady, UnknownModel, OutdatedVersion, DamagedVersion):
        return None
    readings = {kinds: (pair.view, pair.response) for kinds, pair in config.pairs.items()}
    return Before([Weights(**weights) for weights in config.chosen["weights"]], readings)


def _origin(training: Training, relations: list[str], newest: float) -> lifecycle.Origin:
    selection = read_selection(training.work)
    return lifecycle.Origin(
        selection.batch_ids,
        [],
        {key.key: key.kind for key in selection.keys},
        relations,
        newest if math.isfinite(newest) else None,
    )


def _pairs(training: Training) -> list[PrecomputePair]:
    """Pairs that interactions link directly, and those that the request adds or changes."""
    linked = read_report(training.folder)["graph"]["pairs"]
    pairs = {(source, target): PrecomputePair(source_type=source, target_type=target) for source, target in linked}
    pairs |= {(pair.source_type, pair.target_type): pair for pair in training.request.precompute or ()}
    return list(pairs.values())


def _write_fitted(folder: Path, graph: Any, fitted: Any, seed: int) -> None:
    lifecycle.write_views(folder, fitted.views)
    pairs = {(pair.source_type, pair.target_type): pair for pair in fitted.pairs}
    dampings = tuple(view.damping for view in fitted.views)
    lifecycle.write_config(
        folder,
        lifecycle.Config(graph.entity_types, pairs, fitted.common, dampings, asdict(fitted.choice), seed),
    )


def _customer_message(error: BaseException) -> str:
    if isinstance(error, LucidError):
        return error.for_customers
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "the training was stopped before it was done; train again"
    return (
        f"the training failed unexpectedly ({type(error).__name__}); the operator finds details in the flow run's log"
    )


@contextmanager
def _stage(training: Training, stage: Stage, doing: str) -> Iterator[Progress]:
    """Tell the catalog and the watcher how far the training has come; writes are spaced out."""
    start, end = _SHARE[stage]
    catalog, last = training.catalog, 0.0

    def progress(percent: float, message: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            whole = start + (end - start) * percent / 100
            if training.watcher:
                training.watcher(whole, message)
            if not catalog.set_progress(training.model_id, training.version, stage, round(whole, 1), message):
                raise TrainingFailed(_CANCELLED, code="cancelled")

    progress(0, doing)
    began = time.monotonic()
    yield progress
    if stage != "publish":  # a published folder is not written to any more
        _record_time(training.folder, stage, time.monotonic() - began)


def _record_time(folder: Path, stage: Stage, seconds: float) -> None:
    path = folder / "timings.json"
    timings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**timings, stage: round(seconds, 2)}))
