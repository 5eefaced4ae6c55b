"""Edges as they were read since a training, before they are weighed; those of single entities can be added to."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.since import EDGES

Edges = Mapping[str, NDArray[Any]]
"""Columns id, relation, other, timestamp, repeats and number of edges, sorted by the first three; see
`lucid.data.since`."""

NO_EDGES: Edges = {name: np.empty(0, of_type) for name, of_type in EDGES.items()}


@dataclass(frozen=True)
class ReadEdges:
    """Edges by the id of the entity that has them: those that were `read`, with those of some entities in `changed`."""

    read: Edges = field(default_factory=lambda: NO_EDGES)
    changed: Mapping[str, Edges] = field(default_factory=dict)

    def of(self, ids: Collection[str]) -> Iterator[Edges]:
        """The edges of each of the entities, in no order."""
        known = self.read["id"]
        for name in ids:
            if name in self.changed:
                yield self.changed[name]
            elif (start := bisect_left(known, name)) < len(known) and known[start] == name:
                yield _part(self.read, slice(start, bisect_right(known, name)))

    def with_edges(self, ids: Collection[str], edges: Edges) -> "ReadEdges":
        """With other edges for some entities, none where there are none of them."""
        parts = {name: _part(edges, part) for name, part in parts_by_id(edges["id"])}
        return ReadEdges(self.read, {**self.changed, **{name: parts.get(name, NO_EDGES) for name in ids}})


def edges_of(edges: Edges, ids: Collection[str]) -> Edges:
    """The edges that some entities have."""
    wanted = np.fromiter((name in ids for name in edges["id"]), bool, len(edges["id"]))
    return _part(edges, wanted)


def summed(parts: Sequence[Edges], amounts: Collection[str] = ()) -> Edges:
    """Edges of several readings of different rows, as one reading of all would have found them.

    Numbers of relations that are `amounts` are added; of others the latest counts.
    """
    found = {name: np.concatenate([part[name] for part in (NO_EDGES, *parts)]) for name in NO_EDGES}
    if not len(found["id"]):
        return NO_EDGES
    keys = found["other"], _places(found["relation"]), _places(found["id"])
    order = np.lexsort((np.nan_to_num(found["timestamp"], nan=-np.inf), *keys))  # stable: later readings come later
    differs = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    firsts = np.flatnonzero(np.concatenate([[True], differs]))
    number = found["number"][order]
    latest = np.maximum.reduceat(np.where(np.isnan(number), -1, np.arange(len(number))), firsts)
    numbers = np.where(latest < 0, np.nan, number[latest])
    if amounts:
        are_added = np.isin(found["relation"][order][firsts].astype(str), list(amounts)) & (latest >= 0)
        numbers = np.where(are_added, np.add.reduceat(np.nan_to_num(number), firsts), numbers)
    return {
        "number": numbers,
        **{name: found[name][order][firsts] for name in ("id", "relation", "other")},
        "timestamp": np.fmax.reduceat(found["timestamp"][order], firsts),  # NaN is no time
        "repeats": np.add.reduceat(found["repeats"][order], firsts),
    }


def parts_by_id(ids: NDArray[Any]) -> Iterator[tuple[str, slice]]:
    """Each id and where it stands among ids of which equal ones stand together."""
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.empty(0, np.int64)
    for begin, end in itertools.pairwise([*starts.tolist(), len(ids)]):
        yield ids[begin], slice(begin, end)


def _places(texts: NDArray[Any]) -> NDArray[np.int64]:
    """Where each text stands among all of them in their order."""
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    return np.fromiter(map(places.__getitem__, texts), np.int64, len(texts))


def _part(edges: Edges, which: slice | NDArray[np.bool_]) -> Edges:
    return {name: column[which] for name, column in edges.items()}
