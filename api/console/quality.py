"""What the figures of a pair mean for whoever has to decide whether to show its recommendations."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from lucid.evaluation.pair_quality import LEAST_SOURCES, PairQuality
from lucid.training.report import TrainingReport, read_report
from lucid.versions.files import REPORT

Verdict = Literal["better", "simple", "equal", "worse", "few"]
"""Better than both simple lists; better than what is popular, and as good as item-kNN; no better than what is popular;
worse than one of them; too few sources to say."""
_FIGURE = "ndcg@10"
_MARGIN = 0.05
"""So far apart, relative to the baseline, figures of earlier releases are at least, which know no significance."""


@dataclass(frozen=True)
class PairVerdict:
    """A pair's figures, and how they stand beside the better of the two baselines: popularity and item-kNN.

    `lift` is the lead over it, relative to it. `level` (0-9) is how strongly the heat map colours it: 5 is as good.
    """

    quality: PairQuality
    verdict: Verdict
    baseline: float
    lift: float
    level: int


def report_of(folder: Path) -> TrainingReport:
    """The report of a version, which never changes once it is published; raises Damaged, FileNotFoundError."""
    return _read(folder, (folder / REPORT).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(folder: Path, _stamp: int) -> TrainingReport:
    return read_report(folder)


def verdicts(report: TrainingReport) -> list[PairVerdict]:
    """Of each pair that was judged: first those that interactions link directly, and of each kind the best first."""
    direct = set(report.graph.pairs)

    def order(one: PairVerdict) -> tuple[bool, bool, float]:
        pair = one.quality.source_type, one.quality.target_type
        return one.verdict == "few", pair not in direct, -one.lift

    return sorted(map(_judged, report.pairs), key=order)


def _judged(quality: PairQuality) -> PairVerdict:
    baseline = max(quality.popularity.ndcg, quality.item_knn.ndcg)
    lift = (quality.model.ndcg - baseline) / baseline if baseline else float(quality.model.ndcg > 0)
    verdict = _verdict(quality)
    return PairVerdict(quality, verdict, baseline, lift, round(min(max(5 + 5 * lift, 0), 9)))


def _verdict(quality: PairQuality) -> Verdict:
    if quality.model.sources < LEAST_SOURCES:
        return "few"
    popularity, item_knn = _lead(quality, "popularity"), _lead(quality, "item_knn")
    if min(popularity, item_knn) < 0:
        return "worse"
    if popularity == 0:
        return "equal"
    return "better" if item_knn else "simple"


def _lead(quality: PairQuality, baseline: Literal["popularity", "item_knn"]) -> int:
    """1 where the model is surely ahead of a baseline, -1 where it is surely behind, 0 where nobody can tell."""
    if quality.figures:
        difference = quality.figures.differences[baseline][_FIGURE]
        return (difference.mean > 0) - (difference.mean < 0) if difference.significant else 0
    theirs = getattr(quality, baseline).ndcg
    lift = (quality.model.ndcg - theirs) / theirs if theirs else float(quality.model.ndcg > 0)
    return (lift > _MARGIN) - (lift < -_MARGIN)
