"""A training from start to end, step by step: each step reads what the one before left in the version's folder.

Flows call the steps as tasks; `train` runs them in a row without a server. The steps hand over a `Training`, a small
value, and never tables.
"""

import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock

from lucid import artifact
from lucid.catalog import Catalog
from lucid.dataset import interactions_among, read_selection, select
from lucid.errors import LucidError
from lucid.ingest import Progress, remove_batch_files
from lucid.locks import forget_lock, is_worked_on, work_lock
from lucid.notify import check_callback_url, deliver_patiently, make_event
from lucid.precompute import precompute as precompute_pairs
from lucid.report import read_report, write_report
from lucid.schema import ModelStatus, PrecomputePair, Stage, TrainingRequest, utc_now
from lucid.scoring import Interacted
from lucid.settings import Settings

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
_REPORT_SECONDS = 0.5
GRACE_SECONDS = 30


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
        return artifact.version_folder(self.settings.home, self.model_id, self.version)

    @property
    def work(self) -> Path:
        """Files that only the steps between select and publish need."""
        return self.folder / "work"

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.settings.home)

    def lock(self) -> FileLock:
        """Held by the process that works on the training, so that others can tell whether it lives."""
        return work_lock(self.settings.home, _lock_name(self.model_id, self.version))


def new_model_id() -> str:
    return f"model-{secrets.token_hex(4)}"


def enter(settings: Settings, request: TrainingRequest, stage: Stage = "select") -> ModelStatus:
    """Enter a training in the catalog, which gives it its version; age counts from this moment.

    Raises AlreadyTraining while the model is being trained.
    """
    model_id = request.model_id or new_model_id()
    status = Catalog(settings.home).start_training(model_id, _kept(request), utc_now(), stage)
    artifact.model_folder(settings.home, model_id).mkdir(parents=True, exist_ok=True)
    return status


def resume(settings: Settings, model_id: str, version: int, watcher: Progress | None = None) -> Training:
    """The training that `enter` entered; raises UnknownModel."""
    row = Catalog(settings.home).training(model_id, version)
    request = TrainingRequest.model_validate({**row.request, "model_id": model_id})
    return Training(settings, model_id, version, row.status.start_timestamp, request, row.refresh_of, watcher)


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
        )
    return training.work


def build_graph(training: Training) -> Path:
    """Turn the rows into a typed graph; leaves `work/graph.safetensors`."""
    with _stage(training, "build", "building the graph"):
        from lucid.graph import build, write_graph

        write_graph(build(read_selection(training.work)), training.work)
    return training.work


def fit_model(training: Training) -> Path:
    """Choose on held-out interactions, then fit on everything; leaves vectors and `config.json`."""
    with _stage(training, "fit", "fitting the model") as progress:
        from lucid.evaluate import interacted_rows, split
        from lucid.graph import read_graph
        from lucid.model import choose, refit

        graph, seed = read_graph(training.work), training.settings.seed
        chosen = choose(graph, split(graph, seed), seed, lambda percent, doing: progress(0.85 * percent, doing))
        _write_fitted(training.work, graph, chosen, seed)
        progress(85, "fitting on everything")
        fitted = refit(graph, chosen, seed)
        _write_fitted(training.folder, graph, fitted, seed)
        artifact.write_interacted(training.folder, interacted_rows(graph))
        shutil.copyfile(training.work / artifact.ENTITIES, training.folder / artifact.ENTITIES)
    return training.folder


def evaluate_model(training: Training) -> Path:
    """Judge the choice on held-out interactions that nothing was chosen on; leaves `report.json`."""
    with _stage(training, "evaluate", "judging on held-out interactions"):
        from lucid.evaluate import report_pairs, split
        from lucid.graph import read_graph

        graph = read_graph(training.work)
        config = artifact.read_config(training.work)
        vectors = artifact.read_vectors(training.work, config.damping)
        quality = report_pairs(split(graph, training.settings.seed), vectors, list(config.pairs.values()))
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
    return training.folder / artifact.REPORT


def precompute(training: Training) -> int:
    """Compute recommendations ahead; returns how many."""
    with _stage(training, "precompute", "precomputing recommendations") as progress:
        return precompute_pairs(training.folder, _pairs(training), progress)


def publish(training: Training) -> ModelStatus:
    """Let the version answer and say so in the catalog; returns the final status."""
    with _stage(training, "publish", "publishing"):
        shutil.rmtree(training.work, ignore_errors=True)
        artifact.publish(training.settings.home, training.model_id, training.version, utc_now())
        artifact.prune(training.settings.home, training.model_id, training.settings.keep_versions)
    training.catalog.end_training(training.model_id, training.version, "completed", "", utc_now())
    return training.catalog.training(training.model_id, training.version).status


def fail(training: Training, error: BaseException) -> ModelStatus:
    """End a training in `error` with a message for the customer; what it left is removed.

    A training that was published all the same is completed: the version answers.
    """
    catalog = training.catalog
    if artifact.is_complete(training.settings.home, training.model_id, training.version):
        catalog.end_training(training.model_id, training.version, "completed", "", utc_now())
    else:
        artifact.remove_version(training.settings.home, training.model_id, training.version)
        catalog.end_training(training.model_id, training.version, "error", _customer_message(error), utc_now())
    return catalog.training(training.model_id, training.version).status


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
        check_callback_url(request.callback_url, allow_private=settings.callback_allow_private)
    entered = enter(settings, request)
    training = resume(settings, entered.model_id, entered.version, watcher)
    try:
        with working_on(training):
            for step in STEPS:
                step(training)
            return publish(training)
    finally:
        if request.callback_url:
            status = training.catalog.training(training.model_id, training.version).status
            deliver_patiently(settings, training.catalog, make_event(status, request.callback_url))


