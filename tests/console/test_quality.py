"""What figures mean for whoever decides: by significance where a report has it, by a margin where it has none."""

from dataclasses import replace

import pytest

from lucid.api.console.quality import Verdict, verdicts
from lucid.evaluation.pair_quality import Difference, PairFigures, PairQuality, RankingQuality
from lucid.training.report import GraphCounts, TrainingReport


def ranking(ndcg: float, sources: int = 100) -> RankingQuality:
    return RankingQuality(ndcg, ndcg, ndcg, sources)


def pair(model: float, popularity: float, item_knn: float, sources: int = 100) -> PairQuality:
    measured = ranking(model, sources), ranking(popularity, sources), ranking(item_knn, sources)
    return PairQuality("user", "item", "", *measured, None, 0.0)


def figures(popularity: Difference, item_knn: Difference) -> PairFigures:
    differences = {"popularity": {"ndcg@10": popularity}, "item_knn": {"ndcg@10": item_knn}}
    return PairFigures(100, 100, 100, {}, differences, None, {}, [], [], [], None, [])


def verdict(quality: PairQuality) -> Verdict:
    report = TrainingReport("m", 1, [], [], [], GraphCounts(0, [], [], []), None, [quality], None)  # type: ignore[arg-type]
    (found,) = verdicts(report)
    return found.verdict


AHEAD, BEHIND = Difference(0.1, 0.05, 0.15, 0.001, True), Difference(-0.1, -0.15, -0.05, 0.001, True)
CHANCE = Difference(0.1, -0.05, 0.25, 0.3, False)


@pytest.mark.parametrize(
    ("popularity", "item_knn", "expected"),
    [
        (AHEAD, AHEAD, "better"),
        (AHEAD, CHANCE, "simple"),
        (AHEAD, BEHIND, "worse"),
        (CHANCE, AHEAD, "equal"),
        (CHANCE, CHANCE, "equal"),
        (BEHIND, CHANCE, "worse"),
    ],
)
def test_significance_decides(popularity: Difference, item_knn: Difference, expected: Verdict) -> None:
    """However large a difference looks: what chance explains is none."""
    assert expected == verdict(replace(pair(0.3, 0.2, 0.2), figures=figures(popularity, item_knn)))


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (pair(0.3, 0.2, 0.2), "better"),
        (pair(0.3, 0.2, 0.299), "simple"),
        (pair(0.2, 0.201, 0.1), "equal"),
        (pair(0.1, 0.2, 0.05), "worse"),
        (pair(0.0, 0.0, 0.0), "equal"),
        (pair(0.3, 0.0, 0.0), "better"),
        (pair(0.9, 0.1, 0.1, sources=3), "few"),
    ],
)
def test_reports_of_earlier_releases_go_by_a_margin(quality: PairQuality, expected: Verdict) -> None:
    """They know no significance; with few sources nothing is said."""
    assert expected == verdict(quality)


def test_the_heat_map_has_ten_colours() -> None:
    """As good as the better baseline is the middle; nothing is beyond the last one."""
    report = TrainingReport("m", 1, [], [], [], GraphCounts(0, [], [], []), None, [], None)  # type: ignore[arg-type]
    levels = [
        verdicts(replace(report, pairs=[pair(model, 0.1, 0.2)]))[0].level for model in (0.0, 0.1, 0.2, 0.3, 0.4, 9.0)
    ]

    assert [0, 2, 5, 8, 9, 9] == levels
