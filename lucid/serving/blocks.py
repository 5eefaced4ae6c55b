"""Blocks of an answer: the columns of what was ranked, as JSON texts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.schema.recommendations import EXPLANATION, PLACED, Recommendation
from lucid.serving.attribution import explain
from lucid.serving.ranker import Ranked
from lucid.serving.rendering import Block, Column
from lucid.serving.sources import Source, counted
from lucid.typing import Rows
from lucid.versions.precomputed import MILLION
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

_RANKS = [b"%d" % rank for rank in range(1, 10_001)]


class Blocks:
    """Makes blocks of answers from one version."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._types = {name: orjson.dumps(name) for name in version.config.entity_types.types}

    def ranked(self, ranked: Ranked) -> Block:
        """The rows of what was ranked, in the order in which the sources were asked."""
        sources, rows = ranked.sources, ranked.best.target_rows
        positions = ranked.best.positions.tolist()
        ranks = np.arange(1, len(positions) + 1) - np.searchsorted(ranked.best.positions, ranked.best.positions)
        ids = [sources[position].id for position in positions]
        numbers = _numbers(ranked.best.scores), _numbers(ranks), _numbers(self._probabilities(ranked))
        columns = self._columns(ids, rows, *numbers, self._type_names(rows), _served_by(sources, positions))
        return Block(columns, len(positions), counted(sources), {one.id: one.entity_type for one in sources})

    def placed(self, ranked: Ranked, reference: str) -> Block:
        """The same rows, and how the placement of that name and version came to them."""
        block, placed = self.ranked(ranked), ranked.placed
        assert placed is not None
        rules = [orjson.dumps(moved_by) for moved_by in placed.moved_by]
        columns = rules, _numbers(placed.propensities), orjson.dumps(reference)
        return replace(block, columns={**block.columns, **dict(zip(PLACED, columns, strict=True))})

    def explained(self, block: Block, ranked: Ranked, uploads: Uploads) -> Block:
        """The rows of a block, and what contributed to each."""
        return replace(block, columns={**block.columns, EXPLANATION: explain(ranked, self._version, uploads)})

    def precomputed(self, source: Source, target_type: str, rows: Rows, scores: NDArray[np.int32]) -> Block:
        """The rows of one source that were computed ahead, with scores in millionths."""
        points = scores / MILLION
        calibration = self._version.config.pair(source.entity_type, target_type).calibration
        numbers = _numbers(points), _RANKS[: len(rows)], _numbers(calibration.probability(points))
        columns = self._columns(source.id, rows, *numbers, self._types[target_type], _served_by([source], [0]))
        return Block(columns, len(rows), counted([source]), {source.id: source.entity_type})

    def _probabilities(self, ranked: Ranked) -> NDArray[np.float64]:
        if ranked.probabilities is not None:
            return np.round(ranked.probabilities, 6)
        config, best = self._version.config, ranked.best
        source_types = np.array([source.entity_type for source in ranked.sources], dtype=object)[best.positions]
        targets = config.entity_types.type_numbers(best.target_rows)
        found = np.empty(len(best.scores))
        for source_type, target in {*zip(source_types.tolist(), targets.tolist(), strict=True)}:
            of_pair = (source_types == source_type) & (targets == target)
            calibration = config.pair(source_type, config.entity_types.types[target]).calibration
            found[of_pair] = calibration.probability(best.scores[of_pair])
        return found

    def _columns(
        self,
        source_ids: Column,
        targets: Rows,
        scores: Column,
        ranks: Column,
        probabilities: Column,
        types: Column,
        served_by: Column,
    ) -> dict[str, Column]:
        index = self._version.index
        values = (source_ids, index.ids(targets), scores, ranks, probabilities, types, index.names(targets), served_by)
        return dict(zip(Recommendation._fields, values, strict=True))

    def _type_names(self, rows: Rows) -> Column:
        entity_types = self._version.config.entity_types
        numbers = entity_types.type_numbers(rows)
        if len(rows) and numbers.min() == numbers.max():
            return self._types[entity_types.types[numbers[0]]]
        return [self._types[entity_types.types[number]] for number in numbers.tolist()]


def _served_by(sources: Sequence[Source], positions: Sequence[int]) -> Column:
    ways = [b'"%b"' % source.served_by.encode() for source in sources]
    return ways[0] if len(set(ways)) == 1 else [ways[position] for position in positions]


def _numbers(values: NDArray[np.int64] | NDArray[np.float64]) -> list[bytes]:
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",") if len(values) else []
