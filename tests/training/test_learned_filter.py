"""The gain of a filter that is learned from withheld interactions."""

import json
from dataclasses import asdict

import numpy as np

from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import ndcg
from lucid.model.spectral_filter import SpectralFilter
from lucid.training.learned_filter import with_learned_gain
from tests.support.graphs import EMPTY_HISTORY, random_vectors


def test_a_learned_filter_ranks_better_where_the_chosen_filter_is_wrong() -> None:
    """Learned on some sources, it finds more of what other sources chose by the middle of the spectrum."""
    vectors = random_vectors(400, 64)
    targets, plain = range(200, 400), SpectralFilter("signed", 64, 0.1, 0.0)
    strength = np.abs(vectors.values)
    middle = vectors.vectors[:200] * (strength * ((strength > 0.3) & (strength < 0.6)) * np.sign(vectors.values))
    chosen = np.sort(np.argsort(-(middle @ vectors.vectors[200:].T), axis=1)[:, :5], axis=1) + 200
    held = HeldOut("a", "b", np.arange(200), np.arange(0, 1001, 5), chosen.ravel(), EMPTY_HISTORY)
    others = held.part(np.arange(100, 200))

    learned = with_learned_gain(vectors, plain, held.part(np.arange(100)), targets)

    before, after = (
        float(np.mean(ndcg(vectors.raw_scores(spectral, others.sources, targets), others, targets)))
        for spectral in (plain, learned)
    )
    assert after > 1.2 * before
    assert learned == SpectralFilter.from_json(json.loads(json.dumps(asdict(learned))))
