"""Top-N: the best targets of each source, whoever is asked together and however many are asked for."""

from dataclasses import replace

import numpy as np
import pytest

from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.model.calibration import Calibration
from lucid.model.embedding import Embedding
from lucid.model.pair_model import Blend, PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SpectralFilter
from lucid.model.top_n import TopN, top_n
from lucid.typing import Rows
from tests.support.graphs import EMPTY_HISTORY, random_vectors

PAIR = PairModel(
    "a",
    "b",
    0,
    SpectralFilter("signed", 48, 0.1, 0.25),
    0,
    SpectralFilter("signed", 12, 0.3, 0.25),
    Blend(),
    Calibration(2.0, 1.5, -1.0),
)


def scorer_of(
    embedding: Embedding,
    sources: int,
    pair: PairModel = PAIR,
    interacted: InteractionHistory = EMPTY_HISTORY,
    *,
    share: float = 0.0,
) -> Scorer:
    """Scores the pair of the first `sources` rows and all others, of which a share is item-kNN."""
    entity_types = EntityTypes(("a", "b"), (0, sources, len(embedding.vectors)))
    return Scorer([embedding], replace(pair, blend=Blend(share, 2.0)), entity_types, interacted)


def best(scorer: Scorer, sources: Rows, n: int) -> TopN:
    return top_n(scorer, scorer.profiles(sources), n)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_one_source_alone_gets_what_it_gets_among_many(share: float) -> None:
    """Scores and order do not depend on which sources are asked together."""
    rng = np.random.default_rng(2)
    interacted = InteractionHistory.from_edges(900, rng.integers(0, 100, 2000), rng.integers(100, 900, 2000))
    scorer = scorer_of(random_vectors(900, 64), 100, interacted=interacted, share=share)

    together = best(scorer, np.arange(100), 20)
    alone = [best(scorer, np.array([source]), 20) for source in range(100)]

    assert np.array_equal(together.target_rows, np.concatenate([one.target_rows for one in alone]))
    assert np.array_equal(together.scores, np.concatenate([one.scores for one in alone]))


def test_the_best_targets_are_those_of_a_full_sort() -> None:
    """The short cut finds what sorting all scores finds, without what was interacted with.

    Targets that nothing links to the source type are scored by the filter for those.
    """
    vectors, targets = random_vectors(400, 64), range(5, 400)
    interacted = InteractionHistory.from_edges(400, np.repeat(np.arange(5), 10), np.arange(50) + 100)

    found = best(scorer_of(vectors, 5, interacted=interacted), np.arange(5), 15)

    warm, cold = (vectors.raw_scores(spectral, np.arange(5), targets) for spectral in (PAIR.filter, PAIR.cold_filter))
    raw = np.where(vectors.warm["a"][5:], warm, cold)
    for source in range(5):
        seen = set((interacted.of(source) - targets.start).tolist())
        ranking = [row for row in np.argsort(-raw[source], kind="stable").tolist() if row not in seen][:15]
        assert ranking == (found.target_rows[found.positions == source] - 5).tolist()


def test_equal_scores_follow_the_ids() -> None:
    """Targets that nothing tells apart come in the order of their rows, which is that of ids."""
    ones = np.ones((50, 4), np.float32)
    vectors = replace(random_vectors(50, 4), vectors=ones, degrees=ones[:, 0], warm={})

    found = best(scorer_of(vectors, 10), np.array([0]), 40)

    assert list(range(10, 50)) == found.target_rows.tolist()


@pytest.mark.parametrize("slope", [0.05, 1.5, 40.0])
def test_how_many_are_asked_for_changes_nothing_before_the_cut(slope: float) -> None:
    """Ties at the edge, exact and by rounding, are broken by id however many targets are asked for."""
    vectors = random_vectors(600, 16)
    vectors.vectors[200:] = vectors.vectors[200]  # four hundred targets that nothing tells apart
    vectors.degrees[100:] = 0
    vectors.warm["a"][200:] = True
    scorer = scorer_of(vectors, 20, replace(PAIR, calibration=Calibration(2.0, slope, -1.0)))

    every = best(scorer, np.arange(20), 580)

    for count in (1, 7, 100, 399):
        some = best(scorer, np.arange(20), count)
        for source in range(20):
            mine, all_of_it = some.positions == source, every.positions == source
            assert every.target_rows[all_of_it][:count].tolist() == some.target_rows[mine].tolist()
            assert every.scores[all_of_it][:count].tolist() == some.scores[mine].tolist()
