"""The gate: whether a new training may go live by itself, or waits for somebody because of what it would change.

It is compared with the version that answers, by the quality of every pair and by the answers themselves. Refreshes and
erasures pass: they keep the vectors, and what they change, as the erased entities, has to go live.
"""

from collections.abc import Iterator, Sequence

from lucid.errors import DamagedVersion, ModelNotReady, OutdatedVersion, UnknownModel
from lucid.schema.gate import Gate
from lucid.schema.gate import GateRequest as Limits
from lucid.store.catalog import Catalog
from lucid.training.report import TrainingReport, read_report
from lucid.training.run import Training
from lucid.versions.answers import PairAnswers, compare_answers, pairs_only_in
from lucid.versions.version import Version

_INCOMPARABLE = ModelNotReady, UnknownModel, OutdatedVersion, DamagedVersion
"""What is raised for a model of which no version answers that could be read: any new one is better."""
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
            reports = read_report(live.folder), read_report(training.folder)
            return "; ".join(_reasons(live, training.made, *reports, limits))
    except _INCOMPARABLE:
        return ""


def _reasons(
    live: Version, made: Version, before: TrainingReport, after: TrainingReport, limits: Limits
) -> Iterator[str]:
    yield from _fewer(before, after, live, made, limits)
    if not limits.allow_lost_pairs and (lost := pairs_only_in(live, made)):
        yield f"pairs that are not answered any more: {_named([f'{source} → {target}' for source, target in lost])}"
    yield from _moved(compare_answers(live, made), limits)


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
    for entity_type in live.config.entity_types.types:
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
        yield f"of the first ten recommendations stays on average: {_shares(apart)} ({least})"


def _shares(pairs: Sequence[tuple[PairAnswers, float]]) -> str:
    return _named([f"{pair.source_type} → {pair.target_type} {_percent(share)}" for pair, share in pairs])


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")
