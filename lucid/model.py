"""The model: a spectral filter of the whole typed graph, chosen on held-out interactions.

All entities of all types stand in one symmetric adjacency A in which each edge type has a weight. It is normalised,
`(D + a)^-1/2 A (D + a)^-1/2`, and its q eigenpairs of largest absolute value are what infinitely many linear
message-passing layers converge to (GF-CF, Shen et al. 2021, for one pair; here for all types at once). One
decomposition gives every entity a vector; how strongly each eigenpair counts is chosen per pair of types.

`choose` decides on held-out interactions, `refit` applies the decision to all of them. Learned message passing will
start from the same vectors and return others in their place: what reads a `Fitted` does not know where they come from.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from lucid.evaluate import HeldOut, Split, best_raw, interacted_rows, measure
from lucid.graph import LINK, TypedGraph
from lucid.ingest import Progress
from lucid.scoring import Calibration, Pair, Parity, Response, Vectors, mask, scaled

ROUNDS = 8
"""Rounds of subspace iteration; more change no figure that was looked at."""
LINK_WEIGHTS = (0.3, 0.1, 1.0)
"""Weights that metadata links are tried with, next to interactions at 1."""
DAMPINGS = (3.0, 10.0, 1.0)
POWERS = (0.5, 1.0, 1.5, 2.0)
EXPONENTS = (0.0, 0.25, 0.5)
MIN_SOURCES = 20
"""A pair with fewer held-out sources takes the response that is best over all pairs."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for the decomposition as a whole."""

    link_weight: float
    damping: float
    response: Response
    """For pairs that no interactions link, or too few."""
    tried: list[dict[str, float]]


@dataclass(frozen=True)
class Fitted:
    """A model that scores every pair of types: vectors of all entities, and settings of the pairs that were judged."""

    vectors: Vectors
    pairs: list[Pair]
    common: Pair
    """Stands for all other pairs; its scale is set when one is first asked."""
    choice: Choice


