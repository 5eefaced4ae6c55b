"""The time that a fit may take: what the search of settings does not begin any more, and what was given up so.

Only what may be left out is asked for: the first decomposition, calibration and the fit on everything always happen.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping

Clock = Callable[[], float]
"""Seconds since some moment."""

OPTIONAL = ("search", "grow", "filters", "calibrate")
"""Phases of a fit, in their order, of which parts may be left out; see `lucid.training.cost`."""


class Budget:
    """Until when the pieces of each phase may begin; without ends, always."""

    def __init__(self, ends: Mapping[str, float] | None = None, clock: Clock = time.monotonic) -> None:
        self._ends, self._clock = ends or {}, clock
        self._given_up: Counter[str] = Counter()

    @classmethod
    def of(cls, seconds: float, phases: Mapping[str, float], clock: Clock = time.monotonic) -> "Budget":
        """So many seconds from now on for all optional phases, each of which leaves those after it their share.

        `phases` are the seconds that each is expected to take.
        """
        end, ends = clock() + seconds, {}
        for phase in reversed(OPTIONAL):
            ends[phase] = end
            end -= phases[phase]
        return cls(ends, clock)

    def allows(self, phase: str, seconds: float = 0.0) -> bool:
        """Whether a piece of a phase may begin that takes so long."""
        return self._clock() + seconds <= self._ends.get(phase, math.inf)

    def give_up(self, what: str, count: int = 1) -> None:
        """Note that so many of something were left out."""
        self._given_up[what] += count

    @property
    def given_up(self) -> list[str]:
        """What was left out, for people: `settings of relation weights (12)`."""
        return [f"{what} ({count:,})" for what, count in self._given_up.items() if count]
