"""The gate: whether a new training may go live by itself, or waits for somebody because of what it would change.

It is compared with the version that answers, by the quality of every pair and by the answers themselves. Quality is
compared on what neither has seen: what was withheld of each when it was judged, and interactions that came after the
training of the one that answers. Refreshes and erasures pass: they keep the vectors, and what they change, as the
erased entities, has to go live.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from lucid.errors import DamagedVersion, ModelNotReady, OutdatedVersion, UnknownModel
from lucid.evaluation.pair_quality import CONFIDENCE, Difference
from lucid.schema.gate import Gate
from lucid.schema.gate import GateRequest as Limits
from lucid.store.catalog import Catalog
from lucid.training.comparison import compare_reports
from lucid.training.report import TrainingReport, read_report
from lucid.training.run import Training
from lucid.versions.answers import PairAnswers, compare_answers, pairs_only_in
from lucid.versions.version import Version

_INCOMPARABLE = ModelNotReady, UnknownModel, OutdatedVersion, DamagedVersion
"""What is raised for a model of which no version answers that could be read: any new one is better."""
_FIGURE = "ndcg@10"
"""What quality is compared by."""
_NAMED = 3
"""So many pairs or types are named in a reason."""


def gate_of(catalog: Catalog, model_id: str) -> Gate:
    """The gate of a model, as it was set or as it is by default."""
    found = catalog.gates.get(model_id)
    return Gate.model_validate({**(found or {}), "is_default": found is None})


def why_held(training: Training) -> str:
    """Why a training that is done up to its publication is to be held back, with figures; empty where it may go live.

    The first of a model has nothing to be compared with.
    """
    limits = gate_of(training.catalog, training.model_id)
    if training.refresh_of is not None or not limits.enabled:
        return ""
    try:
        with training.versions.live().reading() as live:
            return "; ".join(reasons(live, training.made, limits))
    except _INCOMPARABLE:
        return ""


def reasons(live: Version, made: Version, limits: Limits) -> Iterator[str]:
    """What is against letting one version answer in place of another: a sentence for each."""
    before, after = read_report(live.folder), read_report(made.folder)
    yield from _worse(_measured(live, made, before, after), limits)
    yield from _fewer(before, after, live, made, limits)
    if not limits.allow_lost_pairs and (lost := pairs_only_in(live, made)):
        yield f"pairs that are not answered any more: {_named([f'{source} → {target}' for source, target in lost])}"
    yield from _moved(compare_answers(live, made), limits)


@dataclass(frozen=True)
class _Measured:
    """How much better a pair has become, on which sources, and how good it was."""

    pair: str
    on: str
    before: float
    difference: Difference

    @property
    def chance(self) -> float:
        """How likely chance alone makes a pair look as bad that has stayed as good.

        By the width of the interval: the resamples of the report tell nothing rarer than one in a thousand, and where
        there are many pairs, that is often.
        """
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or not self.difference.significant:
            return 1.0
        deviation = (high - low) / (2 * NormalDist().inv_cdf((1 + CONFIDENCE) / 2))
        return NormalDist().cdf(self.difference.mean / deviation) if deviation else float(self.difference.mean >= 0)


def _measured(live: Version, made: Version, before: TrainingReport, after: TrainingReport) -> list[_Measured]:
    """All that tells whether a pair has become worse."""
    found = []
    was = {(pair.source_type, pair.target_type): pair.model.ndcg for pair in before.pairs}
    on = {"same": "the same withheld interactions", "own": "what was withheld of each"}
    for pair in compare_reports(live, made):
        if pair.differences and pair.on:
            name, quality = f"{pair.source_type} → {pair.target_type}", was[pair.source_type, pair.target_type]
            found.append(_Measured(name, on[pair.on], quality, pair.differences[_FIGURE]))
    for judged in after.pairs:
        answered = judged.figures and judged.figures.answered_before
        if answered and answered.before and answered.difference and answered.version == live.number:
            name, quality = f"{judged.source_type} → {judged.target_type}", answered.before[_FIGURE].mean
            found.append(_Measured(name, "later interactions", quality, answered.difference[_FIGURE]))
    return found


def _worse(measured: Sequence[_Measured], limits: Limits) -> Iterator[str]:
    """Pairs that are worse by more than chance and more than is allowed.

    Of a hundred comparisons one looks so bad by chance that only one of a hundred does; so the level is divided by
    their number (Bonferroni).
    """
    worse = [
        f"{one.pair} NDCG@10 {one.before + one.difference.mean:.3f} instead of {one.before:.3f} on {one.on} "
        f"(95% interval of the difference {one.difference.low:+.3f} to {one.difference.high:+.3f})"
        for one in measured
        if -one.difference.mean > limits.max_relative_loss * one.before
        and one.chance < limits.significance / len(measured)
    ]
    if worse:
        yield f"worse than before: {_named(worse)}"


def _fewer(
    before: TrainingReport, after: TrainingReport, live: Version, made: Version, limits: Limits
) -> Iterator[str]:
    """What the training has far less of than the version that answers."""
    learned, learned_before = after.steps[-1].kept, before.steps[-1].kept
    if learned < limits.min_interactions * learned_before:
        yield (
            f"it learned from {learned:,} interactions, version {live.number} from {learned_before:,} "
            f"({_percent(learned / learned_before)}; at least {_percent(limits.min_interactions)} are wanted)"
        )
    fewer = []
    for entity_type in sorted({one for pair in live.precomputed for one in pair}):
        known = len(live.config.entity_types.rows(entity_type))
        types = made.config.entity_types
        now = len(types.rows(entity_type)) if entity_type in types.types else 0
        if now < limits.min_entities * known:
            fewer.append(f"{entity_type} {now:,} instead of {known:,}")
    if fewer:
        yield f"it knows far fewer entities: {_named(fewer)}"


def _moved(pairs: Sequence[PairAnswers], limits: Limits) -> Iterator[str]:
    """Where the answers moved out of bounds."""
    if lost := [(pair, pair.lost) for pair in pairs if pair.lost > limits.max_sources_lost]:
        most = f"at most {_percent(limits.max_sources_lost)} may"
        yield f"sources with answers of their own that have none any more: {_shares(lost)} ({most})"
    if changed := [(pair, pair.changed) for pair in pairs if pair.changed > limits.max_lists_changed]:
        yield f"lists that changed: {_shares(changed)} (at most {_percent(limits.max_lists_changed)} may)"
    if apart := [(pair, pair.overlap) for pair in pairs if pair.overlap < limits.min_overlap]:
        least = f"at least {_percent(limits.min_overlap)} is wanted"
        yield f"how much of the first ten recommendations stays on average: {_shares(apart)} ({least})"


def _shares(pairs: Sequence[tuple[PairAnswers, float]]) -> str:
    return _named([f"{pair.source_type} → {pair.target_type} {_percent(share)}" for pair, share in pairs])


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")
