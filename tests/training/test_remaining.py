"""Progress that moves with the work, and an estimate of what is left."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from lucid.schema.fields import Stage
from lucid.training.remaining import Clock, last_timings, read_timings, tell_left
from lucid.training.steps import refresh
from lucid.versions.files import TIMINGS
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard

BEFORE = {"select": 2.0, "build": 2.0, "fit": 80.0, "evaluate": 6.0, "precompute": 10.0}


@pytest.mark.parametrize(
    ("pace", "stage", "percent", "left"),
    [
        (1, "fit", 0, 96),
        (1, "fit", 50, 56),
        (1, "evaluate", 0, 16),
        (1, "precompute", 90, 1),
        (3, "fit", 50, 3 * 56),
        (0.5, "precompute", 0, 5),
    ],
)
def test_what_is_left_is_what_it_was_before_at_the_pace_of_now(
    pace: float, stage: Stage, percent: float, left: float
) -> None:
    """A machine that is three times as slow takes three times as long for the rest, too."""
    order = list(BEFORE)
    done = {name: pace * BEFORE[name] for name in order[: order.index(stage)]}

    found = Clock(done, BEFORE).seconds_left(stage, percent, pace * BEFORE[stage] * percent / 100)

    assert pytest.approx(left) == found


@pytest.mark.parametrize("refresh", [False, True])
def test_a_model_that_was_never_trained_has_an_estimate_once_there_is_something_to_tell_it_from(refresh: bool) -> None:
    """None at the beginning, nor of what takes no time; later it tends to nothing."""
    stages: list[Stage] = ["select", "build", "precompute"] if refresh else ["select", "build", "fit", "evaluate"]
    done: dict[str, float] = {str(stage): 4.0 for stage in stages[:-1]}

    assert Clock(refresh=refresh).seconds_left("select", 0, 0.5) is None
    found = [Clock(done, refresh=refresh).seconds_left(stages[-1], percent, percent / 50) for percent in (10, 50, 99)]

    first, _, last = found
    assert first is not None
    assert last is not None
    assert 0 < last < first
    assert Clock(done, refresh=refresh).seconds_left("publish", 0, 1) is None


@pytest.mark.parametrize("percent", [0, 40, 100])
@pytest.mark.parametrize("before", [{}, BEFORE, {"fit": 0.0}, {"unheard of": 3.0}])
def test_an_estimate_is_never_below_zero(before: dict[str, float], percent: float) -> None:
    """Whatever earlier timings say, and though a stage takes longer than it did."""
    done = {"select": 1.0, "build": 1.0, "another": 7.0}

    for stage in ("select", "build", "fit", "evaluate", "precompute", "publish", "queued"):
        left = Clock(done, before).seconds_left(stage, percent, 1000)
        assert left is None or left >= 0


def test_the_time_left_is_told_in_round_words() -> None:
    """Seconds by five, then minutes, then hours; nothing where nothing is known."""
    told = [tell_left(seconds) for seconds in (None, 0, 12, 88, 91, 3600, 7200)]

    assert [
        "",
        "about 5 s left",
        "about 10 s left",
        "about 90 s left",
        "about 2 min left",
        "about 60 min left",
        "about 2.0 h left",
    ] == told


def test_timings_are_those_of_the_last_work_of_the_same_kind(workspace: Workspace, tmp_path: Path) -> None:
    """A refresh says nothing of a fit; timings that cannot be read count as none."""
    train_checkerboard(workspace, tmp_path)
    refresh(workspace.settings, "board")
    versions = ModelVersions(workspace.settings.home, "board")

    assert read_timings(versions.version(1).folder) == last_timings(versions, refresh=False)
    assert read_timings(versions.version(2).folder) == last_timings(versions, refresh=True)
    for damaged in ("[1]", '{"fit": "long"}', "{", "7"):
        (versions.version(1).folder / TIMINGS).write_text(damaged)
        assert {} == last_timings(versions, refresh=False)


def test_progress_moves_with_the_work_and_names_it(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never falls, stands nowhere for long in the fit, and says which pair is at work."""
    monkeypatch.setattr("lucid.training.run._REPORT_SECONDS", 0)
    train_checkerboard(workspace, tmp_path)
    told: list[tuple[float, str]] = []

    workspace.train("board", progress=lambda percent, doing: told.append((percent, doing)))

    percents = [percent for percent, _ in told]
    assert sorted(percents) == percents
    of_the_fit = [percent for percent in percents if 10 <= percent <= 70]
    assert len(set(of_the_fit)) >= 8
    assert max(later - earlier for earlier, later in pairwise(of_the_fit)) <= 36
    said = Counter(doing.partition(",")[0] for _, doing in told)
    assert {"weighing relations", "calibrating user → item", "fitting on everything"} <= said.keys()
    assert any("left" in doing for _, doing in told)  # as it was trained before
