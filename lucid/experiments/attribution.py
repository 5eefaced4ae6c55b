"""Attribution: what came of the answers of a model that were noted."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import orjson

from lucid.errors import InvalidRequest
from lucid.experiments.intervals import wilson
from lucid.experiments.weighted import Key, weighted
from lucid.models import find_model
from lucid.schema.attribution import Attribution, AttributionGroup, By, EventRate
from lucid.settings import Settings
from lucid.store.impression_log import ImpressionLog

_OF_BY: Mapping[By | None, tuple[str, ...]] = {
    None: (),
    "version": ("version",),
    "pair": ("source_type", "target_type"),
    "rank": ("rank",),
}
_SHOWN = "answers a JOIN impressions i ON i.answer = a.number WHERE a.model_id = ? AND a.shown >= ? AND a.shown < ?"
_LAST = 2**62
_DECIMALS = 6

_Events = dict[Key, list[EventRate]]


def attribution(
    settings: Settings,
    model_id: str,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
    by: By | None = None,
) -> Attribution:
    """What came of the answers of a model that were shown from one moment to before another, events until now.

    A moment without a zone is in UTC. Raises UnknownModel, InvalidRequest where the time ends before it begins.
    """
    find_model(settings, model_id)
    began, ended = _aware(from_time), _aware(to_time)
    if began and ended and began >= ended:
        raise InvalidRequest(f"from {began.isoformat()} is not before to {ended.isoformat()}; expected an earlier time")
    log = ImpressionLog(settings.home)
    values = [model_id, _microseconds(began, 0), _microseconds(ended, _LAST)]
    (total,) = _groups(log, values, ())
    return Attribution(
        model_id=model_id,
        from_time=began,
        to_time=ended,
        by=by,
        total=total,
        groups=_by_rank(log, values) if by == "rank" else _groups(log, values, _OF_BY[by]) if by else [],
        not_shown=_not_shown(log, values),
    )


def _groups(log: ImpressionLog, values: Sequence[object], names: tuple[str, ...]) -> list[AttributionGroup]:
    """The groups that columns of impressions make, in their order; without columns, one of all."""
    columns = "".join(f"i.{name}, " for name in names)
    grouped = f"GROUP BY {', '.join(f'i.{name}' for name in names)}" if names else ""
    # A source that got nothing was answered, but shown no pair.
    some = " AND i.target_type IS NOT NULL" if "target_type" in names else ""
    found = log.select(
        f"SELECT {columns}count(DISTINCT a.number), coalesce(sum(i.count), 0), count(DISTINCT i.source_id) "
        f"FROM {_SHOWN}{some} {grouped}",
        values,
    ) or ([] if names else [(0, 0, 0)])
    events = _events(log, values, names, {row[: len(names)]: row[-2] for row in found})
    return [
        AttributionGroup(
            **dict(zip(names, row, strict=False)),
            answers=row[-3],
            impressions=row[-2],
            sources=row[-1],
            events=events.get(row[: len(names)], []),
        )
        for row in sorted(found, key=lambda row: [(value is not None, value) for value in row[: len(names)]])
    ]


def _by_rank(log: ImpressionLog, values: Sequence[object]) -> list[AttributionGroup]:
    shown = _shown_at(log, values)
    events = _events(log, values, ("rank",), {(rank,): count for rank, count in shown.items()})
    return [
        AttributionGroup(rank=rank, answers=None, impressions=shown[rank], sources=None, events=events.get((rank,), []))
        for rank in sorted(shown)
    ]


def _shown_at(log: ImpressionLog, values: Sequence[object]) -> dict[int, int]:
    """How many rows were shown at each rank."""
    counts: defaultdict[int, int] = defaultdict(int)
    longest = log.select(f"SELECT i.count, count(*) FROM {_SHOWN} AND i.ranks IS NULL GROUP BY i.count", values)
    for length, lists in longest:
        for rank in range(1, length + 1):
            counts[rank] += lists
    for ranks, lists in log.select(
        f"SELECT i.ranks, count(*) FROM {_SHOWN} AND i.ranks IS NOT NULL GROUP BY i.ranks", values
    ):
        for rank in orjson.loads(ranks):
            counts[rank] += lists
    return counts


def _events(
    log: ImpressionLog, values: Sequence[object], names: tuple[str, ...], impressions: Mapping[Key, int]
) -> _Events:
    """Events of the groups, by type."""
    columns = "".join(f"{'r' if name == 'rank' else 'i'}.{name} AS {name}, " for name in names)
    grouped = "".join(f"{name}, " for name in names)
    found = log.select(
        f"SELECT {grouped}type, sum(events), count(*) FROM (SELECT {columns}r.type AS type, count(*) AS events "
        f"FROM {_SHOWN.replace(' WHERE', ' JOIN responses r ON r.answer = i.answer AND r.place = i.place WHERE')} "
        f"GROUP BY {grouped}r.type, r.answer, r.place, r.rank) GROUP BY {grouped}type ORDER BY {grouped}type",
        values,
    )
    exploring = weighted(log, _SHOWN, values, names)
    events: _Events = defaultdict(list)
    for *key, event_type, count, rows in found:
        shown = max(impressions.get(tuple(key), 0), rows)
        low, high = wilson(np.array(float(rows)), np.array(float(shown)))
        drawn = exploring.get(tuple(key))
        events[tuple(key)].append(
            EventRate(
                type=event_type,
                events=count,
                rows=rows,
                rate=round(rows / shown, _DECIMALS),
                low=round(float(low), _DECIMALS),
                high=round(float(high), _DECIMALS),
                weighted=drawn.rate(event_type) if drawn else None,
            )
        )
    return events


def _not_shown(log: ImpressionLog, values: Sequence[object]) -> dict[str, int]:
    found = log.select(
        "SELECT r.type, count(*) FROM answers a JOIN responses r ON r.answer = a.number "
        "WHERE a.model_id = ? AND a.shown >= ? AND a.shown < ? AND r.place IS NULL GROUP BY r.type ORDER BY r.type",
        values,
    )
    return dict(found)


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _microseconds(moment: datetime | None, default: int) -> int:
    return default if moment is None else round(moment.timestamp() * 1e6)
