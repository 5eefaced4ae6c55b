"""What carried a recommendation: the edges of its source, each with its share of the score.

A score is a sum over the edges of the source, as a vector is one over those of its entity (see `lucid.fresh`). Shares
are those of the edges that speak for the target; the ones that speak against it are left out.
"""

from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from lucid.artifact import Model
from lucid.edges import Neighbours
from lucid.interacted import Rows
from lucid.scoring import Profile
from lucid.texts import Texts
from lucid.vocabulary import INTERACTION

MOST, LEAST = 5, 0.01
"""How many edges are named at most, and the share below which none is."""


def explain(
    model: Model, texts: Texts, source_type: str, edges: Neighbours, relations: Sequence[str], targets: Rows
) -> list[bytes]:
    """For each target (row) the edges of a source that carried it, as a JSON list; empty where popularity did."""
    interactions = np.array([name.startswith(INTERACTION) for name in relations], bool)[edges.relations]
    carried = np.zeros((len(edges.rows), len(targets)))
    kinds = model.config.vocabulary.type_numbers(targets)
    for kind in np.unique(kinds).tolist() if len(edges.rows) else ():
        scorer = model.scorer(source_type, model.config.vocabulary.types[kind])
        carried[:, kinds == kind] = scorer.carried(edges, interactions, targets[kinds == kind])
    ids, names = texts.of(edges.rows)
    named = [
        (*_kind_and_relation(relations[number]), orjson.loads(entity_id), model.config.vocabulary.type_of(row), name)
        for number, entity_id, row, name in zip(
            edges.relations.tolist(), ids, edges.rows.tolist(), map(orjson.loads, names), strict=True
        )
    ]
    return [_listed(named, shares) for shares in _shares(carried).T]


def explain_mix(
    model: Model,
    texts: Texts,
    ids: Sequence[bytes],
    source_type: int,
    profiles: Sequence[Profile],
    weights: Sequence[float],
    targets: Rows,
) -> list[bytes]:
    """The same for several sources asked for as one: here it is the sources that carry a target."""
    kind = model.config.vocabulary.types[source_type]
    rows = [profile.row for profile in profiles]
    names = [orjson.loads(texts.of(np.array([row]))[1][0]) if row is not None else "" for row in rows]
    named = [("source", "", orjson.loads(one), kind, name) for one, name in zip(ids, names, strict=True)]
    carried = np.zeros((len(profiles), len(targets)))
    kinds = model.config.vocabulary.type_numbers(targets)
    for number in np.unique(kinds).tolist():
        scorer, chosen = model.scorer(kind, model.config.vocabulary.types[number]), kinds == number
        for line, (profile, weight) in enumerate(zip(profiles, weights, strict=True)):
            carried[line, chosen] = weight * scorer.mixed(profile)[targets[chosen] - scorer.targets.start]
    return [_listed(named, shares) for shares in _shares(carried).T]


def _kind_and_relation(name: str) -> tuple[str, str]:
    kind, _, relation = name.partition(":")
    return kind, relation


def _shares(carried: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (edges, targets) of what speaks for each target."""
    positive = np.maximum(carried, 0)
    return np.asarray(positive / np.maximum(positive.sum(axis=0), 1e-300))


def _listed(named: Sequence[tuple[str, str, str, str, str]], shares: NDArray[np.float64]) -> bytes:
    largest = np.argsort(-shares, kind="stable")[:MOST]
    fields = ("kind", "relation", "id", "type", "name")
    return orjson.dumps(
        [
            {**dict(zip(fields, named[edge], strict=True)), "share": round(float(shares[edge]), 4)}
            for edge in largest.tolist()
            if shares[edge] >= LEAST
        ]
    )
