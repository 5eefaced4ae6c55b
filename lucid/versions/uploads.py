"""What was uploaded since a version was trained, folded into its vectors without training again.

An eigenvector says of every entity s and its neighbours n with edges of weight w:
`l v_s sqrt(d_s + a) = sum_n w_sn v_n / sqrt(d_n + a)`. So new edges add to the right side and to the degree, and the
vector of s follows, or comes about where s is new. That is folding-in (Deerwester et al. 1990, Sarwar et al. 2002) on a
normalised graph. Vectors of the neighbours stay; a training moves them too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid.data.selection import Since, select_since
from lucid.graph.adjacency import Neighbours
from lucid.graph.entity_index import EntityIndex
from lucid.model.scorer import Profile, Vectors
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog, SelectedBatch
from lucid.typing import INTERACTION, Floats, Rows
from lucid.versions import lifecycle
from lucid.versions.lifecycle import Config, Model, Origin

_SMALLEST = 1e-3
"""Eigenvalues below this share of the largest say nothing that could be folded in: they would only multiply noise."""


@dataclass(frozen=True)
class Uploads:
    """Edges uploaded since a version was trained: by row of the entities that it holds, by id of new ones.

    `by_row` lacks what a refresh has put into the vectors already, `every` does not. `new` gives the type of each new
    entity. Relations beyond those of the version's edges come last in `relations`.
    """

    by_row: Mapping[int, Neighbours]
    every: Mapping[int, Neighbours]
    by_id: Mapping[str, Neighbours]
    new: Mapping[str, str]
    relations: Sequence[str]


NOTHING = Uploads({}, {}, {}, {}, [])


def uploads_since(
    home: Path,
    folder: Path,
    config: Config,
    origin: Origin,
    request: TrainingRequest,
    index: EntityIndex,
    *,
    now: datetime,
) -> Uploads:
    """Read what is not in a version yet of the batches that its training would select now."""
    batches = Catalog(home).select_batches(request.data_tags)
    fresh = [batch for batch in batches if batch.batch_id not in origin.batch_ids]
    if not fresh:
        return NOTHING
    relations = list(origin.relations)

    def read(batches: Sequence[SelectedBatch]) -> tuple[dict[str, Neighbours], dict[str, str]]:
        found = _select(home, folder, batches, origin, request, now)
        return _neighbours(found.edges, config, origin, relations), found.new

    # A refresh has folded earlier batches into the entities that the version holds, but not into new ones.
    unfolded = [batch for batch in fresh if batch.batch_id not in origin.folded_ids]
    every, new = read(fresh)
    later = every if unfolded == fresh else read(unfolded)[0]
    rows = {entity_id: index.row(entity_id) for entity_id in every}

    def by_row(found: Mapping[str, Neighbours]) -> dict[int, Neighbours]:
        return {row: edges for entity_id, edges in found.items() if (row := rows.get(entity_id)) is not None}

    known = by_row(every)
    return Uploads(
        known if later is every else by_row(later),
        known,
        {entity_id: edges for entity_id, edges in every.items() if rows[entity_id] is None},
        {entity_id: kind for entity_id, kind in new.items() if kind in config.entity_types.types},
        relations,
    )


def _select(
    home: Path,
    folder: Path,
    batches: Sequence[SelectedBatch],
    origin: Origin,
    request: TrainingRequest,
    now: datetime,
) -> Since:
    return select_since(
        home,
        batches,
        folder / lifecycle.ENTITIES,
        [key for key, kind in origin.keys.items() if kind == "entity"],
        [key for key, kind in origin.keys.items() if kind == "text"],
        now=now,
        maximum_interaction_age_days=request.maximum_interaction_age_days,
        data_filters=request.data_filters or DataFilters(),
    )


def _neighbours(
    edges: Mapping[str, NDArray[Any]], config: Config, origin: Origin, relations: list[str]
) -> dict[str, Neighbours]:
    """Edges by id; names of relations that the version does not know are added to `relations`."""
    if not len(edges["id"]):
        return {}
    names, which = np.unique(edges["relation"].astype(str), return_inverse=True)
    relations += sorted(set(names.tolist()) - set(relations))
    numbers = np.array([relations.index(name) for name in names.tolist()], np.int16)[which]
    strengths = np.stack([_strengths(edges, weights, origin) for weights in config.chosen["weights"]])
    others, ids = edges["other"].astype(np.int64), edges["id"]
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    return {
        ids[begin]: Neighbours(others[begin:end], numbers[begin:end], strengths[:, begin:end])
        for begin, end in zip(starts, [*starts[1:], len(ids)], strict=True)
    }


def _strengths(edges: Mapping[str, NDArray[Any]], weights: Mapping[str, Any], origin: Origin) -> Floats:
    """What each edge counts in a view; see `lucid.model.decomposition.Weights`."""
    strengths = np.array([weights["relations"].get(name, 1.0) for name in edges["relation"].tolist()])
    strengths = strengths * edges["repeats"].astype(np.float64) ** weights["repeats"]
    if weights["half_life"] is not None and origin.newest is not None:
        ages = np.maximum(origin.newest - edges["timestamp"], 0)
        strengths = strengths * np.nan_to_num(0.5 ** (ages / weights["half_life"]), nan=1.0)
    return np.asarray(strengths, np.float32)


def profile(model: Model, uploads: Uploads, row: int | None, edges: Neighbours) -> tuple[Profile, bool]:
    """A source with what was uploaded for it, and whether that or anything else is known of it.

    `row` is None for an entity that the version does not hold.
    """
    known = model.interacted.all_of(row) if row is not None else np.empty(0, np.int64)
    edges = unknown_edges(edges, known, uploads.relations)
    vectors = tuple(
        fold(view, row, edges.rows, strengths)[0] for view, strengths in zip(model.views, edges.strengths, strict=True)
    )
    interacted = np.union1d(known, edges.rows[_are_interactions(edges, uploads.relations)])
    return Profile(vectors, interacted, row), any(vector.any() for vector in vectors)


def unknown_edges(edges: Neighbours, known: Rows, relations: Sequence[str]) -> Neighbours:
    """Edges without the interactions with entities that the source is known to have interacted with."""
    kept = ~(_are_interactions(edges, relations) & np.isin(edges.rows, known))
    return Neighbours(edges.rows[kept], edges.relations[kept], edges.strengths[:, kept])


def _are_interactions(edges: Neighbours, relations: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([name.startswith(INTERACTION) for name in relations], bool)[edges.relations]


def fold(view: Vectors, row: int | None, others: Rows, strengths: Floats) -> tuple[Floats, float]:
    """Vector (q) and degree of an entity after it got further edges; `row` is None where it had none."""
    before = float(view.degrees[row]) if row is not None else 0.0
    after = before + float(strengths.sum())
    if after <= 0 or not len(others):
        return (view.vectors[row] if row is not None else np.zeros(len(view.values), np.float32)), before
    gained = (strengths / np.sqrt(view.degrees[others] + view.damping)) @ view.vectors[others]
    told = np.abs(view.values) > _SMALLEST * np.abs(view.values).max()
    moved = np.divide(gained, view.values, out=np.zeros_like(gained), where=told)
    if row is not None:
        moved = moved + view.vectors[row] * np.sqrt(before + view.damping)
    return np.asarray(moved / np.sqrt(after + view.damping), np.float32), after


def folded_views(model: Model, uploads: Uploads) -> tuple[Vectors, ...]:
    """The vectors of a version with everything folded in that was uploaded for entities that it holds."""
    views = []
    for number, view in enumerate(model.views):
        vectors, degrees = view.vectors.copy(), view.degrees.copy()
        for row, edges in uploads.by_row.items():
            added = unknown_edges(edges, model.interacted.all_of(row), uploads.relations)
            vectors[row], degrees[row] = fold(view, row, added.rows, added.strengths[number])
        views.append(replace(view, vectors=vectors, degrees=degrees))
    return tuple(views)
