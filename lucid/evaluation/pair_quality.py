"""Figures of quality as reports hold them; needs no torch. How they are computed stands in `evaluation.figures`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

CUTOFFS = (10, 20)
"""Figures look at the first so many recommendations."""
METRICS = ("ndcg", "recall", "mrr", "hit_rate")
RESAMPLES, CONFIDENCE = 1000, 0.95
LEAST_SOURCES = 10
"""Fewer tell neither an interval nor a difference: what a resample draws is then nearly always the same."""


@dataclass(frozen=True)
class Bootstrap:
    """What the random numbers of intervals and tests come from; see `lucid.evaluation.bootstrap`."""

    seed: int
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Interval:
    """A mean over sources with the interval that holds it; without ends where there are too few sources."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference, positive where what is judged is better; `p` is that of the randomization test."""

    p: float | None
    significant: bool


Ranking = Mapping[str, Interval]
"""Figures by name and cutoff, such as `ndcg@10`."""
Differences = Mapping[str, Difference]


@dataclass(frozen=True)
class AnsweredBefore:
    """The version that answered before, and this one beside it, on sources of which it knew nothing withheld.

    Without figures where a reason says why; `sources` counts how many there would have been.
    """

    version: int
    sources: int
    reason: str | None = None
    model: Ranking | None = None
    before: Ranking | None = None
    difference: Differences | None = None


@dataclass(frozen=True)
class Variety:
    """What the first ten recommendations are like; None where nothing tells."""

    coverage: float
    novelty: float | None
    diversity: float | None
    personalisation: float | None
    average_popularity: float | None


@dataclass(frozen=True)
class Decile:
    """A tenth of the targets, the most popular first: its share of interactions, and of recommendations by who."""

    interactions: float
    recommendations: Mapping[str, float]


@dataclass(frozen=True)
class SourceBand:
    """Sources with at least and at most so many interactions with the target type."""

    least: int
    most: int | None
    sources: int
    ranking: Mapping[str, Ranking]
    differences: Mapping[str, Differences]


@dataclass(frozen=True)
class TargetBand:
    """Withheld targets that so many sources interacted with, and which share was found among the first twenty."""

    least: int
    most: int | None
    withheld: int
    found: Mapping[str, float]


@dataclass(frozen=True)
class CalibrationBin:
    """Recommendations of about the same probability, and which share of them hit."""

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True)
class PairFigures:
    """All figures of a pair, by who gave the recommendations: `model`, `popularity`, `item_knn`.

    `differences` are those of the model to each baseline on the same sources.
    """

    sources: int
    withheld: int
    targets: int
    ranking: Mapping[str, Ranking]
    differences: Mapping[str, Differences]
    answered_before: AnsweredBefore | None
    variety: Mapping[str, Variety]
    popularity_bias: Sequence[Decile]
    by_source: Sequence[SourceBand]
    by_target: Sequence[TargetBand]
    cold: Ranking | None
    calibration: Sequence[CalibrationBin]


@cache
def _figures() -> TypeAdapter[PairFigures]:
    return TypeAdapter(PairFigures)


@dataclass(frozen=True)
class RankingQuality:
    """NDCG and recall among the first ten with binary relevance, and the share of sources with any hit."""

    ndcg: float
    recall: float
    hit_rate: float
    sources: int


@dataclass(frozen=True)
class PairQuality:
    """How well one pair's held-out interactions were found, by what answers and by the simple baselines.

    What stands beside `figures` are those at ten that matter most, as reports of every release hold them.
    """

    source_type: str
    target_type: str
    answered_by: str
    """What the pair's score is made of, for people."""
    model: RankingQuality
    popularity: RankingQuality
    item_knn: RankingQuality
    cold: RankingQuality | None
    """Among targets without interactions only, where other edges tell of some."""
    calibration_error: float
    figures: PairFigures | None = None
    """None in reports of earlier releases."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PairQuality":
        measured = {name: RankingQuality(**raw[name]) for name in ("model", "popularity", "item_knn")}
        cold = RankingQuality(**raw["cold"]) if raw["cold"] else None
        figures = _figures().validate_python(raw["figures"]) if raw.get("figures") else None
        return cls(**{**raw, **measured, "cold": cold, "figures": figures})
