"""What the figures of a pair mean for whoever has to decide whether to show its recommendations."""

from dataclasses import dataclass
from typing import Literal

from lucid.evaluation.pair_quality import PairQuality
from lucid.training.report import TrainingReport

Verdict = Literal["better", "equal", "worse", "few"]
ENOUGH = 20
"""With fewer test sources the figures say nothing."""
_MARGIN = 0.05
"""So far apart, relative to the baseline, figures are at least before they count as different."""


@dataclass(frozen=True)
class PairVerdict:
    """A pair's figures, and how they stand beside the better of the two baselines: popularity and item-kNN.

    `level` (0-9) is how strongly the heat map colours it: 5 is as good as the baseline.
    """

    quality: PairQuality
    verdict: Verdict
    baseline: float
    lift: float
    level: int


def verdicts(report: TrainingReport) -> list[PairVerdict]:
    """Of each pair that was judged: first those that interactions link directly, and of each kind the best first."""
    direct = set(report.graph.pairs)

    def order(one: PairVerdict) -> tuple[bool, bool, float]:
        pair = one.quality.source_type, one.quality.target_type
        return one.verdict == "few", pair not in direct, -one.lift

    return sorted(map(_judged, report.pairs), key=order)


def _judged(quality: PairQuality) -> PairVerdict:
    baseline = max(quality.popularity.ndcg, quality.item_knn.ndcg)
    lift = (quality.model.ndcg - baseline) / max(baseline, 1e-9) if quality.model.ndcg or baseline else 0.0
    verdict: Verdict = "better" if lift > _MARGIN else "worse" if lift < -_MARGIN else "equal"
    if quality.model.sources < ENOUGH:
        verdict = "few"
    return PairVerdict(quality, verdict, baseline, lift, round(min(max(5 + 5 * lift, 0), 9)))
