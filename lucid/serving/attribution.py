"""Attribution: what contributed to a recommendation, the edges of its source, each with its share of the score.

A score is a sum over the edges of the source, as a vector is one over those of its entity (see `lucid.model.fold_in`).
Shares are those of the edges that speak for the target; the ones that speak against it are left out.
"""

from collections.abc import Callable, Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.graph.adjacency import Neighbours
from lucid.serving.ranker import Blend, Ranked
from lucid.serving.sources import Source, disliked_by, edges_of
from lucid.typing import Rows
from lucid.versions.uploads import Uploads
from lucid.versions.version import Version

MOST, LEAST = 5, 0.01
"""How many edges are named at most, and the share below which none is."""
CONSIDERED = 1000
"""Edges of a source that are looked at; each edge of one with more contributes next to nothing."""

_FIELDS = ("kind", "relation", "id", "type", "name")
"""What an answer says of a contribution; `kind` is the contract's word for where it comes from."""


def explain(ranked: Ranked, version: Version, uploads: Uploads) -> list[bytes]:
    """For each recommendation what contributed, as a JSON list; empty where popularity answered.

    These are edges of the source, or the sources where several are asked for as one.
    """
    best = ranked.best
    if ranked.probabilities is not None:
        return [b"[]"] * len(best.target_rows)
    if ranked.blend:
        return _by_source(ranked.blend, best.target_rows, version)
    each = ((position, best.target_rows[best.positions == position]) for position in np.unique(best.positions).tolist())
    return [text for position, rows in each for text in _by_edge(ranked.sources[position], rows, version, uploads)]


def _by_edge(source: Source, targets: Rows, version: Version, uploads: Uploads) -> list[bytes]:
    """For each target (row) the edges of its source that contributed.

    A dislike is no reason that anybody would understand, though it speaks for what is unlike it.
    """
    edges, names = _strongest(version, edges_of(source, version, uploads)), uploads.relations
    disliked = edges.are_interactions(names) & np.isin(edges.rows, disliked_by(source, version))
    interactions = edges.are_interactions(names) & ~disliked
    contributions = np.zeros((len(edges.rows), len(targets)))
    for entity_type, of_type in _by_type(targets, version) if len(edges.rows) else ():
        scorer = version.scorer(source.entity_type, entity_type)
        profile = source.profile or scorer.profiles(np.array([source.row]))[0]
        contributions[:, of_type] = scorer.contributions(edges, interactions, targets[of_type], profile)
    contributions[disliked] = 0
    ids, texts = version.index.ids(edges.rows), version.index.names(edges.rows)

    def described(edge: int) -> tuple[str, str, str, str, str]:
        prefix, _, relation = names[edges.relations[edge]].partition(":")
        entity_type = version.config.entity_types.type_of(int(edges.rows[edge]))
        return prefix, relation, orjson.loads(ids[edge]), entity_type, orjson.loads(texts[edge])

    return [_listed(described, shares) for shares in _shares(contributions).T]


def _by_source(blend: Blend, targets: Rows, version: Version) -> list[bytes]:
    """For each target (row) the sources that contributed."""
    source_type = blend.sources[0].entity_type
    contributions = np.zeros((len(blend.profiles), len(targets)))
    for entity_type, of_type in _by_type(targets, version):
        scorer = version.scorer(source_type, entity_type)
        raw = scorer.raw_of(blend.profiles)[:, targets[of_type] - scorer.targets.start]
        contributions[:, of_type] = np.array(blend.weights)[:, None] * raw

    def described(position: int) -> tuple[str, str, str, str, str]:
        row = blend.sources[position].row
        name = orjson.loads(version.index.names(np.array([row]))[0]) if row is not None else ""
        return "source", "", orjson.loads(blend.sources[position].id), source_type, name

    return [_listed(described, shares) for shares in _shares(contributions).T]


def _by_type(targets: Rows, version: Version) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each type of some targets, and which of them (targets) are of it."""
    entity_types = version.config.entity_types
    numbers = entity_types.type_numbers(targets)
    for number in np.unique(numbers).tolist():
        yield entity_types.types[number], numbers == number


def _strongest(version: Version, edges: Neighbours) -> Neighbours:
    """Of very many edges, those that say most."""
    if len(edges.rows) <= CONSIDERED:
        return edges
    embedding = version.embeddings[0]
    weight = edges.weights.max(axis=0) / np.sqrt(embedding.degrees[edges.rows] + embedding.damping)
    return edges.part(np.argsort(-weight, kind="stable")[:CONSIDERED])


def _shares(contributions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (edges, targets) of what speaks for each target."""
    positive = np.maximum(contributions, 0)
    return np.asarray(positive / np.maximum(positive.sum(axis=0), 1e-300))


def _listed(described: Callable[[int], tuple[str, str, str, str, str]], shares: NDArray[np.float64]) -> bytes:
    # By what is shown, so that digits beyond it order nothing.
    largest = np.argsort(-np.round(shares, 4), kind="stable")[:MOST]
    return orjson.dumps(
        [
            {**dict(zip(_FIELDS, described(edge), strict=True)), "share": round(float(shares[edge]), 4)}
            for edge in largest.tolist()
            if shares[edge] >= LEAST
        ]
    )