def max_rank(graph: TypedGraph) -> int:
    """Eigenpairs at most: bounded so that the vectors of a graph stay below about a gigabyte."""
    connected = torch.zeros(graph.vocabulary.size, dtype=torch.bool)
    for edge_type in graph.edge_types:
        connected[graph.rows(edge_type).flatten()] = True
    return int(min(int(connected.sum()), max(64, min(512, 250_000_000 // max(graph.vocabulary.size, 1)))))


def decompose(graph: TypedGraph, link_weight: float, damping: float, rank: int, seed: int) -> Vectors:
    """The leading eigenpairs of the normalised typed graph, by falling absolute value.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4); exact where rank is the graph's size.
    """
    adjacency, degrees = _adjacency(graph, link_weight, damping)
    size = adjacency.shape[0]
    if rank >= size:
        values, vectors = torch.linalg.eigh(adjacency.to_dense())
    else:
        generator = torch.Generator().manual_seed(seed)
        basis = torch.randn(size, min(rank + 16, size), generator=generator)
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(adjacency @ basis).Q
        values, small = torch.linalg.eigh(basis.T @ (adjacency @ basis))
        vectors = basis @ small
    order = torch.argsort(values.abs(), descending=True)[:rank]
    everyone = torch.zeros(graph.vocabulary.size, len(order))
    everyone[degrees > 0] = vectors[:, order]
    return Vectors(values[order].numpy(), everyone.numpy(), degrees.numpy(), damping)


def _adjacency(graph: TypedGraph, link_weight: float, damping: float) -> tuple[Tensor, Tensor]:
    """Normalised symmetric adjacency (m, m), sparse CSR float32, of the m entities that have edges.

    Also returns the weighted degrees (n) of all entities; those without edges would only take time and memory.
    """
    edges, weights = [], []
    for edge_type in graph.edge_types:
        rows = graph.rows(edge_type)
        edges.append(rows)
        weights.append(torch.full((rows.shape[1],), link_weight if edge_type[1].startswith(LINK) else 1.0))
    rows, weight = torch.cat(edges, dim=1), torch.cat(weights)
    degrees = torch.zeros(graph.vocabulary.size)
    # An edge that several relations name counts with the sum of their weights.
    both = torch.cat([rows, rows.flip(0)], dim=1)
    degrees.index_add_(0, both[0], weight.repeat(2))
    place = torch.cumsum(degrees > 0, 0) - 1
    size = int((degrees > 0).sum())
    matrix = torch.sparse_coo_tensor(place[both], weight.repeat(2), (size, size), check_invariants=False).coalesce()
    index, value = matrix.indices(), matrix.values()
    damped = (degrees[degrees > 0] + damping).rsqrt()
    value = value * damped[index[0]] * damped[index[1]]
    with warnings.catch_warnings():  # torch calls its CSR support beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        normalised = torch.sparse_coo_tensor(
            index, value, (size, size), is_coalesced=True, check_invariants=False
        ).to_sparse_csr()
    return normalised, degrees


def choose(graph: TypedGraph, held_out: Split, seed: int, progress: Progress) -> Fitted:
    """Choose weights, damping and responses, and calibrate, on the `choice` part of the held-out interactions.

    The vectors of the result are those of the graph without the held-out interactions.
    """
    judge = _Judge(held_out, max_rank(held_out.train), seed)
    has_links = any(edge_type[1].startswith(LINK) for edge_type in graph.edge_types)
    weights = LINK_WEIGHTS if has_links else LINK_WEIGHTS[:1]
    steps = len(weights) + len(DAMPINGS) - 1
    for number, weight in enumerate(weights):
        progress(100 * number / steps, f"trying link weight {weight}")
        judge.try_decomposition(weight, DAMPINGS[0])
    for number, damping in enumerate(DAMPINGS[1:], start=len(weights)):
        progress(100 * number / steps, f"trying damping {damping}")
        judge.try_decomposition(judge.link_weight, damping)
    return judge.fitted()


def refit(graph: TypedGraph, chosen: Fitted, seed: int) -> Fitted:
    """The chosen settings on the whole graph."""
    choice = chosen.choice
    vectors = decompose(graph, choice.link_weight, choice.damping, max_rank(graph), seed)
    interacted = interacted_rows(graph)
    pairs = [scaled(pair, vectors, graph.vocabulary, interacted) for pair in chosen.pairs]
    return Fitted(vectors, pairs, chosen.common, choice)


class _Judge:
    """Keeps the best decomposition so far and each pair's best response in it."""

    def __init__(self, held_out: Split, rank: int, seed: int) -> None:
        self._train = held_out.train
        self._rank = rank
        self._seed = seed
        self._vocabulary = held_out.train.vocabulary
        self._interacted = interacted_rows(held_out.train)
        self._judged = [held for held in held_out.choice if len(held.sources)]
        self._score = -np.inf
        self._tried: list[dict[str, float]] = []
        self.link_weight = LINK_WEIGHTS[0]

    def try_decomposition(self, link_weight: float, damping: float) -> None:
        """Keep this decomposition if its best responses rank held-out interactions better on average."""
        vectors = decompose(self._train, link_weight, damping, self._rank, self._seed)
        responses = _responses(len(vectors.values))
        found = {held.pair: self._measure(vectors, held, responses) for held in self._judged}
        score = float(np.mean(_even([max(ndcg) for ndcg in found.values()]))) if found else 0.0
        self._tried.append({"link_weight": link_weight, "damping": damping, "mean_log_ndcg": round(score, 5)})
        if score > self._score:
            self._score, self.link_weight, self._damping = score, link_weight, damping
            self._vectors, self._responses, self._found = vectors, responses, found

    def fitted(self) -> Fitted:
        """The settings of every judged pair, calibrated, and common ones for all others."""
        response = self._common_response()
        pairs, samples = [], []
        for held in self._judged:
            enough = len(held.sources) >= MIN_SOURCES
            chosen = self._responses[int(np.argmax(self._found[held.pair]))] if enough else response
            unscaled = Pair(*held.pair, chosen, Calibration(1.0, 1.0, 0.0))
            pair = scaled(unscaled, self._vectors, self._vocabulary, self._interacted)
            raw, hits = best_raw(self._vectors, pair, held, self._vocabulary, self._interacted)
            samples.append((pair.calibration.log1p(raw), hits))
            pairs.append(_with_logistic(pair, *samples[-1]))
        pooled = np.concatenate([x for x, _ in samples] or [np.empty(0)])
        pooled_hits = np.concatenate([hits for _, hits in samples] or [np.empty(0, bool)])
        common = _with_logistic(Pair("", "", response, Calibration(1.0, 1.0, 0.0)), pooled, pooled_hits)
        choice = Choice(self.link_weight, self._damping, response, self._tried)
        return Fitted(self._vectors, pairs, common, choice)

    def _measure(self, vectors: Vectors, held: HeldOut, responses: Sequence[Response]) -> list[float]:
        """NDCG of one pair's held-out interactions under each response of the grid, in its order."""
        block = self._vocabulary.block(held.target_type)
        blank = np.zeros((len(held.sources), len(block)), dtype=np.float32)
        forbidden = torch.from_numpy(mask(blank, held.sources, block, self._interacted))
        found = []
        for flat, exponents in groupby(responses, key=lambda response: replace(response, exponent=0.0)):
            raw = torch.from_numpy(vectors.raw_scores(flat, held.sources, block))
            for response in exponents:
                factor = torch.from_numpy(vectors.target_factor(response, block))
                found.append(measure(torch.addcmul(forbidden, raw, factor), held, block).ndcg)
        return found

    def _common_response(self) -> Response:
        """The response with the best average over the pairs, for pairs that cannot be judged.

        Only responses that drop negative eigenvalues: they stand for walks of every length, as types that no
        interaction links may be an even number of steps apart.
        """
        if not self._found:
            return Response("positive", self._rank, 1.0, 0.25)
        average = np.mean(_even(list(self._found.values())), axis=0)
        positive = [place for place, response in enumerate(self._responses) if response.parity == "positive"]
        return self._responses[max(positive, key=lambda place: float(average[place]))]


def _even(ndcg: Sequence[float] | Sequence[list[float]]) -> NDArray[np.float64]:
    """Logarithms, so that averaging over pairs gives none of them more weight for being easy."""
    return np.log(np.asarray(ndcg) + 1e-3)


def _responses(rank: int) -> list[Response]:
    ranks = [rank // divisor for divisor in (1, 2, 4, 8) if rank // divisor >= 8] or [rank]
    return [
        Response(parity, columns, power, exponent)
        for parity, columns, power, exponent in product(get_args(Parity), ranks, POWERS, EXPONENTS)
    ]


def _with_logistic(pair: Pair, x: NDArray[np.float64], hits: NDArray[np.bool_]) -> Pair:
    """Fit slope and intercept by penalised maximum likelihood (Platt 1999); the slope stays above zero."""

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, intercept = parameters
        log_odds = intercept + slope * x
        rest = expit(log_odds) - hits
        value = np.logaddexp(0, log_odds).sum() - log_odds[hits].sum() + (slope - 1) ** 2 / 2 + intercept**2 / 200
        return float(value), np.array([rest @ x + slope - 1, rest.sum() + intercept / 100])

    start = np.array([1.0, np.log((hits.sum() + 1) / (len(hits) - hits.sum() + 1))])
    slope, intercept = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.05, None), (None, None)]).x
    calibration = replace(pair.calibration, slope=float(slope), intercept=float(intercept))
    return replace(pair, calibration=calibration)
