"""The holdout: interactions that are withheld from training, for validation and for test; see `evaluation.splitting`.

Choices are made on the validation sources and the report's figures come from the test sources, so what is reported was
not chosen on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lucid.graph.histories import InteractionHistory
from lucid.graph.typed_graph import TypedGraph
from lucid.model.masking import mask
from lucid.model.pair_model import Pair
from lucid.typing import AnyFloats, Rows

MAX_SCORES = 12_500_000
"""Scores that are looked at together; a few copies of them are held, 50 to 100 MB each."""


@dataclass(frozen=True)
class HoldoutConfig:
    """How much is withheld; what has no measurement beside it was set by hand, to keep judging within seconds."""

    share: float = 0.1
    """Of each pair's interactions, withheld from propagation."""
    max_validation_sources: int = 2000
    """That a pair is chosen by at most. The share of item-kNN needs them: its gain is small beside its noise."""
    max_test_sources: int = 500
    """That a pair is reported on at most."""
    cold_share: float = 0.05
    """Of each pair's targets, that lose all their interactions with the source type, if other edges tell of them."""
    max_cold: int = 300
    min_cold: int = 10
    """Cold targets that a pair is judged by at most, and at least."""
    min_indirect: int = 40
    max_indirect: int = 400
    """Sources that an indirect pair is judged by at least and at most; half of them are for validation."""
    max_indirect_tried: int = 2000
    """Sources that are looked at to find these; bounds the time on large graphs."""
    min_indirect_targets: int = 20
    """A type with fewer is nearly all reached by everybody."""
    max_reached_share: float = 0.5
    """Of a type's targets; who reaches more of them anyway is no judge."""


def shuffled(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Positions of different rows of a graph of some size, in a random order.

    Each row has its own random number, so that one row more or less leaves the order of the others as it is: an
    interaction that says nothing changes nothing of what is chosen on the holdout.
    """
    return np.argsort(rng.random(size)[rows])


@dataclass(frozen=True)
class HeldOut:
    """Withheld targets of one pair: for each of the `sources` (rows), the rows `targets[starts[i]:starts[i + 1]]`."""

    source_type: str
    target_type: str
    sources: Rows
    starts: NDArray[np.int64]
    targets: Rows
    history: InteractionHistory
    """The train history: what a source has already and nobody is judged by."""

    @property
    def pair(self) -> Pair:
        return self.source_type, self.target_type

    def of(self, position: int) -> Rows:
        """Withheld rows of the source at this position."""
        return self.targets[self.starts[position] : self.starts[position + 1]]

    def part(self, positions: Rows) -> "HeldOut":
        """What is withheld of some of the sources, by their positions."""
        lists = [self.of(int(position)) for position in positions]
        starts = np.concatenate([[0], np.cumsum([len(targets) for targets in lists])]).astype(np.int64)
        targets = np.concatenate(lists) if lists else np.empty(0, np.int64)
        return replace(self, sources=self.sources[positions], starts=starts, targets=targets)

    def parts(self, targets: range) -> list["HeldOut"]:
        """So many sources at a time that scores of all targets fit in memory."""
        positions, step = np.arange(len(self.sources)), max(1, MAX_SCORES // max(len(targets), 1))
        return [self.part(positions[start : start + step]) for start in range(0, len(positions), step)]

    def masked(self, scores: AnyFloats, targets: range) -> AnyFloats:
        """The scores without, in place, what the sources have already and the sources themselves."""
        return mask(scores, self.sources, targets, self.history)

    @classmethod
    def by_source(cls, pair: Pair, edges: NDArray[np.int64], history: InteractionHistory) -> "HeldOut":
        """Withheld edges (2, E) of a pair, from source to target."""
        sources, targets = edges
        order = np.lexsort((targets, sources))
        rows, starts = np.unique(sources[order], return_index=True)
        return cls(*pair, rows, np.append(starts, len(order)), targets[order], history)


@dataclass(frozen=True)
class Halves:
    """The withheld interactions of several pairs, for different sources: what is chosen on, and what is reported on.

    Half of the sources each, but for pairs with so many that `HoldoutConfig` takes a part.
    """

    validation: list[HeldOut]
    test: list[HeldOut]

    @classmethod
    def at_random(cls, judged: Sequence[HeldOut], config: HoldoutConfig, rng: np.random.Generator) -> "Halves":
        """The sources of each pair, or as many as are wanted, divided at random."""
        validation, test = [], []
        for held in judged:
            positions = shuffled(held.sources, len(held.history.starts) - 1, rng)
            chosen = min((len(positions) + 1) // 2, config.max_validation_sources)
            validation.append(held.part(np.sort(positions[:chosen])))
            test.append(held.part(np.sort(positions[chosen : chosen + config.max_test_sources])))
        return cls(validation, test)


@dataclass(frozen=True)
class Holdout:
    """`train` lacks what is withheld."""

    train: TypedGraph
    warm: Halves
    """Interactions of pairs that interactions link, between entities that keep others."""
    cold: Halves
    """Interactions of targets that keep none with the source type."""
    indirect: Halves
    """Pairs that no interaction links: what sources reach in two steps only over withheld edges."""
    disliked: Halves
    """Interactions that say that something was not liked, of the pairs of which any say how much it was."""
    graph: TypedGraph | None = None
    """The whole graph, which tells the order of what is withheld; None where nobody asks."""
