"""What a training chose on validation sources, as its report shows it; needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lucid.graph.relation_weights import RelationWeights
from lucid.model.spectral_filter import SpectralFilter


@dataclass(frozen=True)
class TriedWeights:
    """Relation weights that were tried, and the mean over the pairs of log NDCG@10 for a part of the sources."""

    weights: RelationWeights
    mean_log_ndcg: float


@dataclass(frozen=True)
class LearnedFilterTrial:
    """NDCG@10 of a pair without and with a learned gain, on sources that it was not learned from."""

    source_type: str
    target_type: str
    plain: float
    learned: float
    kept: bool


@dataclass(frozen=True)
class FollowsTrial:
    """NDCG@10 of the next interactions of validation sources: without order, with what follows what where the order is
    shuffled, and as it is, and how often they are among the first ten (HR@10) without order and with it; the weight and
    direction with which that is, and whether it counts."""

    source_type: str
    target_type: str
    sources: int
    plain: float
    shuffled: float
    ordered: float
    plain_hit_rate: float
    ordered_hit_rate: float
    weight: float
    backward: float
    kept: bool
    in_session: float = 1.0
    """How many times as much it weighs in a session."""


@dataclass(frozen=True)
class ChosenSettings:
    """What was chosen for several pairs together, and what was tried on the way."""

    weightings: list[RelationWeights]
    """Of each decomposition."""
    default_filter: SpectralFilter
    """For pairs that no interactions link, or too few; it is applied to the first decomposition."""
    tried: list[TriedWeights]
    learned_filters: list[LearnedFilterTrial]
    given_up: list[str] = field(default_factory=list)
    """What there was no time to try, see `max_minutes`."""
    follows: list[FollowsTrial] = field(default_factory=list)
    """Of the pairs whose times tell an order."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ChosenSettings":
        return cls(
            [RelationWeights.from_json(weights) for weights in raw["weightings"]],
            SpectralFilter.from_json(raw["default_filter"]),
            [TriedWeights(RelationWeights.from_json(one["weights"]), one["mean_log_ndcg"]) for one in raw["tried"]],
            [LearnedFilterTrial(**trial) for trial in raw["learned_filters"]],
            raw.get("given_up", []),  # trainings of earlier releases took the time that they needed
            [FollowsTrial(**trial) for trial in raw.get("follows", ())],
        )


def write_chosen(folder: Path, chosen: ChosenSettings) -> None:
    """Leave `chosen.json` for the step that writes the report."""
    (folder / "chosen.json").write_text(json.dumps(asdict(chosen)))


def read_chosen(folder: Path) -> ChosenSettings:
    """Read back what `write_chosen` left in a folder."""
    return ChosenSettings.from_json(json.loads((folder / "chosen.json").read_text()))
