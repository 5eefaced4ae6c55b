"""Dislikes that nobody names: types of interactions with which people mark what they keep away from.

Nothing but how a type relates to the most frequent one of its two types of entities can tell. It is a dislike where
whoever has it with some targets meets what is like them less, by the most frequent type, than what is as popular. What
lies between, such as a type that comes by chance, tells of nothing. Which of two types that keep apart is the dislike
only their number says: people tell more of what they like, so the most frequent type never is one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lucid.data.strengths import StrengthRule
from lucid.evaluation.holdout import Holdout
from lucid.graph.histories import InteractionHistory, are_among
from lucid.graph.relation_weights import RelationWeights
from lucid.graph.typed_graph import EdgeType, TypedGraph
from lucid.model.decomposition import Solver, decompose, max_rank
from lucid.model.pair_model import Pair
from lucid.typing import INTERACTION, TEXT, Floats, Rows

_LEAST_EDGES, _LEAST_SHARE = 100, 0.01
"""With fewer edges, or a smaller share of those of its pair, a type tells too little; set by hand."""
_LEAST_SOURCES, _ERRORS, _MOST_SHARE = 30, 3.0, 0.45
"""Sources that must tell at least; standard errors that their mean must be below chance, which is a half; and how large
it may be: what is only a little less may have other reasons, and many sources make it sure. Set by hand."""
_RANK, _DAMPING = 64, 3.0
"""Few eigenvectors are enough to tell what is alike; set by hand."""
_DRAWN = 20
"""Targets that are as popular, for each that was met."""


@dataclass(frozen=True)
class _Candidate:
    """A type of interactions of which nothing says what it tells, and the most frequent type of the same two ends."""

    edge_type: EdgeType
    usual: str

    @property
    def relation(self) -> str:
        return self.edge_type[1]


def learn_dislikes(holdout: Holdout, rules: list[StrengthRule], solver: Solver, seed: int) -> list[StrengthRule]:
    """What interactions say, with the types that turn out to be dislikes; the same rules where none does."""
    assert holdout.graph is not None
    untold = {INTERACTION + rule.type for rule in rules if rule.meaning == "plain" and _is_free(rule)}
    candidates = _candidates(holdout.graph, untold)
    if not candidates:
        return rules
    vectors, rng = _vectors(holdout.train, [one.relation for one in candidates], solver), np.random.default_rng(seed)
    told = {}
    for one in candidates:
        shares = _shares(holdout, one, vectors, rng)
        if _are_below_chance(shares):
            told[one.relation] = (
                "learned: who has it with something meets what is like that less than what is as popular, "
                f"in {1 - shares.mean():.0%} of comparisons"
            )
    return [
        replace(rule, meaning="dislike", reason=told[relation])
        if (relation := INTERACTION + rule.type) in told
        else rule
        for rule in rules
    ]


def _are_below_chance(shares: NDArray[np.float64]) -> bool:
    if len(shares) < _LEAST_SOURCES:
        return False
    mean = float(shares.mean())
    return mean <= _MOST_SHARE and mean + _ERRORS * float(shares.std()) / len(shares) ** 0.5 < 0.5


def _is_free(rule: StrengthRule) -> bool:
    """Whether nobody has asked for what the type is to be."""
    return rule.weight is None and not rule.is_asked


def _candidates(graph: TypedGraph, relations: set[str]) -> list[_Candidate]:
    """Those of some relations that another one of the same two ends outnumbers."""
    linked: dict[frozenset[str], dict[EdgeType, int]] = {}
    for source, relation, target in graph.interaction_types:
        edges = graph.data[source, relation, target].edge_index.shape[1]
        linked.setdefault(frozenset((source, target)), {})[source, relation, target] = edges
    found = []
    for counts in linked.values():
        most, usual = max((edges, edge_type[1]) for edge_type, edges in counts.items())
        least = max(_LEAST_EDGES, _LEAST_SHARE * sum(counts.values()))
        found += [
            _Candidate(edge_type, usual)
            for edge_type, edges in counts.items()
            if edge_type[1] in relations and edge_type[1] != usual and least <= edges < most
        ]
    return found


def _vectors(train: TypedGraph, left_out: Iterable[str], solver: Solver) -> Floats:
    """Vectors of length 1, (n, q), that are close where entities are alike by all but some relations."""
    words = {edge_type[1] for edge_type in train.edge_types if edge_type[1].startswith(TEXT)}
    weights = RelationWeights(dict.fromkeys([*left_out, *words], 0.0), _DAMPING)
    embedding = decompose(train, weights, min(_RANK, max_rank(train, weights)), solver)
    vectors = embedding.vectors * np.sqrt(np.maximum(embedding.values, 0))
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


def _shares(holdout: Holdout, candidate: _Candidate, vectors: Floats, rng: np.random.Generator) -> NDArray[np.float64]:
    """For each source: in how many comparisons of what it met with what is as popular the former is the closer one.

    Closer to what the candidate links the source to. Chance is a half.
    """
    train, graph = holdout.train, holdout.graph
    assert graph is not None
    source_type, relation, target_type = candidate.edge_type
    pair = source_type, target_type
    (held,) = [one for one in holdout.warm.validation if one.pair == pair]
    marked, marked_ever, met_ever = (
        _history(of, pair, name, held.sources)
        for of, name in ((train, relation), (graph, relation), (graph, candidate.usual))
    )
    _, popular = _edges(train, pair, candidate.usual)  # each as often as it was met
    shares = []
    for position, source in enumerate(held.sources.tolist()):
        marks, known = marked.of(source), marked_ever.of(source)
        met = held.of(position)
        met = met[are_among(met, met_ever.of(source)) & ~are_among(met, known)]
        if not len(marks) or not len(met):
            continue
        drawn = rng.choice(popular, _DRAWN * len(met))
        drawn = drawn[~are_among(drawn, known) & ~are_among(drawn, met_ever.of(source))]
        if not len(drawn):
            continue
        profile = vectors[marks].mean(axis=0)
        closer = (vectors[met] @ profile)[:, None] - vectors[drawn] @ profile
        shares.append(float(np.mean(closer > 0) + np.mean(closer == 0) / 2))
    return np.array(shares)


def _edges(graph: TypedGraph, pair: Pair, relation: str) -> NDArray[np.int64]:
    """Rows (2, E) that a relation links, from the pair's source to its target, whichever way they were uploaded."""
    found = []
    for edge_type in graph.interaction_types:
        if edge_type[1] == relation:
            ends, rows = (edge_type[0], edge_type[2]), graph.rows(edge_type).numpy()
            found += [rows] * (ends == pair) + [rows[::-1]] * (ends[::-1] == pair)
    return np.concatenate(found, axis=1)


def _history(graph: TypedGraph, pair: Pair, relation: str, sources: Rows) -> InteractionHistory:
    """What a relation links some sources to."""
    edges = _edges(graph, pair, relation)
    return InteractionHistory.from_edges(graph.entity_types.size, *edges[:, np.isin(edges[0], sources)])
