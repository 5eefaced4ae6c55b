"""The quality of every pair on the test sources, next to simple baselines on the same sources."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut, Holdout
from lucid.evaluation.metrics import calibration_error, measure
from lucid.evaluation.pair_quality import PairQuality, RankingQuality
from lucid.graph.histories import distinct
from lucid.model.embedding import Embedding
from lucid.model.item_knn import ItemKNN
from lucid.model.pair_model import PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SpectralFilter
from lucid.side_by_side import side_by_side
from lucid.typing import Floats, Rows

CALIBRATED = 100
"""Recommendations per source that calibration looks at: as many as a query gets where it does not say."""


def judge_pairs(holdout: Holdout, embeddings: Sequence[Embedding], pairs: Sequence[PairModel]) -> list[PairQuality]:
    """Quality of every pair on the test sources; the embeddings must not have seen the held-out interactions."""
    models = {pair.pair: pair for pair in pairs}
    history = holdout.train.history()
    cold = {held.pair: held for held in holdout.cold.test if len(held.sources)}

    def judged(held: HeldOut) -> PairQuality:
        pair = models[held.pair]
        scorer = Scorer(embeddings, pair, holdout.train.entity_types, history)
        return _judge(scorer, embeddings[pair.cold_decomposition], held, cold.get(held.pair))

    return list(side_by_side(judged, [held for held in holdout.warm.test + holdout.indirect.test if len(held.sources)]))


def _judge(scorer: Scorer, cold_embedding: Embedding, held: HeldOut, cold: HeldOut | None) -> PairQuality:
    pair, targets = scorer.pair, scorer.targets
    best, hits, _ = judged_raw(scorer, held)
    baseline = ItemKNN(held.history, scorer.entity_types, held.pair)
    popularity = baseline.popularity()
    return PairQuality(
        *held.pair,
        answered_by(pair),
        _measured(lambda part: scorer.raw(part.sources), held, targets),
        _measured(lambda part: np.tile(popularity, (len(part.sources), 1)), held, targets),
        _measured(lambda part: baseline.scores(part.sources - scorer.sources.start), held, targets),
        measure(*cold_scores(cold_embedding, pair.cold_filter, cold)) if cold else None,
        calibration_error(pair.calibration.probability(pair.calibration.score(best)), hits),
    )


def _measured(scores: Callable[[HeldOut], NDArray[Any]], held: HeldOut, targets: range) -> RankingQuality:
    """`measure` of scores that are made, and masked, for a part of the sources at a time."""
    parts = [measure(part.masked(scores(part), targets), part, targets) for part in held.parts(targets)]
    sizes = [part.sources for part in parts]

    def mean(name: str) -> float:
        return float(np.average([getattr(part, name) for part in parts], weights=sizes))

    return RankingQuality(mean("ndcg"), mean("recall"), mean("hit_rate"), sum(sizes))


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


def cold_scores(embedding: Embedding, spectral: SpectralFilter, held: HeldOut) -> tuple[Floats, HeldOut, range]:
    """Scores of the withheld targets only, with what to judge them by."""
    targets, among = among_withheld(held)
    return embedding.raw_scores(spectral, held.sources, targets), among, range(len(targets))


def among_withheld(held: HeldOut) -> tuple[Rows, HeldOut]:
    """Rows of all withheld targets, and what was withheld with these numbered from zero."""
    targets = distinct(held.targets)
    return targets, replace(held, targets=np.searchsorted(targets, held.targets))


def answered_by(pair: PairModel) -> str:
    """What a pair's score is made of, for people."""
    spectral = "popularity" if pair.filter.is_popularity else f"decomposition {pair.decomposition}"
    spectral += ", learned filter" if pair.filter.learned_gain else ""
    if not pair.blend.share:
        return spectral
    return "item-kNN" if pair.blend.share == 1 else f"{spectral}, {pair.blend.share:.0%} item-kNN"