def enter_refresh(settings: Settings, model_id: str) -> ModelStatus:
    """Enter a refresh of a model's live version under the next version number.

    Raises UnknownModel, ModelNotReady, and AlreadyTraining while the model is being trained.
    """
    catalog, live = Catalog(settings.home), artifact.live_version(settings.home, model_id)
    request = TrainingRequest.model_validate({**catalog.training(model_id, live).request, "model_id": model_id})
    return catalog.start_training(model_id, _kept(request), utc_now(), "select", refresh_of=live)


def take_over(training: Training) -> Path:
    """Give a refresh the vectors of the version it refreshes, and the interactions that have come in since."""
    assert training.refresh_of is not None
    source = artifact.version_folder(training.settings.home, training.model_id, training.refresh_of)
    with _stage(training, "build", "taking over the vectors"):
        config = artifact.read_config(source)
        for name in (artifact.EMBEDDINGS, artifact.ENTITIES, artifact.CONFIG, artifact.REPORT):
            shutil.copyfile(source / name, training.folder / name)
        edges = interactions_among(training.work, source / artifact.ENTITIES)
        artifact.write_interacted(training.folder, Interacted.from_edges(config.vocabulary.size, *edges))
    return training.folder


@contextmanager
def working_on(training: Training) -> Iterator[None]:
    """Hold the training's lock; whatever goes wrong inside ends the training in `error` and is raised again."""
    try:
        with training.lock():
            try:
                yield
            except BaseException as error:
                fail(training, error)
                raise
    finally:
        forget_lock(training.settings.home, _lock_name(training.model_id, training.version))


def end_unbegun(settings: Settings, status: ModelStatus, error: LucidError) -> ModelStatus:
    """End a training that was entered but that no process will begin."""
    return fail(resume(settings, status.model_id, status.version), error)


def sweep(settings: Settings, *, is_lost: Callable[[str | None], bool], grace_seconds: float = GRACE_SECONDS) -> None:
    """End trainings and imports whose process is gone, and remove what they left.

    `is_lost` tells for the flow run of work that no process has begun whether it never will begin. Work that was
    entered moments ago is left alone: its process may be about to take its lock.
    """
    catalog, young = Catalog(settings.home), utc_now() - timedelta(seconds=grace_seconds)
    for row in catalog.running_trainings():
        status = row.status
        if status.start_timestamp > young or is_worked_on(settings.home, _lock_name(status.model_id, status.version)):
            continue
        if status.stage != "queued" or is_lost(row.flow_run_id):
            training = resume(settings, status.model_id, status.version)
            fail(training, LucidError("the training process ended before it was done; train again"))
    for batch_id, flow_run_id, entered in catalog.running_batches():
        if entered > young or is_worked_on(settings.home, f"import-{batch_id}"):
            continue
        if (settings.home / "batches" / f".staging-{batch_id}").exists() or is_lost(flow_run_id):
            catalog.fail_batches(
                [batch_id], "the import process ended before it was done; upload again", "import_stopped"
            )
            remove_batch_files(settings.home, batch_id)


def _lock_name(model_id: str, version: int) -> str:
    return f"train-{model_id}-{version}"


def _kept(request: TrainingRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"model_id"})


def _pairs(training: Training) -> list[PrecomputePair]:
    """Pairs that interactions link directly, and those that the request adds or changes."""
    linked = read_report(training.folder)["graph"]["pairs"]
    pairs = {(source, target): PrecomputePair(source_type=source, target_type=target) for source, target in linked}
    pairs |= {(pair.source_type, pair.target_type): pair for pair in training.request.precompute or ()}
    return list(pairs.values())


def _write_fitted(folder: Path, graph: Any, fitted: Any, seed: int) -> None:
    artifact.write_vectors(folder, fitted.vectors)
    pairs = {(pair.source_type, pair.target_type): pair for pair in fitted.pairs}
    artifact.write_config(
        folder,
        artifact.Config(graph.vocabulary, pairs, fitted.vectors.damping, asdict(fitted.choice), seed),
    )


def _customer_message(error: BaseException) -> str:
    if isinstance(error, LucidError):
        return error.message
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "the training was stopped before it was done; train again"
    if isinstance(error, MemoryError):
        return "the training ran out of memory; use less data (data_tags, maximum_interaction_age_days) or more memory"
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
        whole = start + (end - start) * percent / 100
        if training.watcher:
            training.watcher(whole, message)
        if time.monotonic() - last >= _REPORT_SECONDS:
            last = time.monotonic()
            catalog.set_progress(training.model_id, training.version, stage, round(whole, 1), message)

    progress(0, doing)
    began = time.monotonic()
    yield progress
    if stage != "publish":  # a published folder is not written to any more
        _record_time(training.folder, stage, time.monotonic() - began)


def _record_time(folder: Path, stage: Stage, seconds: float) -> None:
    path = folder / "timings.json"
    timings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**timings, stage: round(seconds, 2)}))


def read_timings(settings: Settings, model_id: str, version: int) -> dict[str, float]:
    """Seconds that each stage of a version's training took."""
    timings: dict[str, float] = json.loads(
        (artifact.version_folder(settings.home, model_id, version) / "timings.json").read_text()
    )
    return timings
