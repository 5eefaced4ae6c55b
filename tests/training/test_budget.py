"""A training with little time leaves out what may be left out, says so, and is whole all the same."""

import itertools
from pathlib import Path

import pytest

from lucid.evaluation.splitting import hold_out
from lucid.model.decomposition import Solver
from lucid.training.budget import OPTIONAL, Budget
from lucid.training.fitting import Fitted, choose, refit
from lucid.training.report import read_report
from lucid.training.report_page import as_markdown
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import write_checkerboard
from tests.support.graphs import board

PHASES = {"search": 8.0, "grow": 4.0, "filters": 2.0, "calibrate": 1.0, "refit": 100.0}


def quiet(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""


def chosen_within(questions: float) -> Fitted:
    """A fit by a clock that goes on by a second whenever it is asked, with so many seconds in all."""
    ticks = itertools.count()
    budget = Budget.of(questions, dict.fromkeys(OPTIONAL, 0.0), lambda: float(next(ticks)))
    return choose(board(), hold_out(board(), 7), Solver(7), quiet, budget=budget)


def test_each_phase_leaves_the_later_ones_their_time() -> None:
    """A piece may begin where it ends before they have to."""
    now = 100.0
    budget = Budget.of(20, PHASES, lambda: now)

    assert budget.allows("search", 13)
    assert not budget.allows("search", 14)
    assert budget.allows("grow", 17)
    assert not budget.allows("grow", 18)
    assert budget.allows("calibrate", 20)
    assert budget.allows("refit", 1e9)  # which is never left out


def test_without_a_limit_nothing_is_given_up() -> None:
    assert [] == choose(board(), hold_out(board(), 7), Solver(7), quiet).chosen.given_up


def test_less_time_tries_less_and_says_so() -> None:
    """Down to none at all: the settings are those that a search begins with."""
    whole, some, none = chosen_within(10_000), chosen_within(1), chosen_within(-1)

    tried = [len(one.chosen.tried) for one in (whole, some, none)]
    assert tried == sorted(tried, reverse=True)
    assert 0 < tried[1] < tried[0]
    assert 0 == tried[2]
    assert [] == whole.chosen.given_up
    for one in (some, none):
        assert one.chosen.given_up[0].startswith("settings of relation weights (")


@pytest.mark.parametrize("seconds", [-1, 1, 2, 3, 5, 8])
def test_whatever_is_left_out_the_model_is_whole(seconds: float) -> None:
    """The same pairs are answered, calibrated, with vectors for every entity."""
    fitted, whole = (refit(board(), chosen_within(limit), Solver(7)) for limit in (seconds, 10_000))

    assert [pair.pair for pair in whole.pairs] == [pair.pair for pair in fitted.pairs]
    assert all(pair.calibration.slope > 0 for pair in fitted.pairs)
    assert whole.embeddings[0].vectors.shape[0] == fitted.embeddings[0].vectors.shape[0]
    assert len(fitted.embeddings) == len(fitted.chosen.weightings)


def test_a_training_without_time_is_published(workspace: Workspace, tmp_path: Path) -> None:
    """It answers, and says in its status and its report what was left out; so does one that follows it."""
    workspace.import_files(write_checkerboard(tmp_path))

    for version in (1, 2):
        status = workspace.train("board", max_minutes=1e-6)

        assert ("completed", version) == (status.status, status.version)
        assert status.message.startswith("to be done within 1e-06 min, it left untried: settings of relation weights (")
    assert 5 == len(workspace.recommend("board", source_id="u01", target_type="item", max_recommendations=5))
    report = read_report(ModelVersions(workspace.settings.home, "board").live().folder)
    assert report.chosen.given_up
    assert "## Given up" in as_markdown(report)
