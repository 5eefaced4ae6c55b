"""The steps of a training, and the lists of them: what a training does one after the other, and what a refresh does.

Each step reads what the one before left in the version's folder; all they hand over is a `Training`, a small value, and
never tables. Flows make their tasks from the lists; `train` and `refresh` run them in a row in this process.
"""

import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lucid.data.selection import interactions_among, read_selection, select
from lucid.errors import DamagedVersion, ModelNotReady, OutdatedVersion, UnknownModel
from lucid.graph.entity_index import EntityIndex
from lucid.graph.histories import InteractionHistory
from lucid.schema.fields import Stage, utc_now
from lucid.schema.training import ModelStatus, PrecomputePair, TrainingRequest
from lucid.settings import Settings
from lucid.training.report import read_report, write_report
from lucid.training.run import Training, call_back, refreshing, reporting, working_on
from lucid.typing import Progress
from lucid.versions import lifecycle
from lucid.versions.precompute import precompute as precompute_pairs
from lucid.versions.uploads import folded_views, uploads_since
from lucid.webhooks.callbacks import check_callback

if TYPE_CHECKING:
    from lucid.training.tuning import Before

# torch is imported inside the steps that use it: a command that trains nothing must not load it.

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """A step of a training, to be called with one.

    `stage` is what its status says meanwhile, `share` the part of the whole that it takes up, from and to percent, and
    `doing` what people read.
    """

    name: str
    stage: Stage
    share: tuple[float, float]
    doing: str
    work: Callable[[Training, Progress], T]

    def __call__(self, training: Training) -> T:
        """Do the step and return what it makes; raises TrainingFailed where the training was cancelled."""
        with reporting(training, self.stage, self.share, self.doing) as progress:
            return self.work(training, progress)


def _step(
    stage: Stage, share: tuple[float, float], doing: str
) -> Callable[[Callable[[Training, Progress], T]], Step[T]]:
    """Make a step of a function."""
    return lambda work: Step(work.__name__, stage, share, doing, work)


@_step("select", (0, 5), "choosing the data")
def select_data(training: Training, _progress: Progress) -> Path:
    """Choose the rows by tags and age; leaves `work/entities.parquet` and its fellows."""
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


@_step("build", (5, 10), "building the graph")
def build_graph(training: Training, _progress: Progress) -> Path:
    """Turn the rows into a typed graph; leaves `work/graph.safetensors`."""
    from lucid.graph.typed_graph import build, write_graph

    write_graph(build(read_selection(training.work)), training.work)
    return training.work


@_step("fit", (10, 70), "fitting the model")
def fit_model(training: Training, progress: Progress) -> Path:
    """Choose on held-out interactions, then fit on everything; leaves vectors and `config.json`."""
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


@_step("evaluate", (70, 75), "judging on held-out interactions")
def evaluate_model(training: Training, _progress: Progress) -> Path:
    """Judge the choice on held-out interactions that nothing was chosen on; leaves `report.json`."""
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


@_step("build", (5, 10), "taking over the vectors")
def take_over(training: Training, _progress: Progress) -> Path:
    """Give a refresh the vectors of the version it refreshes, with what has been uploaded since folded in."""
    assert training.refresh_of is not None
    home = training.settings.home
    source = lifecycle.version_folder(home, training.model_id, training.refresh_of)
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
    lifecycle.write_interacted(training.folder, InteractionHistory.from_edges(model.config.entity_types.size, *edges))
    return training.folder


@_step("precompute", (75, 97), "precomputing recommendations")
def precompute(training: Training, progress: Progress) -> int:
    """Compute recommendations ahead; returns how many."""
    return precompute_pairs(training.folder, _pairs(training), progress)


@_step("publish", (97, 100), "publishing")
def publish(training: Training, _progress: Progress) -> ModelStatus:
    """Let the version answer and say so in the catalog; returns the final status."""
    shutil.rmtree(training.work, ignore_errors=True)
    lifecycle.complete(training.settings.home, training.model_id, training.version, training.refresh_of, utc_now())
    lifecycle.go_live(training.settings.home, training.model_id, training.version)
    lifecycle.prune(training.settings.home, training.model_id, training.settings.keep_versions)
    training.catalog.end_training(training.model_id, training.version, "completed", "", utc_now())
    return training.catalog.training(training.model_id, training.version).status


TRAINING: tuple[Step[Any], ...] = (select_data, build_graph, fit_model, evaluate_model, precompute, publish)
"""What a training does."""
REFRESH: tuple[Step[Any], ...] = (select_data, take_over, precompute, publish)
"""What a refresh does, which makes a version of another without training anew."""


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
            for step in TRAINING:
                step(training)
            return training.catalog.training(training.model_id, training.version).status
    finally:
        if ended:
            call_back(ended)


def refresh(settings: Settings, model_id: str, watcher: Progress | None = None) -> ModelStatus:
    """Refresh a model's live version in this process and return the final status; raises as `refreshing` does."""
    with refreshing(settings, model_id, watcher) as training:
        for step in REFRESH:
            step(training)
        return training.catalog.training(training.model_id, training.version).status


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
