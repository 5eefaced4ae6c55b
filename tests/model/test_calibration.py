"""Calibration: from raw scores to scores between 0 and 100."""

import numpy as np

from lucid.model.calibration import Calibration


def test_scores_stay_within_0_and_100_and_keep_the_order() -> None:
    """Calibration is monotone, for negative raw scores too."""
    raw = np.linspace(-50, 50, 1001)
    scores = Calibration(2.0, 1.5, -1.0).score(raw)

    assert (np.diff(scores) >= 0).all()
    assert 0 <= scores.min() < 1 < scores.max() <= 100
