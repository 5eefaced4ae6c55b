"""The settings of a version and what it was trained on, with readers for the formats of earlier releases."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lucid.data.metadata import Reading
from lucid.data.strengths import StrengthRule
from lucid.errors import OutdatedVersion
from lucid.graph.entity_types import EntityTypes
from lucid.graph.relation_weights import RelationWeights
from lucid.model.pair_model import Pair, PairModel
from lucid.schema.fields import KeyUse
from lucid.store.documents import read_json
from lucid.typing import Rows
from lucid.versions.files import CONFIG, FORMAT, ORIGIN, REMEDY, REPORT


@dataclass(frozen=True)
class VersionConfig:
    """Everything about a version that is neither an embedding nor a recommendation.

    `pairs` are those that were judged on held-out interactions; `default_pair` stands for all others.
    """

    entity_types: EntityTypes
    pairs: dict[Pair, PairModel]
    default_pair: PairModel
    weightings: tuple[RelationWeights, ...]
    """Of each decomposition."""
    direct_pairs: tuple[Pair, ...]
    """Pairs that interactions link directly; their recommendations are always precomputed."""
    seed: int
    erased: tuple[int, ...] = ()
    """Rows of entities that were erased: they have no id any more and are never recommended."""

    def without(self, rows: Rows) -> "VersionConfig":
        """These settings with further rows erased."""
        return replace(self, erased=tuple(sorted({*self.erased, *rows.tolist()})))

    def sources(self, entity_type: str) -> Rows:
        """Rows of a type that can get recommendations; raises UnknownType."""
        rows = self.entity_types.rows(entity_type)
        every = np.arange(rows.start, rows.stop, dtype=np.int64)
        return np.setdiff1d(every, self.erased, assume_unique=True)

    def pair(self, source_type: str, target_type: str) -> PairModel:
        """What scores a pair of types."""
        known = self.pairs.get((source_type, target_type))
        return known or replace(self.default_pair, source_type=source_type, target_type=target_type)


@dataclass(frozen=True)
class Origin:
    """What a version was trained on, for judging what was uploaded since.

    `batch_ids` are those of the training; the interactions of `folded_ids` were added to the embeddings by refreshes.
    `keys` says how metadata keys are used, `relations` names the relations that the adjacency counts, and `newest` is
    the time from which ages count, Unix seconds, if any interaction has one; see `lucid.graph.typed_graph`.
    """

    batch_ids: list[str]
    folded_ids: list[str]
    keys: dict[str, KeyUse]
    relations: list[str]
    newest: float | None
    reading: Reading | None = None
    """How its metadata were read; None where a release did that which had no readings."""
    strengths: list[StrengthRule] = field(default_factory=list)
    """What its interactions say of liking and dislike; nothing where a release trained it that knew of none."""


def write_config(folder: Path, config: VersionConfig) -> None:
    raw = {
        "format": FORMAT,
        "entity_types": config.entity_types.to_json(),
        "pairs": [pair.to_json() for pair in config.pairs.values()],
        "default_pair": config.default_pair.to_json(),
        "weightings": [weights.to_json() for weights in config.weightings],
        "direct_pairs": config.direct_pairs,
        "seed": config.seed,
        "erased": config.erased,
    }
    (folder / CONFIG).write_text(json.dumps(raw))


def read_config(folder: Path) -> VersionConfig:
    """The settings of a version; raises OutdatedVersion where a later release of Lucid wrote it, Damaged."""
    return read_json(folder / CONFIG, lambda raw: _config(raw, folder), REMEDY)


def _config(raw: Any, folder: Path) -> VersionConfig:
    if raw.get("format") == 1:
        raw = _from_format_1(raw, read_json(folder / REPORT, lambda report: report["graph"]["pairs"], REMEDY))
    if raw.get("format") not in (2, 3, FORMAT):  # in 2, calibrations had no quantiles; 3 differs in the report
        raise OutdatedVersion(
            f"version {folder.name} of this model was written by another release of Lucid; train the model again"
        )
    pairs = [PairModel.from_json(pair) for pair in raw["pairs"]]
    return VersionConfig(
        EntityTypes.from_json(raw["entity_types"]),
        {pair.pair: pair for pair in pairs},
        PairModel.from_json(raw["default_pair"]),
        tuple(RelationWeights.from_json(weights) for weights in raw["weightings"]),
        tuple((source, target) for source, target in raw["direct_pairs"]),
        raw["seed"],
        tuple(raw["erased"]),
    )


def _from_format_1(raw: dict[str, Any], direct_pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Settings as release 0.1 wrote them, with the words of today."""
    return {
        "format": FORMAT,
        "entity_types": raw["vocabulary"],
        "pairs": [_pair_from_format_1(pair) for pair in raw["pairs"]],
        "default_pair": _pair_from_format_1(raw["common"]),
        "weightings": raw["chosen"]["weights"],
        "direct_pairs": direct_pairs,
        "seed": raw["seed"],
        "erased": raw["erased"],
    }


def _pair_from_format_1(raw: dict[str, Any]) -> dict[str, Any]:
    return {
        "source_type": raw["source_type"],
        "target_type": raw["target_type"],
        "decomposition": raw["view"],
        "filter": filter_from_format_1(raw["response"]),
        "cold_decomposition": raw["cold_view"],
        "cold_filter": filter_from_format_1(raw["cold"]),
        "blend": raw["blend"],
        "calibration": raw["calibration"],
    }


def filter_from_format_1(raw: dict[str, Any]) -> dict[str, Any]:
    """A spectral filter as release 0.1 wrote it."""
    return {
        "sign_mode": raw["parity"],
        "rank": raw["rank"],
        "ridge": raw["ridge"],
        "degree_exponent": raw["exponent"],
        "learned_gain": raw["gains"],
    }


def write_origin(folder: Path, origin: Origin) -> None:
    (folder / ORIGIN).write_text(json.dumps(asdict(origin)))


def read_origin(folder: Path) -> Origin:
    """What a version was trained on; raises Damaged."""
    return read_json(folder / ORIGIN, _origin, REMEDY)


def _origin(raw: Any) -> Origin:
    reading = raw.get("reading")
    strengths = [StrengthRule.from_json(rule) for rule in raw.get("strengths", [])]
    origin = Origin(
        **{**raw, "reading": Reading.from_json(reading) if reading is not None else None, "strengths": strengths}
    )
    lists = origin.batch_ids, origin.folded_ids, origin.relations
    if not (isinstance(origin.keys, dict) and all(isinstance(found, list) for found in lists)):
        raise TypeError("keys and lists expected")
    return origin
