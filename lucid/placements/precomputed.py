"""Rows of placements computed ahead, with each training and refresh of a model, in files of its version.

    placements.json            the placements and pairs: how many rows, what they were computed under, who moved rows
    placement.<number>.bin     for each source of the type, in the order of rows: target rows (k), scores (k) in
                               millionths, and which of the lists of movers each row has (k), int32; -1 where unused

They answer as long as nothing has changed that they depend on: the placement's version, what is known of the source,
and which targets are to be had, as told by a checksum. Freshness and days are those of when they were computed.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid.model.by_value import ScoredTargets
from lucid.placements.facts import Facts
from lucid.placements.placer import PlacedRows, Placer, minute_of
from lucid.schema.fields import Hidden
from lucid.schema.placements import Placement, PrecomputePlacement
from lucid.side_by_side import side_by_side
from lucid.store.files import open_new
from lucid.typing import Rows
from lucid.versions.precomputed import MILLION, UNUSED
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

PLACEMENTS = "placements.json"
_SOURCES_AT_ONCE = 256
_COLUMNS = 3


def _file(number: int) -> str:
    return f"placement.{number}.bin"


def checksum_of(allowed: NDArray[np.bool_] | None) -> str:
    """Tells which targets (n) are allowed, None for all, from other targets."""
    return "" if allowed is None else blake2b(np.packbits(allowed).tobytes(), digest_size=16).hexdigest()


def excluded(placement: Placement) -> Hidden | None:
    """Which of a source's interactions are left out where the query says nothing of it."""
    return "disliked" if placement.exclude_interacted is False else "all"


def precompute_placements(
    version: Version, placements: Iterable[Placement], uploads: Uploads, now: datetime
) -> tuple[int, list[str]]:
    """Write what placements ask to have computed of a version into its folder; how many rows, and what was left out.

    A pair of types that the model lacks is left out, and told in a sentence.
    """
    asked = [
        (placement, pair)
        for placement in placements
        for pair in placement.precompute
        if pair.model_id == version.model_id
    ]
    facts, found, told, count = Facts(version), list[dict[str, object]](), list[str](), 0
    known = version.config.entity_types.types
    for placement, pair in asked:
        missing = [name for name in (pair.source_type, pair.target_type) if name not in known]
        if missing:
            told.append(f"placement {placement.reference} is not computed ahead: no entity type {missing[0]!r}")
            continue
        placer = Placer(version, facts, placement, uploads, minute_of(now))
        writing = _Writing(version, placement, pair, placer, now)
        count += writing.write(version.folder / _file(len(found)))
        found.append(writing.described())
    if found:
        (version.folder / PLACEMENTS).write_text(json.dumps(found))
    return count, told


class _Writing:
    """Writes the rows of one placement and pair."""

    def __init__(
        self, version: Version, placement: Placement, pair: PrecomputePlacement, placer: Placer, now: datetime
    ) -> None:
        self._version, self._placement, self._pair = version, placement, pair
        self._placer, self._now = placer, now
        types = version.config.entity_types
        self._sources = types.rows(pair.source_type)
        self._slots = min(pair.max_recommendations, len(types.rows(pair.target_type)))
        self._factors, self._allowed = placer.factors(pair.target_type), placer.allowed(pair.target_type, now)
        self._movers: dict[tuple[str, ...], int] = {}

    def write(self, path: Path) -> int:
        """Write the file of records; returns how many rows they hold."""
        erased = set(self._version.config.erased)
        starts = range(self._sources.start, self._sources.stop, _SOURCES_AT_ONCE)
        blocks = [np.arange(start, min(start + _SOURCES_AT_ONCE, self._sources.stop)) for start in starts]
        count = 0
        with open_new(path) as file:
            for rows, placed in zip(blocks, side_by_side(self._place, blocks), strict=True):
                for row, each in zip(rows.tolist(), placed, strict=True):
                    record = self._record(each if row not in erased else each.part(slice(0)))
                    count += int((record[0] != UNUSED).sum())
                    file.write(record.tobytes())
        return count

    def described(self) -> dict[str, object]:
        """What stands of it in `placements.json`."""
        return {
            "placement": self._placement.reference,
            "source_type": self._pair.source_type,
            "target_type": self._pair.target_type,
            "asked": self._pair.max_recommendations,
            "k": self._slots,
            "allowed": checksum_of(self._allowed),
            "movers": [list(names) for names in self._movers],
        }

    def _place(self, rows: Rows) -> list[PlacedRows]:
        version, pair = self._version, self._pair
        scorer = version.scorer(pair.source_type, pair.target_type)
        relations = version.origin.relations
        scored = ScoredTargets(
            scorer,
            scorer.profiles(rows),
            self._factors,
            exclude=excluded(self._placement),
            allowed=self._allowed,
            hidden=[self._placer.hidden(version.adjacency.of(row), relations, self._now) for row in rows.tolist()],
        )
        targets, space = [(pair.target_type, scored)], scorer.pair.decomposition
        return [self._placer.arrange(targets, position, self._slots, space) for position in range(len(rows))]

    def _record(self, placed: PlacedRows) -> NDArray[np.int32]:
        record = np.full((_COLUMNS, self._slots), UNUSED, np.int32)
        count = len(placed.rows)
        record[0, :count], record[1, :count] = placed.rows, np.rint(placed.scores * MILLION)
        record[2, :count] = [self._movers.setdefault(names, len(self._movers)) for names in placed.moved_by]
        return record


@dataclass(frozen=True)
class PrecomputedPlacement:
    """Open records of a placement and a pair."""

    asked: int
    allowed: str
    _slots: int
    _movers: Sequence[tuple[str, ...]]
    _first_row: int
    _file: int

    def rows(self, row: int, n: int) -> PlacedRows:
        """The first n rows of one source."""
        size = 4 * _COLUMNS * self._slots
        raw = os.pread(self._file, size, size * (row - self._first_row))
        targets, scores, movers = np.frombuffer(raw, np.int32).reshape(_COLUMNS, self._slots)[:, :n]
        used = targets != UNUSED
        return PlacedRows(
            targets[used].astype(np.int64),
            scores[used] / MILLION,
            np.ones(int(used.sum())),
            [self._movers[number] for number in movers[used].tolist()],
        )

    def __del__(self) -> None:
        os.close(self._file)


def open_placements(version: Version) -> dict[tuple[str, str, str], PrecomputedPlacement]:
    """What was computed ahead in a version: by `name@version` of the placement, source type and target type."""
    try:
        listed = json.loads((version.folder / PLACEMENTS).read_text())
    except FileNotFoundError:
        return {}
    return {
        (one["placement"], one["source_type"], one["target_type"]): PrecomputedPlacement(
            one["asked"],
            one["allowed"],
            one["k"],
            [tuple(names) for names in one["movers"]],
            version.config.entity_types.rows(one["source_type"]).start,
            os.open(version.folder / _file(number), os.O_RDONLY),
        )
        for number, one in enumerate(listed)
    }
