"""The lists of steps: what everybody who trains or refreshes goes by."""

import sys
from itertools import pairwise
from pathlib import Path
from subprocess import run as run_program
from typing import Any

import pytest

from lucid.training.steps import REFRESH, TRAINING, Step

ROOT = Path(__file__).parent.parent.parent


def test_the_steps_of_a_training_cover_the_whole() -> None:
    """Progress begins at 0, ends at 100, and each step goes on where the one before ended."""
    shares = [step.share for step in TRAINING]

    assert (0, 100) == (shares[0][0], shares[-1][1])
    assert all(before[1] == after[0] for before, after in pairwise(shares))


@pytest.mark.parametrize("todo", [TRAINING, REFRESH])
def test_progress_never_goes_back(todo: tuple[Step[Any], ...]) -> None:
    """Also where a refresh leaves out what takes a training long; no step comes twice."""
    shares = [bound for step in todo for bound in step.share]

    assert sorted(shares) == shares
    assert len(todo) == len(set(todo))


def test_a_training_is_entered_and_swept_without_loading_what_it_does() -> None:
    """What the API needs of a training loads neither torch nor pandas."""
    program = "import sys, lucid.training.run; print([name for name in ('torch', 'pandas') if name in sys.modules])"

    loaded = run_program([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert "[]" == loaded.stdout.strip()
