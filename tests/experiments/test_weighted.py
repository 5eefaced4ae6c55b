"""Rates weighted by inverse propensity: against counts by hand, a policy whose worth is known, and chance."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lucid.experiments.weighted import Weighted
from lucid.schema.attribution import AttributionGroup, WeightedRate
from lucid.store.impression_log import Impression, ImpressionLog, NewAnswer, NewResponse, new_recommendation_id
from lucid.workspace import Workspace
from tests.support.checkerboard import USERS, train_checkerboard


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    train_checkerboard(Workspace(folder / "home"), folder)
    return folder / "home"


@pytest.fixture
def board(trained: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(trained, tmp_path / "home")
    return Workspace(tmp_path / "home")


def note(board: Workspace, targets: str, propensities: list[float], *clicked: str) -> None:
    """An answer with one target a letter, and clicks on some of them."""
    shown = Impression(1, "u00", "user", "item", [*targets], range(1, len(targets) + 1), propensities=propensities)
    one, log = NewAnswer(new_recommendation_id(1), 1, "board", [shown]), ImpressionLog(board.settings.home)
    log.note(one)
    log.respond([NewResponse(one.recommendation_id, None, "clicked", "u00", target, 2) for target in clicked])


def weighted(group: AttributionGroup) -> WeightedRate | None:
    (clicked,) = group.events
    return clicked.weighted


def test_weights_are_those_of_a_count_by_hand(board: Workspace) -> None:
    """Each row counts once however many events come of it, and a row that could be no other does not count."""
    note(board, "abc", [0.5, 1.0, 0.1], "a", "b")
    note(board, "cab", [0.25, 0.2, 0.5], "c", "c", "b")
    note(board, "ab", [], "a")

    total = weighted(board.attribution("board").total)
    assert total is not None
    assert total.rate == pytest.approx((2 + 4 + 2) / (2 + 10 + 4 + 5 + 2), abs=1e-6)
    by_rank = [weighted(group) for group in board.attribution("board", by="rank").groups]
    assert [1.0, 0.0, 2 / 12] == pytest.approx([one.rate for one in by_rank if one], abs=1e-6)
    for by in ("version", "pair"):
        (group,) = board.attribution("board", by=by).groups
        assert total == weighted(group)


def test_rows_that_are_erased_take_their_weights_along(board: Workspace) -> None:
    """Those that stay keep rank and weight."""
    note(board, "abcd", [0.5, 0.25, 0.1, 0.2], "a", "b", "d")

    ImpressionLog(board.settings.home).erase(["b"], lambda _: False)

    total = weighted(board.attribution("board").total)
    assert total is not None
    assert total.rate == pytest.approx((2 + 5) / (2 + 10 + 5), abs=1e-6)
    ranks = {group.rank: group.events for group in board.attribution("board", by="rank").groups}
    assert {1: 1, 3: 0, 4: 1} == {rank: len(events) for rank, events in ranks.items()}


def test_nothing_is_weighted_where_nothing_explores(board: Workspace) -> None:
    note(board, "ab", [1.0, 1.0], "a")

    assert weighted(board.attribution("board").total) is None


def test_a_placement_that_explores_tells_what_the_targets_are_worth_that_it_seldom_shows(board: Workspace) -> None:
    """Two of the five that might stand first are clicked: 2/5 of them, though the plain rate is half of that."""
    among, clicked, times = 5, [1, 3], 20
    board.save_placement({"name": "curious", "explore": {"share": 0.5, "among": among}})
    asked: dict[str, Any] = {
        "source_id": [f"u{user:02}" for user in range(USERS)],
        "target_type": "item",
        "exclude_interacted": False,
    }
    best = board.recommend("board", max_recommendations=among, **asked).groupby("source_id")["target_id"].agg(list)
    told = []
    for _ in range(times):
        table = board.recommend("board", max_recommendations=1, recommendation_id=True, placement="curious", **asked)
        told += table["propensity"].tolist()
        noted = {"type": "clicked", "recommendation_id": table.attrs["noted"]["recommendation_id"]}
        ends = zip(table["source_id"], table["target_id"], strict=True)
        liked = [(source, target) for source, target in ends if target in [best[source][place] for place in clicked]]
        if liked:
            board.send_events([{"source_id": source, "target_id": target, **noted} for source, target in liked])

    kept = ImpressionLog(board.settings.home).select("SELECT propensities FROM impressions ORDER BY answer, place", [])
    assert told == pytest.approx([float(one.strip("[]")) for (one,) in kept])
    assert {0.1, 0.6} == {round(one, 6) for one in told}
    (found,) = board.attribution("board").total.events
    assert found.weighted is not None
    rows = USERS * times
    truth, seldom = len(clicked) / among, 0.5 * len(clicked) / among
    assert abs(found.rate - seldom) < 5 * np.sqrt(seldom * (1 - seldom) / rows)
    assert abs(found.weighted.rate - truth) < 5 * np.sqrt(truth * (1 - truth) / (0.6 * rows))
    assert found.weighted.low < found.weighted.rate < found.weighted.high


@pytest.mark.parametrize(
    ("targets", "share", "chosen", "others", "rows"),
    [(20, 0.2, 0.3, 0.05, 500), (200, 0.1, 0.1, 0.02, 5000), (20, 0.2, 0.05, 0.3, 2000), (5, 0.5, 0.5, 0.1, 300)],
)
def test_intervals_hold_the_mean_of_all_targets(
    targets: int, share: float, chosen: float, others: float, rows: int
) -> None:
    """In at least 93 of 100 times, whether the rules' choice is clicked more often than the others or less."""
    rng, found = np.random.default_rng(1), []
    propensity, rates = np.full(targets, share / targets), np.full(targets, others)
    propensity[0], rates[0] = 1 - share + share / targets, chosen
    for _ in range(1000):
        shown = rng.choice(targets, size=rows, p=propensity)
        weights = 1 / propensity[shown]
        hits = weights[rng.random(rows) < rates[shown]].sum()
        found.append(Weighted(weights.sum(), (weights**2).sum(), {"clicked": hits}).rate("clicked"))

    assert np.mean([one.rate for one in found]) == pytest.approx(rates.mean(), rel=0.05)
    assert np.mean([one.low <= rates.mean() <= one.high for one in found]) >= 0.93
