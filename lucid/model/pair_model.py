"""Everything that turns embeddings into scores for one pair of types."""

from dataclasses import asdict, dataclass, field
from typing import Any

from lucid.model.calibration import Calibration
from lucid.model.spectral_filter import SpectralFilter

Pair = tuple[str, str]
"""Source type and target type."""


@dataclass(frozen=True)
class Blend:
    """A raw score is `(1 - share) * spectral + share * scale * item-kNN`."""

    share: float = 0.0
    scale: float = 1.0
    """Brings the item-kNN score that a first recommendation typically has to its spectral score."""


@dataclass(frozen=True)
class FollowsModel:
    """A raw score gains `weight * scale * follows`; what the others say of that stands in `lucid.model.follows`."""

    weight: float
    """Of a source, whose latest interactions may be long past."""
    backward: float
    """How much it counts that a target came before another, beside that it came after: 1 where order tells nothing."""
    exponent: float
    """Of the number of sources that came to a target, by which scores are divided."""
    scale: float = 1.0
    """Brings the score that a first recommendation typically has to what the raw score is without it."""
    in_session: float = 1.0
    """How many times as much it weighs in a session, where what comes next is all that is asked."""

    def factor(self, in_session: bool) -> float:
        """What a score is multiplied by before it is added."""
        return self.weight * self.scale * (self.in_session if in_session else 1.0)


@dataclass(frozen=True)
class PairModel:
    """Which decomposition and filter score a pair, apart for warm and cold targets, and how scores are calibrated."""

    source_type: str
    target_type: str
    decomposition: int
    """Which of the model's decompositions the filter is applied to."""
    filter: SpectralFilter
    cold_decomposition: int
    cold_filter: SpectralFilter
    """For targets that no interaction links to the source type: the graph says less of them, so it is smoother."""
    blend: Blend = field(default_factory=Blend)
    calibration: Calibration = field(default_factory=Calibration)
    follows: FollowsModel | None = None
    """How much it counts what sources came to last; None where order tells nothing, or nothing tells of an order."""

    @property
    def pair(self) -> Pair:
        return self.source_type, self.target_type

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> "PairModel":
        return cls(
            raw["source_type"],
            raw["target_type"],
            raw["decomposition"],
            SpectralFilter.from_json(raw["filter"]),
            raw["cold_decomposition"],
            SpectralFilter.from_json(raw["cold_filter"]),
            Blend(**raw["blend"]),
            Calibration.from_json(raw["calibration"]),
            FollowsModel(**raw["follows"]) if raw.get("follows") else None,  # earlier releases knew of no order
        )
