"""The picture of a model's quality: its bars are the report's figures, and no name breaks it."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from lucid.evaluation.pair_quality import PairQuality, RankingQuality
from lucid.model.calibration import Calibration
from lucid.training.quality_chart import MOST_PAIRS, quality_chart

SCORES = np.linspace(0.1, 5, 50)
SVG = "{http://www.w3.org/2000/svg}"


def quality(model: float, popularity: float, item_knn: float, source_type: str = "user") -> PairQuality:
    ours, popular, neighbours = (RankingQuality(ndcg, ndcg, ndcg, 10) for ndcg in (model, popularity, item_knn))
    return PairQuality(source_type, "video", "decomposition 0", ours, popular, neighbours, None, 0.01)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_bars_are_as_long_as_the_figures() -> None:
    """Twice the NDCG is a bar of twice the length, and each figure stands beside its own."""
    svg = ElementTree.fromstring(quality_chart([quality(0.4, 0.1, 0.2)], {}))

    bars = [float(bar.get("width", 0)) for bar in svg.iter(f"{SVG}rect") if bar.get("x") == "250"]
    assert [0.4, 0.1, 0.2] == pytest.approx([0.4 * width / bars[0] for width in bars])
    assert {"0.400", "0.100", "0.200", "user → video"} <= {*texts(quality_chart([quality(0.4, 0.1, 0.2)], {}))}


def test_where_nothing_was_found_again_no_bar_has_a_length() -> None:
    """Nothing is divided by zero."""
    svg = ElementTree.fromstring(quality_chart([quality(0, 0, 0)], {}))

    assert [0, 0, 0] == [int(bar.get("width", 1)) for bar in svg.iter(f"{SVG}rect") if bar.get("x") == "250"]


def test_a_curve_rises_with_the_score() -> None:
    """Each pair that has a calibration gets one, in the pair's colour."""
    calibration = Calibration(slope=1.5, intercept=-3).judged_by(Calibration().log1p(SCORES))
    svg = ElementTree.fromstring(quality_chart([quality(0.4, 0.1, 0.2)], {("user", "video"): calibration}))

    (curve,) = svg.iter(f"{SVG}polyline")
    heights = [-float(point.split(",")[1]) for point in curve.get("points", "").split()]
    assert sorted(heights) == heights
    assert heights[0] < heights[-1]


@pytest.mark.parametrize("name", ["<script>&\"'", "]]>", "\x00\x1b", "ü→漢字", "x" * 500, ""])
def test_names_are_text(name: str) -> None:
    """Whatever customers call their types is neither markup nor breaks the picture, and long ones are cut."""
    found = texts(quality_chart([quality(0.4, 0.1, 0.2, name)], {}))

    shown = [text for text in found if text.endswith(" → video")]
    assert 1 == len(shown)
    assert len(shown[0]) < 40


def test_what_is_not_shown_is_told() -> None:
    """A picture of very many pairs could not be read."""
    pairs = [replace(quality(0.4, 0.1, 0.2), source_type=f"type {number}") for number in range(MOST_PAIRS + 3)]

    assert "NDCG@10 on held-out interactions; 3 more in the report" in texts(quality_chart(pairs, {}))
