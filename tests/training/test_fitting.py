"""Fits: choosing parameters on withheld interactions, and fitting again on all of them."""

import numpy as np

from lucid.evaluation.splitting import hold_out
from lucid.model.decomposition import Solver
from lucid.training.fitting import choose, refit
from tests.support.graphs import board


def quiet(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""


def test_the_same_seed_gives_the_same_model() -> None:
    """Two fits with one seed agree to the last bit, another seed may differ."""
    first, second = (
        refit(board(), choose(board(), hold_out(board(), 7), Solver(7), quiet), Solver(7)) for _ in range(2)
    )

    assert np.array_equal(first.embeddings[0].vectors, second.embeddings[0].vectors)
    assert first.pairs == second.pairs
