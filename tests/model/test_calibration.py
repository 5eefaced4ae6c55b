"""Calibration: from raw scores to scores between 0 and 100, and to probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lucid.model.calibration import Calibration

LEGACY = Calibration(2.0, 1.5, -1.0, None)


def judged(held_out: NDArray[np.float64], evidence: int | None = None) -> Calibration:
    """A calibration whose pair had these raw scores among its held-out interactions."""
    plain = Calibration(2.0, 1.5, -1.0)
    return plain.judged_by(plain.log1p(held_out), evidence)


CALIBRATIONS = [
    pytest.param(LEGACY, id="without quantiles"),
    pytest.param(judged(np.empty(0)), id="no evidence"),
    pytest.param(judged(np.array([3.0])), id="one"),
    pytest.param(judged(np.repeat([0.0, 1.0, 5.0], 40)), id="ties"),
    pytest.param(judged(np.random.default_rng(0).gamma(2, 2, 5000)), id="many"),
]


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_scores_stay_within_0_and_100_and_keep_the_order(calibration: Calibration) -> None:
    """Both score and probability rise with the raw score, for negative ones too."""
    raw = np.linspace(-50, 50, 1001)
    scores = calibration.score(raw)

    assert (np.diff(scores) > 0).all()
    assert 0 <= scores.min() < scores.max() <= 100
    probability = calibration.probability(scores)
    assert (np.diff(probability) >= 0).all()
    assert np.allclose(LEGACY.score(raw) / 100, probability, atol=2e-4)


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_no_lower_raw_score_is_as_high_as_the_least_one(calibration: Calibration) -> None:
    raw = np.linspace(-50, 50, 1001)
    scores = calibration.score(raw)

    below = np.nextafter(calibration.least_raw(scores), -np.inf)
    found = np.isfinite(below)
    assert (calibration.least_raw(scores) <= raw + 1e-9).all()
    assert (calibration.score(below[found] - 1e-6 * np.abs(below[found])) <= scores[found]).all()


def test_a_score_is_the_share_of_held_out_interactions_that_scored_lower() -> None:
    """The median of what really happened scores 50, and scores of held-out interactions are spread evenly."""
    rng = np.random.default_rng(1)
    calibration = judged(rng.gamma(2, 2, 4000))

    later = np.sort(calibration.score(rng.gamma(2, 2, 4000)))

    assert abs(later - np.linspace(0, 100, 4000)).max() < 3
    assert abs(later[2000] - 50) < 2


@settings(max_examples=50)
@given(st.lists(st.floats(-100, 100), max_size=30))
def test_thin_evidence_gives_no_high_score(held_out: list[float]) -> None:
    """However well a target suits, a few held-out interactions do not say that it is among the best."""
    found = judged(np.array(held_out)).score(np.array([1e9]))[0]

    assert found <= 100 * (len(held_out) + 1.3) / (len(held_out) + 5)
    assert found < 90


def test_ten_times_the_evidence_moves_no_score_by_more_than_noise() -> None:
    """Beyond a hundred held-out interactions scores depend on what they are, not on how many."""
    rng = np.random.default_rng(2)
    some, many = judged(rng.gamma(2, 2, 100)), judged(rng.gamma(2, 2, 1000))
    raw = np.linspace(0, 30, 200)

    assert (
        abs(some.score(raw) - many.score(raw)).max() < 100 * 1.36 / np.sqrt(100) + 5
    )  # Kolmogorov at 5%, and the prior


def test_a_calibration_is_read_as_it_was_written() -> None:
    """That of releases up to 0.1, which had no quantiles, goes on scoring as it did."""
    assert LEGACY == Calibration.from_json({"scale": 2.0, "slope": 1.5, "intercept": -1.0})
    known = judged(np.array([1.0, 2.0]))
    raw = {"scale": 2.0, "slope": 1.5, "intercept": -1.0, "quantiles": list(known.quantiles or ()), "evidence": 2}
    assert known == Calibration.from_json(raw)
    assert [73.105858] == np.round(LEGACY.score(np.array([2 * (np.exp(4 / 3) - 1)])), 6).tolist()
