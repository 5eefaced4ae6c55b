"""Judging every pair on the test sources: their lists, and those of simple baselines for the same sources."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut, Holdout
from lucid.evaluation.recorded import (
    CALIBRATED,
    ITEM_KNN,
    LISTED,
    MILLION,
    MODEL,
    POPULARITY,
    Before,
    Cold,
    Described,
    Lists,
    Recorded,
    RecordedPair,
    Withheld,
)
from lucid.graph.histories import distinct
from lucid.graph.typed_graph import TypedGraph
from lucid.model.embedding import Embedding
from lucid.model.follows import learn_follows
from lucid.model.item_knn import ItemKNN, interaction_matrix
from lucid.model.pair_model import PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SpectralFilter
from lucid.side_by_side import side_by_side
from lucid.typing import LINK, Rows

AnsweringBefore = Callable[[HeldOut], Before | None]
"""Tells what the version that answered before recommends to sources, as far as that can be judged."""


def judge_pairs(
    holdout: Holdout, embeddings: Sequence[Embedding], pairs: Sequence[PairModel], before: AnsweringBefore | None = None
) -> Recorded:
    """Record every pair on the test sources; the embeddings must not have seen the held-out interactions."""
    models = {pair.pair: pair for pair in pairs}
    history, disliked = holdout.train.history(), holdout.train.disliked()
    follows = learn_follows(holdout.train, pairs)
    cold = {held.pair: held for held in holdout.cold.test if len(held.sources)}

    def judged(held: HeldOut) -> RecordedPair:
        pair = models[held.pair]
        scorer = Scorer(
            embeddings,
            pair,
            holdout.train.entity_types,
            history,
            disliked=disliked,
            follows=follows.get(pair.pair),
        )
        recorded = _record(scorer, held)
        if apart := cold.get(held.pair):
            recorded = replace(
                recorded, cold=_record_cold(embeddings[pair.cold_decomposition], pair.cold_filter, apart)
            )
        return replace(recorded, before=before(held)) if before else recorded

    warm, indirect = (
        [held for held in halves.test if len(held.sources)] for halves in (holdout.warm, holdout.indirect)
    )
    found = list(side_by_side(judged, warm + indirect))
    occurring = distinct(np.concatenate([np.empty(0, np.int64), *(pair.rows for pair in found)]))
    return Recorded(found, describe(holdout.train, occurring))


def _record(scorer: Scorer, held: HeldOut) -> RecordedPair:
    pair, sources, targets = scorer.pair, scorer.sources, scorer.targets
    baseline = ItemKNN(held.history, scorer.entity_types, held.pair)
    popularity = baseline.popularity()
    # What item-kNN says nothing of follows by popularity, or it would be listed in the order of ids.
    rest = popularity / (popularity.max(initial=0) + 1) - 1
    lists: dict[str, list[Lists]] = {who: [] for who in (MODEL, POPULARITY, ITEM_KNN)}
    chances = []
    for part in held.parts(targets):
        scores, best = top(part.masked(scorer.raw(part.sources), targets), targets, CALIBRATED)
        lists[MODEL].append(best)
        probability = pair.calibration.probability(pair.calibration.score(np.where(best >= 0, scores, 0)))
        chances.append(np.rint(probability * MILLION).astype(np.int32))
        near = baseline.scores(part.sources - sources.start)
        for who, others in (
            (POPULARITY, np.tile(popularity, (len(part.sources), 1))),
            (ITEM_KNN, np.where(near > 0, near, rest)),
        ):
            lists[who].append(top(part.masked(others, targets), targets, LISTED)[1])
    every = {who: np.concatenate(found) for who, found in lists.items()}
    occurring = distinct(
        np.concatenate([held.targets, *(found[found >= 0].astype(np.int64) for found in every.values())])
    )
    known = np.diff(interaction_matrix(held.history, scorer.entity_types, held.pair).indptr)
    return RecordedPair(
        *held.pair,
        answered_by(pair),
        len(sources),
        len(targets),
        Withheld(held.sources, held.starts, held.targets),
        known[held.sources - sources.start].astype(np.int64),
        every,
        np.concatenate(chances),
        occurring,
        popularity[occurring - targets.start].astype(np.int64),
        np.stack(np.unique(popularity.astype(np.int64), return_counts=True), axis=1),
    )


def _record_cold(embedding: Embedding, spectral: SpectralFilter, held: HeldOut) -> Cold:
    """Lists of the withheld targets only."""
    targets = distinct(held.targets)
    _, places = top(embedding.raw_scores(spectral, held.sources, targets), range(len(targets)), LISTED)
    rows = np.where(places >= 0, targets[places], -1).astype(np.int32)
    return Cold(Withheld(held.sources, held.starts, held.targets), rows)


def top(scores: NDArray[Any], targets: range, length: int) -> tuple[NDArray[np.float64], Lists]:
    """The best of masked scores (sources, targets), and their rows; fewer than so many where there are not as many."""
    best = torch.topk(torch.from_numpy(scores), min(length, scores.shape[1]), dim=1)
    values = best.values.numpy().astype(np.float64)
    return values, np.where(np.isfinite(values), best.indices.numpy() + targets.start, -1).astype(np.int32)


def describe(graph: TypedGraph, rows: Rows) -> Described:
    """What metadata says of some entities (rows, sorted), but for the words of texts."""
    wanted = np.zeros(graph.entity_types.size, dtype=bool)
    wanted[rows] = True
    keys = [np.empty(0, np.int64)]
    for edge_type in graph.edge_types:
        if edge_type[1].startswith(LINK):
            ends = graph.rows(edge_type).numpy()
            for own, other in (ends, ends[::-1]):
                kept = wanted[own]
                keys.append(own[kept] * graph.entity_types.size + other[kept])
    owners, by = np.divmod(distinct(np.concatenate(keys)), max(graph.entity_types.size, 1))
    return Described(rows, np.searchsorted(owners, np.append(rows, graph.entity_types.size)), by)


def judged_raw(scorer: Scorer, held: HeldOut) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Raw scores of each source's best targets, flat, whether each of them was withheld, and those of all withheld."""
    targets = scorer.targets
    scores, hits, withheld = [np.empty(0)], [np.empty(0, bool)], [np.empty(0)]
    for part in held.parts(targets):
        raw = torch.from_numpy(part.masked(scorer.raw(part.sources), targets))
        best = torch.topk(raw, min(CALIBRATED, len(targets)), dim=1)
        hits += [np.isin(rows + targets.start, part.of(position)) for position, rows in enumerate(best.indices.numpy())]
        scores.append(best.values.numpy().astype(np.float64).ravel())
        positions = np.repeat(np.arange(len(part.sources)), np.diff(part.starts))
        withheld.append(raw.numpy()[positions, part.targets - targets.start].astype(np.float64))
    every, hit, found = np.concatenate(scores), np.concatenate(hits), np.concatenate(withheld)
    real = np.isfinite(every)
    return every[real], hit[real], found[np.isfinite(found)]


def among_withheld(held: HeldOut) -> tuple[Rows, HeldOut]:
    """Rows of all withheld targets, and what was withheld with these numbered from zero."""
    targets = distinct(held.targets)
    return targets, replace(held, targets=np.searchsorted(targets, held.targets))


def answered_by(pair: PairModel) -> str:
    """What a pair's score is made of, for people."""
    spectral = "popularity" if pair.filter.is_popularity else f"decomposition {pair.decomposition}"
    spectral += ", learned filter" if pair.filter.learned_gain else ""
    if pair.blend.share:
        spectral = "item-kNN" if pair.blend.share == 1 else f"{spectral}, {pair.blend.share:.0%} item-kNN"
    return f"{spectral}, what follows what" if pair.follows else spectral
