"""What a version knows of its entities that rules ask for: read once, when a rule first asks, and kept."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lucid.errors import OutdatedVersion
from lucid.schema.filters import Condition
from lucid.store.duck import connect
from lucid.typing import INTERACTION, Rows
from lucid.versions.availability import Availability, moments, read_availability
from lucid.versions.files import VALUES
from lucid.versions.target_filter import TargetFilter
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

_KEPT = 64
"""How many of each kind of fact are kept: a few for each rule of a few placements."""

Numbers = NDArray[np.float64]


class Facts:
    """Facts of one version, by entity type; safe to share between threads."""

    def __init__(self, version: Version, target_filter: TargetFilter | None = None) -> None:
        self._version, self._filter = version, target_filter or TargetFilter(version)
        # Of functions, as methods would close a circle, which keeps the version's files open for long.
        types = version.config.entity_types
        self._availability = lru_cache(_KEPT)(lambda entity_type: read_availability(version, types.rows(entity_type)))
        self._moments = lru_cache(_KEPT)(lambda entity_type, key: moments(version, types.rows(entity_type), key))
        self._values = lru_cache(_KEPT)(lambda key: _values(version, key))
        self._interacted = lru_cache(_KEPT)(lambda entity_type: interaction_times(version, types.rows(entity_type)))

    def fulfilling(self, entity_type: str, conditions: Sequence[Condition] | None) -> NDArray[np.bool_] | None:
        """Which entities of a type fulfil conditions, (n) bool; None where there are none, and all do."""
        return self._filter.allowed(entity_type, conditions)

    def availability(self, entity_type: str, uploads: Uploads) -> Availability:
        """When entities of a type are to be had, what was uploaded since included."""
        return self._availability(entity_type).changed(
            uploads.spans, self._version.config.entity_types.rows(entity_type)
        )

    def moments(self, entity_type: str, key: str) -> Numbers:
        """See `lucid.versions.availability.moments`."""
        return self._moments(entity_type, key)

    def last_interaction(self, entity_type: str, uploads: Uploads) -> Numbers:
        """The time of the latest interaction of each entity, Unix seconds (n), NaN for none."""
        known, rows = self._interacted(entity_type)[1], self._version.config.entity_types.rows(entity_type)
        return _with_uploads(known, rows, uploads, np.fmax)

    def first_interaction(self, entity_type: str, uploads: Uploads) -> Numbers:
        """The time of the first interaction, in the same way; of repeated ones with the same entity the last counts."""
        known, rows = self._interacted(entity_type)[0], self._version.config.entity_types.rows(entity_type)
        return _with_uploads(known, rows, uploads, np.fmin)

    def values(self, key: str, rows: Rows) -> tuple[Rows, Rows]:
        """The values of a metadata key that some rows have: positions of the rows, and a number for each value."""
        starts, numbers = self._values(key)
        counts = starts[rows + 1] - starts[rows]
        positions = np.repeat(np.arange(len(rows)), counts)
        offsets = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, numbers[starts[rows][positions] + offsets]


def interaction_times(version: Version, rows: range) -> tuple[Numbers, Numbers]:
    """The first and the last interaction of each of some rows, Unix seconds, NaN for none.

    Raises OutdatedVersion where a release made the version that kept no times.
    """
    adjacency = version.adjacency
    times = expect_times(version)
    starts = adjacency.starts[rows.start : rows.stop + 1]
    part = slice(int(starts[0]), int(starts[-1]))
    interactions = np.array([name.startswith(INTERACTION) for name in version.origin.relations], bool)
    of_edges = np.where(interactions[adjacency.relations[part]], times[part], np.nan)
    first, last = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    linked = np.flatnonzero(np.diff(starts))
    if len(linked):
        begins = (starts[:-1] - starts[0])[linked]
        first[linked] = np.fmin.reduceat(of_edges, begins)
        last[linked] = np.fmax.reduceat(of_edges, begins)
    return first, last


def expect_times(version: Version) -> Numbers:
    """The times of a version's edges; raises OutdatedVersion where a release made it that kept none."""
    times = version.adjacency.times
    if times is None:
        raise OutdatedVersion(
            f"version {version.number} of model {version.model_id!r} was made by a release that kept no times of "
            "interactions, which this placement asks for; train the model again"
        )
    return times


def _with_uploads(known: Numbers, rows: range, uploads: Uploads, which: np.ufunc) -> Numbers:
    changed: Numbers | None = None
    for row, edges in uploads.every.items():
        times = edges.known_times()
        if row in rows and not np.isnan(times).all():
            changed = known.copy() if changed is None else changed
            changed[row - rows.start] = which.reduce(times, initial=changed[row - rows.start])
    return known if changed is None else changed


def _values(version: Version, key: str) -> tuple[Rows, Rows]:
    """For each row of the graph where its values of a key begin (n + 1), and their numbers."""
    with connect(threads=2) as connection:
        found = connection.execute(
            "SELECT row, dense_rank() OVER (ORDER BY value) AS number FROM "
            "(SELECT DISTINCT row, value FROM read_parquet($values) WHERE key = $key) ORDER BY row, number",
            {"values": str(version.folder / VALUES), "key": key},
        ).fetchnumpy()
    rows = np.asarray(found["row"], np.int64)
    starts = np.searchsorted(rows, np.arange(version.config.entity_types.size + 1))
    return starts, np.asarray(found["number"], np.int64)
