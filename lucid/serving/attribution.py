"""What carried a recommendation: the edges of its source, each with its share of the score.

A score is a sum over the edges of the source, as a vector is one over those of its entity (see
`lucid.versions.uploads`). Shares are those of the edges that speak for the target; the ones that speak against it are
left out.
"""

from collections.abc import Callable, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.graph.entity_index import EntityIndex
from lucid.model.scorer import Profile
from lucid.typing import INTERACTION, Rows
from lucid.versions.lifecycle import Model

MOST, LEAST = 5, 0.01
"""How many edges are named at most, and the share below which none is."""
CONSIDERED = 1000
"""Edges of a source that are looked at; one with more is a blockbuster, of whose edges each carries next to nothing."""


def explain(
    model: Model, index: EntityIndex, source_type: str, edges: Neighbours, relations: Sequence[str], targets: Rows
) -> list[bytes]:
    """For each target (row) the edges of a source that carried it, as a JSON list; empty where popularity did."""
    edges = _strongest(model, edges)
    interactions = np.array([name.startswith(INTERACTION) for name in relations], bool)[edges.relations]
    carried = np.zeros((len(edges.rows), len(targets)))
    kinds = model.config.entity_types.type_numbers(targets)
    for kind in np.unique(kinds).tolist() if len(edges.rows) else ():
        scorer = model.scorer(source_type, model.config.entity_types.types[kind])
        carried[:, kinds == kind] = scorer.carried(edges, interactions, targets[kinds == kind])
    ids, names = index.ids(edges.rows), index.names(edges.rows)

    def named(edge: int) -> tuple[str, str, str, str, str]:
        kind, _, relation = relations[edges.relations[edge]].partition(":")
        of_type = model.config.entity_types.type_of(int(edges.rows[edge]))
        return kind, relation, orjson.loads(ids[edge]), of_type, orjson.loads(names[edge])

    return [_listed(named, shares) for shares in _shares(carried).T]


def explain_mix(
    model: Model,
    index: EntityIndex,
    ids: Sequence[bytes],
    source_type: int,
    profiles: Sequence[Profile],
    weights: Sequence[float],
    targets: Rows,
) -> list[bytes]:
    """The same for several sources asked for as one: here it is the sources that carry a target."""
    kind = model.config.entity_types.types[source_type]
    rows = [profile.row for profile in profiles]
    names = [orjson.loads(index.names(np.array([row]))[0]) if row is not None else "" for row in rows]
    carried = np.zeros((len(profiles), len(targets)))
    kinds = model.config.entity_types.type_numbers(targets)
    for number in np.unique(kinds).tolist():
        scorer, chosen = model.scorer(kind, model.config.entity_types.types[number]), kinds == number
        raw = scorer.raw_of(profiles)[:, targets[chosen] - scorer.targets.start]
        carried[:, chosen] = np.array(weights)[:, None] * raw

    def named(line: int) -> tuple[str, str, str, str, str]:
        return "source", "", orjson.loads(ids[line]), kind, names[line]

    return [_listed(named, shares) for shares in _shares(carried).T]


def _strongest(model: Model, edges: Neighbours) -> Neighbours:
    """Of very many edges, those that say most."""
    if len(edges.rows) <= CONSIDERED:
        return edges
    view = model.views[0]
    weight = edges.strengths.max(axis=0) / np.sqrt(view.degrees[edges.rows] + view.damping)
    chosen = np.argsort(-weight, kind="stable")[:CONSIDERED]
    return Neighbours(edges.rows[chosen], edges.relations[chosen], edges.strengths[:, chosen])


def _shares(carried: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (edges, targets) of what speaks for each target."""
    positive = np.maximum(carried, 0)
    return np.asarray(positive / np.maximum(positive.sum(axis=0), 1e-300))


def _listed(named: Callable[[int], tuple[str, str, str, str, str]], shares: NDArray[np.float64]) -> bytes:
    largest = np.argsort(-shares, kind="stable")[:MOST]
    fields = ("kind", "relation", "id", "type", "name")
    return orjson.dumps(
        [
            {**dict(zip(fields, named(edge), strict=True)), "share": round(float(shares[edge]), 4)}
            for edge in largest.tolist()
            if shares[edge] >= LEAST
        ]
    )
