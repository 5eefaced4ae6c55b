"""Judging filters: the short ways that the search takes give what the long ones give."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import ndcg
from lucid.evaluation.quality import among_withheld
from lucid.evaluation.splitting import hold_out
from lucid.graph.relation_weights import RelationWeights
from lucid.model.decomposition import Solver, decompose
from lucid.model.embedding import Embedding
from lucid.model.spectral_filter import SpectralFilter
from lucid.training.filter_choice import FilterConfig, FilterJudge
from lucid.training.judged import BySign, Judged, JudgedOn
from lucid.training.tuning import TuningConfig, WeightSearch
from tests.support.graphs import board, random_vectors

FILTERS = [
    SpectralFilter(mode, rank, ridge, exponent, gain)
    for rank in (12, 5)
    for ridge in (0.1, 1.0)
    for mode in ("signed", "positive", "none")
    for exponent in (0.0, 0.5)
    for gain in ((), ((0.0, 0.2), (1.0, -0.3)))
]


def quiet(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""


@pytest.mark.parametrize("signed", [False, True])
def test_filters_judged_together_get_what_each_gets_alone(signed: bool) -> None:
    """Scores that are summed by the sign of eigenvalues rank as those that are summed at once, masked alike."""
    holdout = hold_out(board(), 3)
    embedding = random_vectors(holdout.train.entity_types.size, 12)  # of which no two scores are the same
    if not signed:
        embedding = replace(embedding, values=np.abs(embedding.values))
    for held in holdout.warm.validation:
        targets = holdout.train.entity_types.rows(held.target_type)
        alone = [
            ndcg(held.masked(embedding.raw_scores(one, held.sources, targets), targets), held, targets)
            for one in FILTERS
        ]
        together = Judged(held, targets).on(BySign(embedding)).ndcg(FILTERS)
        assert np.allclose(alone, together, atol=1e-6)

        rows, among = among_withheld(held)
        alone = [ndcg(embedding.raw_scores(one, held.sources, rows), among, range(len(rows))) for one in FILTERS]
        assert np.allclose(alone, Judged.among_withheld(held).on(BySign(embedding)).ndcg(FILTERS), atol=1e-6)


def test_what_is_clearly_worse_is_judged_by_a_part_of_the_sources_only() -> None:
    """Every setting races; only those that do not lose too much there are judged by all sources."""
    holdout = hold_out(board(), 3)
    asked: list[bool] = []

    class Watched(FilterJudge):
        def score(self, embedding: Embedding, *, roughly: bool = False) -> NDArray[np.float64]:
            asked.append(roughly)
            return super().score(embedding, roughly=roughly)

    def search(max_loss: float) -> list[RelationWeights]:
        asked.clear()
        judge = Watched(holdout, {}, FilterConfig(race_step=4, min_sources=2))
        config = TuningConfig(max_loss_in_race=max_loss, rank=12)
        return WeightSearch(board(), holdout.train, judge, Solver(3), quiet, config).best()

    everything = search(np.inf)
    assert asked.count(True) == asked.count(False) == len(TuningConfig().dampings)
    assert everything == search(TuningConfig().max_loss_in_race)
    (start,) = search(-np.inf)
    assert (len(TuningConfig().dampings), 1) == (asked.count(True), asked.count(False))
    assert TuningConfig().damping == start.damping


@pytest.mark.parametrize("last", [0, 1])
def test_only_a_decomposition_that_may_be_better_is_tuned(last: int) -> None:
    """A pair gets the better one, wherever it stands; what is surely worse as it begins is tuned no further."""
    holdout = hold_out(board(), 3)
    good = decompose(holdout.train, RelationWeights({}, 3.0), 12, Solver())
    embeddings = [good, random_vectors(holdout.train.entity_types.size, 12)]
    tuned = []

    class Watched(FilterJudge):
        def _best_filter(self, judged: JudgedOn, embedding: Embedding, best: SpectralFilter) -> SpectralFilter:
            tuned.append(embedding is good)
            return super()._best_filter(judged, embedding, best)

    found = Watched(holdout, {}, FilterConfig(min_sources=2)).assign(embeddings[:: 1 - 2 * last])
    assert found
    assert {last} == {one.decomposition for one in found.values()}
    assert tuned.count(True) == len(found)
    assert tuned.count(False) == last * len(found)  # the first is what others are compared with


def test_what_was_withheld_of_few_is_withheld_of_a_part_of_them() -> None:
    """A race asks some of the sources of the search, which are some of those that filters are chosen by."""
    holdout = hold_out(board(), 3)
    judge = FilterJudge(holdout, {}, FilterConfig(filter_sources=9, search_sources=6, min_sources=2))
    held: HeldOut = max(judge.direct, key=lambda one: len(one.sources))
    assert len(judge.some(held).sources) == min(9, len(held.sources))
    assert set(judge.some(held).sources) <= set(held.sources)
