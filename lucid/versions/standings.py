"""What is popular and what is trending in a version: the activity of its entities, and lists computed ahead from it.

`activity.safetensors` holds the counts, from which lists for any window and half-life are computed, what counts as
recent where a question does not say, and the first `LISTED` of each type's lists for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.graph.activity import Activity
from lucid.graph.entity_types import EntityTypes
from lucid.model.popularity import STANDINGS, Span, Standing, choose_spans
from lucid.schema.fields import ForAll
from lucid.store.arrays import MappedTensors, write_tensors
from lucid.versions.files import ACTIVITY

LISTED = 1000
"""How much of each list is computed ahead."""

Spans = Mapping[tuple[str, ForAll], Span]


@dataclass(frozen=True)
class Standings:
    """The lists of a version by type and way, with what they are computed from."""

    activity: Activity
    spans: Spans
    ahead: Mapping[tuple[str, ForAll], Standing]


def choose_all_spans(activity: Activity, entity_types: EntityTypes) -> Spans:
    """What counts as recent in the lists of each type; see `choose_spans`."""
    spans = {}
    for entity_type in entity_types.types:
        rows = entity_types.rows(entity_type)
        for way, span in choose_spans(activity.of(rows), len(rows), activity.newest).items():
            spans[entity_type, way] = span
    return spans


def write_standings(folder: Path, entity_types: EntityTypes, activity: Activity, spans: Spans) -> None:
    """Compute the lists of all types and write them with the activity."""
    tensors = activity.to_arrays()
    for number, entity_type in enumerate(entity_types.types):
        rows = entity_types.rows(entity_type)
        daily = activity.of(rows)
        for way, standing in STANDINGS.items():
            span, name = spans[entity_type, way], f"{number}.{way}"
            found = standing(daily, len(rows), activity.newest, span).first(LISTED)
            tensors[f"{name}.span"] = np.array([span.window or np.nan, span.half_life or np.nan])
            tensors[f"{name}.targets"] = found.targets.astype(np.int32)
            tensors[f"{name}.scores"], tensors[f"{name}.shares"] = found.scores, found.shares
    write_tensors(folder / ACTIVITY, tensors)


def read_standings(folder: Path, entity_types: EntityTypes) -> Standings | None:
    """The lists of a version, mapped; None where a release wrote it that counted no activity."""
    path = folder / ACTIVITY
    if not path.exists():
        return None
    tensors = MappedTensors(path)
    names = {
        (entity_type, way): f"{number}.{way}"
        for number, entity_type in enumerate(entity_types.types)
        for way in STANDINGS
    }
    return Standings(
        Activity.from_arrays(tensors),
        {key: _span(tensors[f"{name}.span"]) for key, name in names.items()},
        {key: _standing(tensors, name) for key, name in names.items()},
    )


def _span(values: NDArray[np.float64]) -> Span:
    window, half_life = (None if np.isnan(value) else value for value in values.tolist())
    return Span(None if window is None else int(window), half_life)


def _standing(tensors: Mapping[str, NDArray[Any]], name: str) -> Standing:
    return Standing(tensors[f"{name}.targets"], tensors[f"{name}.scores"], tensors[f"{name}.shares"])
