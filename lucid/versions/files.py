"""The files of a version, and how each is written and read.

    models/<encoded model_id>/live               number of the version that answers, and whether it is pinned
    models/<encoded model_id>/<version>.review   why a version does not answer by itself, see `reviews`
    models/<encoded model_id>/<version>/
        config.json, origin.json, report.json    settings, what it was trained on, how good it is
        held_out.safetensors                     what the figures of the report are computed from
        entities.parquet, values.parquet         its entities, and their metadata (row, key, value)
        known_ranges.parquet, known_words.parquet    what was learnt of all values, see `lucid.data.links`
        embeddings, interacted, edges            .safetensors: what scores, masks and explains
        activity.safetensors                     what is popular and trending, see `standings`
        follows.safetensors                      what follows what, of pairs in whose scores it counts
        texts.safetensors, cache.*               what answers are read from
        recommendations.duckdb                   the same answers, for SQL
        timings.json                             seconds that each stage of the training took
        cost.json                                what the training had to do, and the most memory that it held
        manifest.json

A file that a training leaves has to stand in `TRAINED`, so that every way to make a version makes it; see `derive`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.links import KNOWN_RANGES, KNOWN_WORDS
from lucid.errors import DamagedVersion
from lucid.graph.adjacency import Adjacency
from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.graph.relation_weights import RelationWeights
from lucid.model.embedding import Embedding
from lucid.model.follows import Follows
from lucid.model.pair_model import Pair
from lucid.store.arrays import MappedTensors, write_tensors

FORMAT = 4
"""Counts up whenever the layout of a version's files changes; readers of the formats before stay, see `config`."""

CONFIG, ORIGIN, REPORT = "config.json", "origin.json", "report.json"
ENTITIES, VALUES = "entities.parquet", "values.parquet"
EMBEDDINGS, HISTORY, ADJACENCY = "embeddings.safetensors", "interacted.safetensors", "edges.safetensors"
ACTIVITY = "activity.safetensors"
FOLLOWS = "follows.safetensors"
HELD_OUT, INDEX, RECOMMENDATIONS = "held_out.safetensors", "texts.safetensors", "recommendations.duckdb"
TIMINGS, COST, MANIFEST, LIVE, REVIEW = "timings.json", "cost.json", "manifest.json", "live", ".review"

TRAINED = (
    CONFIG,
    ORIGIN,
    REPORT,
    HELD_OUT,
    ENTITIES,
    VALUES,
    KNOWN_RANGES,
    KNOWN_WORDS,
    EMBEDDINGS,
    HISTORY,
    ADJACENCY,
    ACTIVITY,
    FOLLOWS,
)
"""What a training leaves, and a derived version takes over from its parent, see `derive`."""

REMEDY = "roll back to another version or train the model again"
"""What mends a model of which a file is damaged."""


def write_embeddings(folder: Path, embeddings: Sequence[Embedding]) -> None:
    tensors: dict[str, NDArray[Any]] = {
        f"{number}.{name}": values
        for number, one in enumerate(embeddings)
        for name, values in (("values", one.values), ("vectors", one.vectors), ("degrees", one.degrees))
    }
    tensors |= {f"linked.{entity_type}": warm for entity_type, warm in embeddings[0].warm.items()}  # the same in all
    write_tensors(folder / EMBEDDINGS, tensors)


def read_embeddings(
    folder: Path, weightings: Sequence[RelationWeights], erased: Sequence[int]
) -> tuple[Embedding, ...]:
    """The embedding of all entities in each decomposition of a version, mapped."""
    tensors, rows = MappedTensors(folder / EMBEDDINGS), np.array(erased, np.int64)
    warm = {name.partition(".")[2]: entities for name, entities in tensors.items() if name.startswith("linked.")}
    return tuple(
        Embedding(
            tensors[f"{number}.values"],
            tensors[f"{number}.vectors"],
            tensors[f"{number}.degrees"],
            weights.damping,
            warm,
            rows,
        )
        for number, weights in enumerate(weightings)
    )


def write_history(
    folder: Path, history: InteractionHistory, left_out: InteractionHistory, disliked: InteractionHistory | None = None
) -> None:
    """What was learned from; what was left out of that but is known all the same; and what was disliked."""
    tensors: dict[str, NDArray[Any]] = {"starts": history.starts, "indices": history.indices}
    tensors |= {"left_out.starts": left_out.starts, "left_out.indices": left_out.indices}
    if disliked is not None and len(disliked.indices):
        tensors |= {"disliked.starts": disliked.starts, "disliked.indices": disliked.indices}
    write_tensors(folder / HISTORY, tensors)


def read_history(folder: Path) -> InteractionHistory:
    tensors = MappedTensors(folder / HISTORY)
    return InteractionHistory(tensors["starts"], tensors["indices"])


def read_left_out(folder: Path) -> InteractionHistory:
    """Empty for a version of an earlier release, which knew no more than it had learned from."""
    return _read_part(folder, "left_out")


def read_disliked(folder: Path) -> InteractionHistory:
    """Empty where nobody said that he disliked anything, or no release knew."""
    return _read_part(folder, "disliked")


def _read_part(folder: Path, name: str) -> InteractionHistory:
    tensors = MappedTensors(folder / HISTORY)
    if f"{name}.starts" not in tensors:
        return InteractionHistory.none(len(tensors["starts"]) - 1)
    return InteractionHistory(tensors[f"{name}.starts"], tensors[f"{name}.indices"])


def write_adjacency(folder: Path, adjacency: Adjacency) -> None:
    write_tensors(folder / ADJACENCY, adjacency.to_arrays())


def read_adjacency(folder: Path) -> Adjacency:
    return Adjacency.from_arrays(MappedTensors(folder / ADJACENCY))


_FOLLOWS = ("starts", "indices", "values", "latest", "times")


def write_follows(folder: Path, follows: Mapping[Pair, Follows]) -> None:
    """Write what follows what; each pair's arrays have its types, as JSON, in their names."""
    write_tensors(
        folder / FOLLOWS,
        {json.dumps([*pair, name]): getattr(one, name) for pair, one in follows.items() for name in _FOLLOWS},
    )


def read_follows(folder: Path, entity_types: EntityTypes) -> dict[Pair, Follows]:
    """What follows what, by pair, mapped; nothing for a version of an earlier release, which knew of no order.

    Raises DamagedVersion where it cannot be read.
    """
    if not (folder / FOLLOWS).exists():
        return {}
    try:
        tensors = MappedTensors(folder / FOLLOWS)
        pairs = dict.fromkeys((source, target) for source, target, _ in map(json.loads, tensors))
    except ValueError as error:  # nearly all of a file without pairs is what names them
        raise DamagedVersion(f"version {folder.name}", f"{FOLLOWS}: not readable") from error
    found = {}
    for source, target in pairs:
        arrays = (tensors[json.dumps([source, target, name])] for name in _FOLLOWS)
        found[source, target] = Follows(entity_types.rows(source), entity_types.rows(target), *arrays)
    return found
