"""The steps of a training, and the lists of them: what a training does one after the other, and what a refresh does.

Each step reads what the one before left in the version's folder; all they hand over is a `Training`, a small value, and
never tables. Flows make their tasks from the lists; `train` and `refresh` run them in a row in this process.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lucid.data.activity import activity_among
from lucid.data.drift import find_drift, read_drift, write_drift
from lucid.data.event_batches import compact_events
from lucid.data.links import KNOWN_RANGES, KNOWN_WORDS
from lucid.data.selection import (
    INTERACTIONS_FILE,
    LEFT_OUT_FILE,
    Selection,
    interactions_among,
    read_selection,
    select,
)
from lucid.data.strengths import StrengthRule
from lucid.errors import (
    Damaged,
    DamagedVersion,
    ModelNotReady,
    NothingToRefresh,
    OutdatedVersion,
    TrainingFailed,
    UnknownModel,
)
from lucid.evaluation.pair_quality import Bootstrap
from lucid.graph.activity import Activity
from lucid.graph.histories import InteractionHistory
from lucid.placements.files import Placements
from lucid.placements.precomputed import precompute_placements
from lucid.schema.fields import Stage, utc_now
from lucid.schema.training import ModelStatus, TrainingRequest
from lucid.settings import Settings
from lucid.store.locks import forget, working
from lucid.store.tables.batches import SelectedBatch
from lucid.training.budget import Budget
from lucid.training.chosen import read_chosen, write_chosen
from lucid.training.estimate import Cost, estimate, note_less, read_cost, write_cost
from lucid.training.gate import why_held
from lucid.training.held_out import read_held_out, write_held_out
from lucid.training.memory import used_bytes
from lucid.training.parts import Opened, PartWork
from lucid.training.publishing import publish as end_well
from lucid.training.remaining import read_timings
from lucid.training.report import TrainingReport, count_graph, judge, read_report, write_report
from lucid.training.room import here, most, room, share, too_large, waits, worker
from lucid.training.run import Training, call_back, refreshing, reporting, working_on
from lucid.training.workload import Workload, count_workload
from lucid.typing import Progress
from lucid.versions.config import Origin, VersionConfig, read_config, write_config, write_origin
from lucid.versions.derive import derive
from lucid.versions.files import (
    ACTIVITY,
    ADJACENCY,
    CONFIG,
    EMBEDDINGS,
    ENTITIES,
    FOLLOWS,
    HELD_OUT,
    HISTORY,
    ORIGIN,
    REPORT,
    VALUES,
    read_embeddings,
    write_adjacency,
    write_embeddings,
    write_follows,
    write_history,
)
from lucid.versions.precompute import Partition, find_best, find_here, pairs_to_precompute
from lucid.versions.precompute import precompute as precompute_pairs
from lucid.versions.reviews import Review
from lucid.versions.standings import choose_all_spans, write_standings
from lucid.versions.uploads import uploads_since, with_uploads
from lucid.versions.version import Version
from lucid.webhooks.callbacks import check_callback

if TYPE_CHECKING:
    from lucid.graph.typed_graph import TypedGraph
    from lucid.training.apart import PairGroup
    from lucid.training.fitting import Calibrated, EarlierSettings, Fitted
    from lucid.training.tuning import Tried, Try

# torch is imported inside the steps that use it: a command that trains nothing must not load it.

T = TypeVar("T")
_UNREADABLE = ModelNotReady, UnknownModel, OutdatedVersion, DamagedVersion
"""What is raised for a model that has no version to be read, as one that is new."""
_FAR_LESS = 0.5
"""A version that learned from a smaller share of the interactions of the one before says so; set by hand."""
_ADMISSION, _ADMISSION_SECONDS = "memory", 60.0
"""The lock of looking whether there is room, so that two never take the same."""
_LOOK_SECONDS = 1.0
_log = logging.getLogger("lucid")


@dataclass(frozen=True)
class Step(Generic[T]):
    """A step of a training, to be called with one.

    `stage` is what its status says meanwhile, `share` the part of the whole that it takes up, from and to percent, and
    `doing` what people read. `work` also returns what it counted, for the log.
    """

    name: str
    stage: Stage
    share: tuple[float, float]
    doing: str
    work: Callable[[Training, Progress], tuple[T, str]]

    def __call__(self, training: Training) -> T:
        """Do the step and return what it makes; raises TrainingFailed where the training was cancelled."""
        began = time.monotonic()
        with reporting(training, self.stage, self.share, self.doing) as progress:
            made, counted = self.work(training, progress)
        name = f"model {training.model_id} version {training.version}"
        _log.info("%s: %s took %.1f s; %s", name, self.doing, time.monotonic() - began, counted)
        return made

    def __reduce__(self) -> str:
        """Pickled by its name in this module, as functions are."""
        return self.name


def _step(
    stage: Stage, share: tuple[float, float], doing: str
) -> Callable[[Callable[[Training, Progress], tuple[T, str]]], Step[T]]:
    """Make a step of a function."""
    return lambda work: Step(work.__name__, stage, share, doing, work)


@_step("select", (0, 5), "choosing the data")
def select_data(training: Training, progress: Progress) -> tuple[Path, str]:
    """Choose the rows by tags and age; leaves `work/entities.parquet` and its fellows.

    Ends once there is room in memory for what follows.
    """
    catalog, refreshes = training.catalog, training.refresh_of is not None
    if refreshes and training.versions.is_pinned:
        raise NothingToRefresh(f"version {training.refresh_of} is pinned and stays as it is until it is unpinned")
    if not refreshes:
        compact_events(training.settings, catalog)  # what was accepted before a training is part of its data
    batches = catalog.batches.select(training.request.data_tags)
    catalog.trainings.set_batches(training.model_id, training.version, [batch.batch_id for batch in batches])
    shutil.rmtree(training.folder, ignore_errors=True)
    try:
        known = training.versions.version(training.refresh_of).origin.strengths if training.refresh_of else None
        selection = _select(training, batches, known)
    except TrainingFailed as error:
        if not refreshes or error.code != "no_interactions":
            raise
        raise NothingToRefresh(_nothing_left(training)) from None
    drift = [] if refreshes else find_drift(training.settings.home, batches, training.work / "spill")
    write_drift(training.work, drift)
    for found in drift:
        _log.info("model %s: batch %s: %s", training.model_id, found.batch_id, found.message)
    if not refreshes:
        _wait_for_room(training, count_workload(training.work, training.request.precompute or ()), progress)
    return training.work, _counted(interactions=selection.steps[-1].kept, batches=len(batches))


def _select(
    training: Training, batches: Sequence[SelectedBatch], strengths: Sequence[StrengthRule] | None
) -> Selection:
    """Choose the rows of some batches.

    Where it is known what interactions say, all else was checked before too; and a refresh leaves what its version
    holds as it was trained, though batches may be gone since.
    """
    is_checked = strengths is not None
    return select(
        training.settings.home,
        batches,
        training.work,
        started=training.started,
        maximum_interaction_age_days=training.request.maximum_interaction_age_days,
        data_filters=training.request.data_filters,
        metadata_rules=training.request.metadata_rules,
        interaction_rules=training.request.interaction_rules,
        strengths=strengths,
        precompute=training.request.precompute or (),
        allow_type_changes=training.request.allow_type_changes or is_checked,
        checked=is_checked,
    )


@_step("build", (5, 10), "building the graph")
def build_graph(training: Training, _progress: Progress) -> tuple[Path, str]:
    """Turn the rows into a typed graph; leaves `work/graph.safetensors`."""
    from lucid.graph.typed_graph import build, write_graph

    graph = build(read_selection(training.work))
    write_graph(graph, training.work)
    counts = count_graph(graph)
    edges = sum(edge.count for edge in counts.edges)
    return training.work, _counted(entities=counts.entities, types=len(counts.entity_types), edges=edges)


@_step("fit", (10, 70), "fitting the model")
def fit_model(training: Training, progress: Progress) -> tuple[Path, str]:
    """Choose on held-out interactions, then fit on everything; leaves embeddings and `config.json`."""
    from lucid.evaluation.splitting import hold_out
    from lucid.graph.typed_graph import build, read_graph, write_graph
    from lucid.model.decomposition import Solver
    from lucid.training.apart import Apart
    from lucid.training.fitting import choose, choose_use_of_strengths, refit
    from lucid.training.learned_dislikes import learn_dislikes
    from lucid.training.learned_graph import learned, write_use_of_strengths

    selected, seed, selection = read_graph(training.work), training.settings.seed, read_selection(training.work)
    solver, earlier, budget = Solver.of(seed, training.settings.device), _earlier_settings(training), _budget(training)
    holdout = hold_out(selected, seed)
    strengths = learn_dislikes(holdout, selection.strengths, solver, seed)
    if strengths != selection.strengths:  # what is disliked stands in what was selected, too
        selection = _select(training, selection.batches, strengths)
        selected = build(selection)
        write_graph(selected, training.work)
        holdout = hold_out(selected, seed)
    use = choose_use_of_strengths(selected, holdout, solver, earlier, budget, selection.strengths)
    write_use_of_strengths(training.work, use)
    graph = learned(selected, is_ignored=use == "ignored")
    chosen = choose(
        graph,
        holdout if graph is selected else hold_out(graph, seed),
        solver,
        lambda percent, doing: progress(0.85 * percent, doing),
        earlier,
        budget,
        Apart(training, training.spread) if training.spread else None,
        selection.strengths,
        use,
    )
    _write_fitted(training.work, graph, chosen, seed)
    write_chosen(training.work, chosen.chosen)
    if chosen.chosen.given_up:
        note_less(training.folder)
    progress(85, "fitting on everything")
    fitted = refit(graph, chosen, solver)
    _write_fitted(training.folder, graph, fitted, seed)
    left_out = interactions_among(training.work, training.work / ENTITIES, LEFT_OUT_FILE)
    left_out_history = InteractionHistory.from_edges(graph.entity_types.size, *left_out)
    write_history(training.folder, graph.history(), left_out_history, selected.disliked())
    adjacency, relations = graph.adjacency(fitted.chosen.weightings)
    write_adjacency(training.folder, adjacency)
    types, activity = graph.entity_types, _activity(training, training.work / ENTITIES, graph.entity_types.size)
    write_standings(training.folder, types, activity, choose_all_spans(activity, types))
    write_follows(training.folder, fitted.follows)
    keys = {rule.key: rule.use for rule in selection.keys}
    origin = Origin(selection.batch_ids, [], keys, relations, graph.newest, selection.reading, selection.strengths)
    write_origin(training.folder, origin)
    for name in (ENTITIES, VALUES, KNOWN_RANGES, KNOWN_WORDS):
        shutil.copyfile(training.work / name, training.folder / name)
    return training.folder, _counted(pairs=len(fitted.pairs), decompositions=len(fitted.embeddings))


@_step("evaluate", (70, 75), "judging on held-out interactions")
def evaluate_model(training: Training, _progress: Progress) -> tuple[Path, str]:
    """Judge what was chosen on held-out interactions that nothing was chosen on; leaves `report.json`."""
    from lucid.evaluation.quality import judge_pairs
    from lucid.evaluation.splitting import hold_out
    from lucid.training.answered_before import answering_before
    from lucid.training.learned_graph import read_learned_graph

    graph, config = read_learned_graph(training.work), read_config(training.work)
    embeddings = read_embeddings(training.work, config.weightings, config.erased)
    seed = training.settings.seed
    recorded = judge_pairs(
        hold_out(graph, seed), embeddings, list(config.pairs.values()), answering_before(training, graph)
    )
    drawn = Bootstrap(seed)
    quality = judge(recorded, drawn)
    selection = read_selection(training.work)
    report = TrainingReport(
        training.model_id,
        training.version,
        selection.steps,
        selection.keys,
        read_drift(training.work),
        count_graph(graph),
        read_chosen(training.work),
        quality,
        drawn,
        selection.strengths,
    )
    write_held_out(training.folder, recorded)
    write_report(training.folder, report)
    sources = sum(pair.model.sources for pair in quality)
    return training.folder / REPORT, _counted(pairs=len(quality), test_sources=sources)


@_step("build", (5, 10), "folding in what was uploaded since")
def fold_in(training: Training, _progress: Progress) -> tuple[Path, str]:
    """Derive a refresh from the version it refreshes, with what has been uploaded since folded in."""
    assert training.refresh_of is not None
    parent = training.versions.version(training.refresh_of)
    parent.expect_sound(thoroughly=True)
    with parent.reading():
        parent.open()
        uploads = uploads_since(parent, training.request, now=training.started)
    origin, selected = parent.origin, set(read_selection(training.work).batch_ids)
    folded_ids = sorted({*origin.folded_ids, *selected} - set(origin.batch_ids))
    size, names = parent.config.entity_types.size, parent.folder / ENTITIES
    histories = [
        InteractionHistory.from_edges(size, *interactions_among(training.work, names, name, disliked))
        for name, disliked in ((INTERACTIONS_FILE, None), (LEFT_OUT_FILE, None), (INTERACTIONS_FILE, origin.strengths))
    ]
    types, activity = parent.config.entity_types, _activity(training, names, size)
    spans = parent.standings.spans if parent.standings else choose_all_spans(activity, types)
    follows = {pair: one.with_latest(uploads.recent_by_row) for pair, one in parent.follows.items()}
    with parent.learnt() as learnt:
        derive(
            parent,
            training.made,
            changed={
                CONFIG: lambda folder: write_config(folder, parent.config),  # in the format of today
                EMBEDDINGS: lambda folder: write_embeddings(folder, with_uploads(parent, uploads)),
                HISTORY: lambda folder: write_history(folder, *histories),
                ACTIVITY: lambda folder: write_standings(folder, types, activity, spans),
                ORIGIN: lambda folder: write_origin(folder, replace(origin, folded_ids=folded_ids)),
                HELD_OUT: lambda folder: write_held_out(folder, read_held_out(parent.folder)),  # it may have none
                FOLLOWS: lambda folder: write_follows(folder, follows),
                KNOWN_RANGES: lambda folder: shutil.copy(learnt / KNOWN_RANGES, folder),
                KNOWN_WORDS: lambda folder: shutil.copy(learnt / KNOWN_WORDS, folder),
            },
            kept={ENTITIES, VALUES, ADJACENCY, REPORT},
        )
    return training.folder, _counted(batches_since_the_training=len(folded_ids))


_MADE: Opened[Version] = Opened(lambda training: training.made)


@_step("precompute", (75, 97), "precomputing recommendations")
def precompute(training: Training, progress: Progress) -> tuple[int, str]:
    """Compute recommendations ahead; returns how many."""
    made = training.made
    pairs = pairs_to_precompute(made.config.direct_pairs, training.request.precompute or ())

    def find(partitions: Sequence[Partition]) -> Iterable[object]:
        if training.spread is None or len(partitions) < training.spread.least:
            return find_here(made, partitions)
        return training.spread.do(training, PRECOMPUTE_PARTITION.name, partitions)

    with _MADE.keeping(training, made):
        recommendations = precompute_pairs(made, pairs, progress, find, training.settings.partition_scores)
    placed = _precompute_placements(training)
    return recommendations, _counted(recommendations=recommendations, pairs=len(pairs), **placed)


def _precompute_placements(training: Training) -> dict[str, int]:
    """Compute ahead what placements ask of the model, and count it; nothing where none does."""
    try:
        every = Placements(training.settings.home).all()
    except Damaged as error:  # of which answers tell whoever asks for it; the model is none the worse
        _log.warning("model %s: no placement is computed ahead: %s", training.model_id, error.message)
        return {}
    placements = [one for one in every if any(pair.model_id == training.model_id for pair in one.precompute)]
    if not placements:
        return {}
    made, now = training.made, utc_now()
    rows, told = precompute_placements(made, placements, uploads_since(made, training.request, now=now), now)
    for sentence in told:
        _log.warning("model %s: %s", training.model_id, sentence)
    return {"rows_of_placements": rows}


PRECOMPUTE_PARTITION: PartWork[Partition, None] = PartWork(
    "precompute_partition", "precompute", lambda training, part: find_best(_MADE.of(training), part)
)


def _try_weights(training: Training, part: "Try") -> "Tried":
    from lucid.training.apart import try_weights

    return try_weights(training, part)


def _calibrate_pairs(training: Training, part: "PairGroup") -> "list[Calibrated]":
    from lucid.training.apart import calibrate_pairs

    return calibrate_pairs(training, part)


PARTS: dict[str, PartWork[Any, Any]] = {
    kind.name: kind
    for kind in (
        PartWork("try_weights", "judge", _try_weights),
        PartWork("calibrate_pairs", "calibrate", _calibrate_pairs),
        PRECOMPUTE_PARTITION,
    )
}
"""What may be done apart from the process that does the step, by its name."""


@_step("publish", (97, 100), "publishing")
def publish(training: Training, _progress: Progress) -> tuple[ModelStatus, str]:
    """Let the version answer, if the gate lets it pass, and say so in the catalog; returns the final status."""
    shutil.rmtree(training.work, ignore_errors=True)
    reason = why_held(training)
    told = (_far_less(training) if not reason else "", _given_up(training))
    if reason:  # first, so that there is no moment in which the version is complete and nothing is against it
        training.versions.set_review(training.made, Review("held", reason))
    training.made.complete(training.refresh_of, utc_now())
    message = "; ".join(one for one in told if one)
    end_well(training.catalog, training.versions, training.made, message, despite_pin=training.erases)
    training.versions.prune(training.settings.keep_versions)
    return training.status, _counted(versions_kept=len(training.versions.complete()))


TRAINING: tuple[Step[Any], ...] = (select_data, build_graph, fit_model, evaluate_model, precompute, publish)
"""What a training does."""
REFRESH: tuple[Step[Any], ...] = (select_data, fold_in, precompute, publish)
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
            return training.status
    finally:
        if ended:
            call_back(ended)


def refresh(settings: Settings, model_id: str, watcher: Progress | None = None) -> ModelStatus:
    """Refresh a model's live version in this process and return the final status; raises as `refreshing` does.

    Where nothing is left to refresh with, that is `completed` with a message that says so, and no version is made.
    """
    entered: Training | None = None
    with suppress(NothingToRefresh), refreshing(settings, model_id, watcher=watcher) as training:
        entered = training
        for step in REFRESH:
            step(training)
    assert entered
    return entered.status


def tell_refresh(training: Training) -> str:
    """What a refresh that has ended found: a sentence for people."""
    assert training.refresh_of is not None
    now, before = (
        set(training.catalog.trainings.get(training.model_id, version).status.data_batch_ids)
        for version in (training.version, training.refresh_of)
    )
    counts = {"uploaded": len(now - before), "deleted or archived": len(before - now)}
    found = [f"{count:,} {'batch' if count == 1 else 'batches'} {what}" for what, count in counts.items() if count]
    since = f"{' and '.join(found)} since" if found else "nothing was uploaded since"
    return f"version {training.version} refreshes version {training.refresh_of}; {since}"


def _counted(**counts: int) -> str:
    """What a step counted, as its line of the log says it."""
    return ", ".join(f"{name.replace('_', ' ')}: {count:,}" for name, count in counts.items())


@contextmanager
def _admitting(home: Path) -> Iterator[None]:
    """Be the only training that looks for room; no lock stays behind."""
    try:
        with working(home, _ADMISSION, _ADMISSION_SECONDS):
            yield
    finally:
        forget(home, _ADMISSION)


def _wait_for_room(training: Training, workload: Workload, progress: Progress) -> None:
    """Note what the training has to do, and wait until there is room for it beside those that came before.

    Raises NotEnoughMemory where it needs more than there would be if they were done.
    """
    settings, began, own = training.settings, time.monotonic(), used_bytes()
    waited = 0.0
    needed = estimate(settings.home, training.model_id, workload)
    needs = needed.memory_bytes
    cost = Cost(workload, needs=needs, **worker())  # type: ignore[arg-type]
    write_cost(training.folder, cost)
    while True:
        with _admitting(settings.home):
            rows = [row for row in training.catalog.trainings.running() if row.status.model_id != training.model_id]
            others = [
                share(other)
                for row, other in here(settings.home, rows)
                if other.is_admitted or row.status.start_timestamp < training.started
            ]
            left, alone = room(settings, others, own), most(settings, others, own)
            if left is None or needs <= left:
                write_cost(training.folder, replace(cost, is_admitted=True, waited=waited))
                return
            if alone is not None and (needs > alone or not others):
                raise too_large(needed.memory_by_part, alone)
        progress(99, waits(needs, left))
        time.sleep(_LOOK_SECONDS)
        waited = time.monotonic() - began


def _nothing_left(training: Training) -> str:
    batches = len(training.catalog.batches.select(training.request.data_tags))
    found = f"{batches:,} of its batches hold no interaction that it would use" if batches else "its batches are gone"
    return f"nothing to refresh: {found}; version {training.refresh_of} stays as it is"


def _far_less(training: Training) -> str:
    """What to say where a training learned from far less than the version that answers now; nothing otherwise."""
    try:
        with training.versions.live().reading() as live:
            before = read_report(live.folder).steps[-1].kept
    except _UNREADABLE:
        return ""
    now = read_report(training.folder).steps[-1].kept
    if now >= _FAR_LESS * before:
        return ""
    return (
        f"learned from {now:,} interactions, version {live.number}, which answered before, from {before:,}; "
        "if batches are missing, upload them and train again, or roll back"
    )


def _given_up(training: Training) -> str:
    """What to say where `max_minutes` left no time for something; nothing otherwise."""
    if training.refresh_of is not None:  # its report is that of the training
        return ""
    what = read_report(training.folder).chosen.given_up
    return f"to be done within {training.request.max_minutes:g} min, it left untried: {', '.join(what)}" if what else ""


def _budget(training: Training) -> Budget:
    """The time that is left for choosing settings, given what is done and what is still to come."""
    minutes, cost = training.request.max_minutes, read_cost(training.folder)
    if minutes is None or cost is None or cost.workload is None:
        return Budget()
    phases = estimate(training.settings.home, training.model_id, cost.workload).seconds_by_phase
    to_come = sum(phases[phase] for phase in ("refit", "evaluate", "precompute"))
    return Budget.of(60 * minutes - sum(read_timings(training.folder).values()) - to_come, phases)


def _earlier_settings(training: Training) -> "EarlierSettings | None":
    """Settings of the live version; None where there is none to be read, as for a model that is new."""
    from lucid.training.filter_choice import Assigned
    from lucid.training.fitting import EarlierSettings

    try:
        with training.versions.live().reading() as live:
            config = live.config
    except _UNREADABLE:
        return None
    filters = {pair: Assigned(model.decomposition, model.filter) for pair, model in config.pairs.items()}
    return EarlierSettings(config.weightings, filters)


def _activity(training: Training, entities: Path, size: int) -> Activity:
    """The activity that was selected, in the numbering of an `entities.parquet` with so many rows."""
    return Activity.build(size, *activity_among(training.work, entities))


def _write_fitted(folder: Path, graph: "TypedGraph", fitted: "Fitted", seed: int) -> None:
    write_embeddings(folder, fitted.embeddings)
    pairs = {pair.pair: pair for pair in fitted.pairs}
    weightings, direct_pairs = tuple(fitted.chosen.weightings), tuple(graph.pairs)
    write_config(folder, VersionConfig(graph.entity_types, pairs, fitted.default_pair, weightings, direct_pairs, seed))
