"""The report of an experiment: what came of each variant, and how it differs from the first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lucid.experiments.intervals import always_valid, difference
from lucid.schema.experiments import (
    Experiment,
    ExperimentReport,
    VariantDifference,
    VariantEvents,
    VariantResult,
    Verdict,
)
from lucid.settings import Settings
from lucid.store.impression_log import ImpressionLog

_OF = "answers a JOIN impressions i ON i.answer = a.number WHERE a.experiment = ? AND a.shown >= ?"
_DECIMALS = 6


@dataclass(frozen=True)
class _Counts:
    """Of a variant: what was shown to how many sources, and of each type of events, how many there were by how many."""

    versions: list[int]
    placements: list[str]
    sources: int
    answers: int
    impressions: int
    events: Mapping[str, tuple[int, int]]


def report_of(settings: Settings, experiment: Experiment) -> ExperimentReport:
    """What came of an experiment until now."""
    counts = _counts(ImpressionLog(settings.home), experiment)
    types = sorted({event_type for one in counts.values() for event_type in one.events})
    first, *others = (variant.name for variant in experiment.variants)
    return ExperimentReport(
        **experiment.model_dump(),
        results=[_result(name, one, types) for name, one in counts.items()],
        differences=[
            _difference(event_type, (first, counts[first]), (name, counts[name]))
            for event_type in types
            for name in others
        ],
        warnings=_warnings(experiment, counts),
    )


def _counts(log: ImpressionLog, experiment: Experiment) -> dict[str, _Counts]:
    began = [experiment.name, round(experiment.started.timestamp() * 1e6)]
    shown = {
        name: numbers
        for name, *numbers in log.select(
            "SELECT i.variant, count(DISTINCT i.source_id), count(DISTINCT a.number), sum(i.count) "
            f"FROM {_OF} GROUP BY i.variant",
            began,
        )
    }
    versions = log.select(f"SELECT DISTINCT i.variant, i.version FROM {_OF} ORDER BY i.version", began)
    placements = log.select(
        f"SELECT DISTINCT i.variant, i.placement FROM {_OF} AND i.placement IS NOT NULL ORDER BY i.placement", began
    )
    events = log.select(
        "SELECT i.variant, r.type, count(*), count(DISTINCT i.source_id) FROM "
        f"{_OF.replace(' WHERE', ' JOIN responses r ON r.answer = i.answer AND r.place = i.place WHERE')} "
        "GROUP BY i.variant, r.type",
        began,
    )
    counts = {}
    for name in (variant.name for variant in experiment.variants):
        sources, answers, impressions = shown.get(name, (0, 0, 0))
        of_type = {event_type: (count, by) for of, event_type, count, by in events if of == name}
        answered_by = [version for of, version in versions if of == name]
        followed = [placement for of, placement in placements if of == name]
        counts[name] = _Counts(answered_by, followed, sources, answers, impressions, of_type)
    return counts


def _result(name: str, one: _Counts, types: list[str]) -> VariantResult:
    events = []
    for event_type in types:
        count, sources = one.events.get(event_type, (0, 0))
        low, high = always_valid(np.array(float(sources)), np.array(float(one.sources)))
        events.append(
            VariantEvents(
                type=event_type,
                events=count,
                sources=sources,
                rate=_kept(_rate(one, event_type)),
                low=_kept(low),
                high=_kept(high),
            )
        )
    return VariantResult(
        name=name,
        versions=one.versions,
        placements=one.placements,
        sources=one.sources,
        answers=one.answers,
        impressions=one.impressions,
        events=events,
    )


def _difference(event_type: str, first: tuple[str, _Counts], other: tuple[str, _Counts]) -> VariantDifference:
    (first_name, a), (name, b) = first, other
    hits, hits_b = (np.array(float(one.events.get(event_type, (0, 0))[1])) for one in (a, b))
    low, high = difference(hits, np.array(float(a.sources)), hits_b, np.array(float(b.sources)))
    more = _rate(b, event_type) - _rate(a, event_type)
    verdict: Verdict = "better" if low > 0 else "worse" if high < 0 else "unknown"
    between = f"between {_points(low)} and {_points(high)} percentage points"
    told = {
        "better": f"{name} is better than {first_name}: more of its sources {event_type!r}, by {between}",
        "worse": f"{name} is worse than {first_name}: fewer of its sources {event_type!r}, the difference is {between}",
        "unknown": f"whether {name} is better or worse than {first_name} cannot be told yet: for {event_type!r} "
        f"the difference is {between}",
    }
    return VariantDifference(
        variant=name,
        type=event_type,
        difference=_kept(more),
        low=_kept(low),
        high=_kept(high),
        verdict=verdict,
        sentence=told[verdict],
    )


def _warnings(experiment: Experiment, counts: Mapping[str, _Counts]) -> list[str]:
    """What speaks against trusting the figures: sources split in another way than was asked, other versions."""
    found = []
    total, shares = sum(one.sources for one in counts.values()), sum(one.share for one in experiment.variants)
    for variant in experiment.variants:
        one, expected = counts[variant.name], variant.share / shares
        low, high = always_valid(np.array(float(one.sources)), np.array(float(total)))
        if not low <= expected <= high:
            found.append(
                f"{variant.name} has {one.sources:,} of {total:,} sources, where {expected:.1%} are expected: "
                "something keeps sources out of a variant, so do not trust the differences before it is found"
            )
        strange = [version for version in one.versions if version != variant.version]
        if variant.version is not None and strange:
            versions = ", ".join(map(str, strange))
            found.append(
                f"{variant.name} was also answered by version {versions}, as version {variant.version} was gone"
            )
    return found


def _rate(one: _Counts, event_type: str) -> float:
    return one.events.get(event_type, (0, 0))[1] / max(1, one.sources)


def _kept(value: object) -> float:
    return round(float(np.asarray(value)), _DECIMALS)


def _points(share: object) -> str:
    return f"{100 * float(np.asarray(share)):+.2f}"
