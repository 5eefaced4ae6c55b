"""A report as people get it: with what making the version took, which is known only when it is done."""

from pathlib import Path
from typing import Any

from lucid.training.estimate import read_cost
from lucid.training.remaining import read_timings
from lucid.training.report import read_report


def show_report(folder: Path) -> dict[str, Any]:
    """A version's report with what making it took: seconds of each stage, and the most memory, as far as is noted."""
    cost = read_cost(folder)
    took = {"seconds_by_stage": read_timings(folder), "memory_bytes": (cost and cost.peak_bytes) or None}
    return {**read_report(folder).to_json(), **took}
