"""What plain interactions say, found without a query: one by `lucid.data.since` takes 60 ms, for a single one too."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.activity import NO_DAY
from lucid.data.selection import days_before
from lucid.data.since import EDGES, ENDS, MET, Since
from lucid.data.strengths import StrengthRule
from lucid.data.timestamps import CLOCK_SKEW_DAYS
from lucid.schema.filters import DataFilters
from lucid.store.event_log import NewEvent
from lucid.typing import INTERACTION

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_DAY_SECONDS = 86_400
_Said = tuple[str, str, str, int | None]
"""Type, source, target and time of an interaction."""


@dataclass(frozen=True, slots=True)
class Known:
    """An entity: its type, and the row in which a version holds it, None for a new one."""

    type: str
    row: int | None = None


def are_plain(interactions: Sequence[NewEvent], filters: DataFilters, strengths: Sequence[StrengthRule]) -> bool:
    """Whether nothing depends on metadata: neither whether interactions are wanted nor how strong they are."""
    valued = {rule.type for rule in strengths if rule.has_values}
    return not (filters.entities or filters.interactions or any(event.type in valued for event in interactions))


def plain_since(
    interactions: Sequence[NewEvent],
    known: Mapping[str, Known],
    strengths: Sequence[StrengthRule],
    *,
    now: datetime,
    maximum_interaction_age_days: int | None,
) -> Since:
    """What `select_since` finds of interactions that are plain, and of entities of which nothing more is known.

    `known` are all entities that the ends of the interactions may be.
    """
    age = maximum_interaction_age_days
    oldest = None if age is None else days_before(now, age)
    first, last = -math.inf if oldest is None else _micros(oldest), _micros(now + timedelta(days=CLOCK_SKEW_DAYS))
    unweighed = {rule.type for rule in strengths if rule.weight == 0}
    wanted, left_out = set[_Said](), set[tuple[str, str]]()
    for one in interactions:
        source, target = _end(one.source_id, one.source_type, known), _end(one.target_id, one.target_type, known)
        if source == target:
            continue
        if one.type in unweighed or (one.timestamp is not None and not first <= one.timestamp <= last):
            left_out.add((source, target))
        elif source in known and target in known:
            wanted.add((one.type, source, target, one.timestamp))
    ends = {(name, row) for source, target in left_out for name, row in _either_way(source, target, known)}
    return Since(
        _edges(wanted, known),
        {name: one.type for name, one in known.items() if one.row is None},
        _columns(sorted(ends), ENDS),
        _met(wanted, known, {rule.type for rule in strengths if rule.meaning == "dislike"}, _micros(now)),
    )


def _edges(wanted: Iterable[_Said], known: Mapping[str, Known]) -> dict[str, NDArray[Any]]:
    found = dict[tuple[str, str, int], tuple[float, int]]()
    for of_type, source, target, time in wanted:
        seconds = -math.inf if time is None else time / 1e6
        for name, row in _either_way(source, target, known):
            latest, repeats = found.get((name, of_type, row), (-math.inf, 0))
            found[name, of_type, row] = max(latest, seconds), repeats + 1
    rows = [
        (name, INTERACTION + of_type, row, math.nan if latest == -math.inf else latest, repeats, math.nan)
        for (name, of_type, row), (latest, repeats) in sorted(found.items())
    ]
    return _columns(rows, EDGES)


def _met(
    wanted: Iterable[_Said], known: Mapping[str, Known], disliking: Collection[str], now: int
) -> dict[str, NDArray[Any]]:
    found = {
        (source, target, NO_DAY if time is None or time > now else math.floor(time / 1e6 / _DAY_SECONDS))
        for of_type, source, target, time in wanted
        if of_type not in disliking
    }
    rows = [(_row(known[source]), _row(known[target]), day) for source, target, day in found]
    return _columns(rows, MET)


def _row(one: Known) -> int:
    return -1 if one.row is None else one.row


def _either_way(source: str, target: str, known: Mapping[str, Known]) -> Iterable[tuple[str, int]]:
    """Each end, with the row of the other one where the version holds that."""
    for name, other in ((source, target), (target, source)):
        if other in known and (row := known[other].row) is not None:
            yield name, row


def _end(entity_id: str | None, of_type: str | None, known: Mapping[str, Known]) -> str:
    """The entity that an end is: one that names its type may be called `type:id`; see `lucid.data.selection`."""
    assert entity_id is not None
    if of_type is None:
        return entity_id
    one, named = known.get(entity_id), f"{of_type}:{entity_id}"
    return entity_id if (one.type == of_type if one else named not in known) else named


def _columns(rows: Sequence[tuple[object, ...]], types: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    return {name: np.array(values, of_type) for (name, of_type), values in zip(types.items(), columns, strict=True)}


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
