"""What an edge weighs: the one formula, for edges that a training decomposes and for those that are folded in later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lucid.typing import Floats

TRIMMED_SHARE, TRIMMED_LEAST, TRIMMED_MOST = 0.02, 5, 0.1
"""Of the times on either side, which say nothing of when a graph's interactions begin and end: this share, at least so
many, and at most this share where there are few; set by hand, to pass over a handful of times that cannot be."""


def robust_range(times: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    """The oldest and newest of several lists of times (Unix seconds, NaN for none) but for a few on either side.

    None where there is no time. A row of the year 1, of 1970-01-01 where a time was missing, or of the day on which
    somebody filled the gaps, moves it no further than from one of all times to the next.
    """
    known = np.concatenate([some[~np.isnan(some)] for some in times] or [np.empty(0)])
    if not len(known):
        return None
    count = len(known)
    trimmed = min(max(TRIMMED_LEAST, int(TRIMMED_SHARE * count)), int(TRIMMED_MOST * count))
    ordered = np.partition(known, (trimmed, count - 1 - trimmed))
    return float(ordered[trimmed]), float(ordered[count - 1 - trimmed])


StrengthUse = Literal["ignored", "mild", "signed", "strong"]
"""How strengths weigh, from not at all to dislikes that push away as much as likes pull."""
STRENGTH_USES: tuple[StrengthUse, ...] = get_args(StrengthUse)
_AT = (-1.0, -0.5, 0.5, 1.0)
_FACTORS: dict[StrengthUse, tuple[float, float, float, float]] = {
    "ignored": (1, 1, 1, 1),
    "mild": (0, 0, 1, 1.5),
    "signed": (-0.5, -0.25, 1, 1.5),
    "strong": (-1, -0.5, 1, 1.5),
}
"""What an edge weighs at strengths of `_AT`, linear between them; set by hand, `benchmarks/LOG.md` has the figures."""


def strength_factors(strengths: Floats, use: StrengthUse) -> NDArray[np.float64]:
    """How many times as much edges weigh for their strengths, (E); 1 for those that have none."""
    return np.nan_to_num(np.interp(strengths, _AT, _FACTORS[use]), nan=1.0)


@dataclass(frozen=True)
class RelationWeights:
    """How much the edges of each relation weigh (1 where it is not named), and the damping a of the degrees.

    With a weight of 0 a relation is left out. An edge that was repeated r times weighs `r ** repeats` as much, and half
    as much for every `half_life` (seconds), if there is one, that it is older than the newest. What its strength weighs
    is told by `strengths`, see `strength_factors`.
    """

    relations: Mapping[str, float]
    damping: float
    repeats: float = 0.0
    half_life: float | None = None
    strengths: StrengthUse = "ignored"

    def __hash__(self) -> int:
        return hash((*sorted(self.relations.items()), self.damping, self.repeats, self.half_life, self.strengths))

    def of(self, relation: str) -> float:
        """The weight of a relation's edges before repeats and age."""
        return self.relations.get(relation, 1.0)

    def with_relations(self, names: Iterable[str], weight: float) -> "RelationWeights":
        """These weights but for some relations, which get another."""
        return replace(self, relations={**self.relations, **dict.fromkeys(names, weight)})

    def edge_weights(
        self,
        relations: str | NDArray[np.str_],
        repeats: NDArray[np.int64],
        times: NDArray[np.float64],
        newest: float | None,
        strengths: Floats | None = None,
    ) -> Floats:
        """The weight of each edge, (E) float32: `w(relation) * repeats ** p * 0.5 ** (age / half-life) * f(strength)`.

        `relations` names the relation of all edges or of each (E); `times` are Unix seconds (E), NaN for edges that
        have none, which do not age; `newest` is the time from which ages are counted, None where nothing has a time.
        Edges that are newer have no age. Dislikes may weigh less than zero; `strengths` (E) are NaN for none.
        """
        if isinstance(relations, str):
            base: float | NDArray[np.float64] = self.of(relations)
        else:
            names, which = np.unique(relations, return_inverse=True)
            base = np.array([self.of(name) for name in names.tolist()], np.float64)[which]
        weights = base * repeats.astype(np.float64) ** self.repeats
        if self.half_life is not None and newest is not None:
            ages = np.maximum(newest - times, 0) / self.half_life
            weights = weights * np.nan_to_num(0.5**ages, nan=1.0)
        if strengths is not None and self.strengths != "ignored":
            weights = weights * strength_factors(strengths, self.strengths)
        return np.asarray(weights, np.float32)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "relations": dict(self.relations)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "RelationWeights":
        return cls(**raw)
