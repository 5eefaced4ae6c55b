"""Figures of quality as reports hold them; needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RankingQuality:
    """NDCG and recall among the first ten with binary relevance, and the share of sources with any hit."""

    ndcg: float
    recall: float
    hit_rate: float
    sources: int


@dataclass(frozen=True)
class PairQuality:
    """How well one pair's held-out interactions were found, by what answers and by the simple baselines."""

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

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PairQuality":
        measured = {name: RankingQuality(**raw[name]) for name in ("model", "popularity", "item_knn")}
        cold = RankingQuality(**raw["cold"]) if raw["cold"] else None
        return cls(**{**raw, **measured, "cold": cold})
