"""How much longer a training will take: from the time that it has taken so far, and from what an earlier one took.

Knows nothing of the data: the same model's last training is the better guide where there is one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lucid.schema.fields import Stage
from lucid.versions.files import TIMINGS
from lucid.versions.lifecycle import ModelVersions

_USUAL_TRAINING: dict[str, float] = {"select": 3, "build": 5, "fit": 80, "evaluate": 5, "precompute": 7}
_USUAL_REFRESH: dict[str, float] = {"select": 20, "build": 20, "precompute": 60}
"""Parts of the time that the stages take, in percent, as seen on the public data sets; publishing takes none to speak
of."""
_ENOUGH_PERCENT, _ENOUGH_SECONDS = 12.0, 2.0
"""What has to be done before that says something of the rest: reading and building tell little of a fit."""


def read_timings(folder: Path) -> dict[str, float]:
    """Seconds of the stages that a version's training has done; empty where nothing readable is noted."""
    try:
        found = json.loads((folder / TIMINGS).read_text())
        return {stage: float(seconds) for stage, seconds in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # a damaged file is for the check of versions to tell
        return {}


def last_timings(versions: ModelVersions, *, refresh: bool) -> dict[str, float]:
    """Seconds of the stages of the newest version that was made in the same way; empty where there is none."""
    for version in reversed(versions.complete()):
        timings = read_timings(version.folder)
        if timings and ("fit" in timings) != refresh:
            return timings
    return {}


@dataclass(frozen=True)
class Clock:
    """Estimates what is left, given seconds of the stages that are done, and those of an earlier training."""

    done: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    refresh: bool = False

    def seconds_left(self, stage: Stage, percent: float, seconds: float) -> float | None:
        """Seconds until the end, `percent` of a stage being done after `seconds`; None where nothing tells yet."""
        usual = _USUAL_REFRESH if self.refresh else _USUAL_TRAINING
        if stage not in usual:
            return None
        expected = {name: self.before.get(name, 0.0) for name in usual} if stage in self.before else usual
        passed = sum(expected[name] for name in self.done if name in expected) + expected[stage] * percent / 100
        elapsed = sum(self.done.values()) + seconds
        left = max(sum(expected.values()) - passed, 0.0)
        if expected is usual:
            return left * elapsed / passed if passed >= _ENOUGH_PERCENT and elapsed >= _ENOUGH_SECONDS else None
        # The machine may be busier than then, the data may be more.
        return left * (elapsed / passed if passed >= _ENOUGH_SECONDS else 1.0)


def tell_left(seconds: float | None) -> str:
    """How long that is, for people: `about 40 s left`, `about 3 min left`; empty where it is not known."""
    return "" if seconds is None else f"{about(seconds)} left"


def about(seconds: float) -> str:
    """A duration for people: `about 40 s`, `about 3 min`."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    return f"about {round(seconds / 60):,} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
