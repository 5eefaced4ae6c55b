"""The model: the spectrum of the typed graph and, for every pair of types, how it is read.

How much each relation counts and how much degrees are damped is chosen for all pairs together, with few eigenvectors;
then, with all of them, the response of each pair, and another for its targets without interactions. `choose` decides on
held-out interactions, `refit` applies the decision to all of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from lucid.evaluation.quality import HeldOut, Split, best_raw, cold_scores, interacted_rows, ndcg
from lucid.graph.typed_graph import TypedGraph
from lucid.model.decomposition import Solver, Weights, decompose, max_rank
from lucid.model.scorer import Blend, Calibration, Pair, Parity, Response, Scorer, Vectors
from lucid.training.learned_filter import affordable, learn
from lucid.typing import INTERACTION, LINK, TEXT, Progress

START = {INTERACTION: 1.0, LINK: 0.3, TEXT: 0.0}
"""First weight of each kind of relation: words count only where they help."""
FIRST_DAMPING = 3.0
WEIGHTS, TEXT_WEIGHTS = (0.1, 0.3, 1.0), (0.0, 0.3, 1.0)
DAMPINGS = (1.0, 3.0, 10.0)
REPEATS, HALF_LIFE_SHARES = (0.0, 0.5), (0.5, 0.125)
"""Exponents of repeats, and half-lives of interactions as shares of the time that the data span."""
MIN_SHARE = 0.02
"""Relations with a smaller share of the edges are weighed together."""
SEARCH_RANK = 256
SEARCH_SOURCES = 500
SEARCH_RESPONSES = (0.1, 1.0), (0.25, 0.5)
"""Ridges and exponents that a choice of weights is judged with."""
SEARCH_WORK = 1e12
"""Floating-point operations that the search of weights may take; at least the dampings are always tried."""
MAX_TRIES = 40
"""Settings that are tried at most, however small the graph."""
GROWTH = 4
"""How many times as many eigenpairs are tried next."""
PAYS = 0.01
"""Gain in mean log NDCG from the upper half of the eigenpairs for which more are tried."""
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
EXPONENTS = (0.0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
USUAL_RIDGE, USUAL_EXPONENT = 0.1, 0.5
"""Where the choice of a response begins."""
RANK_SHARES = (1.0, 0.5, 0.25)
COLD_RANK_SHARES, COLD_RIDGES = (1.0, 0.5, 0.25, 0.125, 0.0625), (0.03, 0.1, 0.3, 1.0)
"""What is tried for targets without interactions."""
SHARES = (0.1, 0.25, 0.5, 1.0)
"""Shares of co-occurrence in a score that are tried where it is affordable."""
MIN_SOURCES = 20
"""A pair with fewer held-out sources takes the response that is usual over all pairs."""
MIN_LEARNED_FROM = 30
"""Sources that a filter is learned from at least, and judged by."""
MIN_STEP, KEPT_STEP = 0.01, 0.05
"""Gain in mean log NDCG for which a weight or the damping is changed."""
MIN_GAIN = 0.05
"""How much better than the common setting another must suit a pair for it to get one of its own, as log NDCG."""
SURE = 2.0
"""Standard errors that the gain of a pair's response must exceed."""
MIN_TRUST = 10.0
"""Pairs with fewer held-out sources than the square of this get no setting of their own."""
_PASSES = 2
_NEGLIGIBLE = 1e-3
"""Added to NDCG before its logarithm is taken."""


@dataclass(frozen=True)
class Choice:
    """What was chosen for several pairs together: weights of each view, and the response of the other pairs."""

    weights: list[Weights]
    response: Response
    """For pairs that no interactions link, or too few; they are read in the first view."""
    tried: list[dict[str, Any]]
    filters: list[dict[str, Any]]
    """Learned filters, kept or left out."""


@dataclass(frozen=True)
class Fitted:
    """A model that scores every pair of types: vectors of all entities, and settings of the pairs that were judged.

    Views are decompositions with different weights; every pair is read in one of them.
    """

    views: tuple[Vectors, ...]
    pairs: list[Pair]
    common: Pair
    """Stands for all other pairs; its scale is set when one is first asked."""
    choice: Choice


@dataclass(frozen=True)
class Before:
    """The settings of the version that answers now: a model that is trained again begins with them.

    Otherwise every training would settle on others that serve as well, and answers would change without a reason.
    """

    weights: list[Weights]
    readings: dict[tuple[str, str], tuple[int, Response]]


def choose(
    graph: TypedGraph, held_out: Split, solver: Solver, progress: Progress, before: Before | None = None
) -> Fitted:
    """Choose weights, damping and responses, and calibrate, on the `choice` part of the held-out interactions.

    The vectors of the result are those of the graph without the held-out interactions.
    """
    judge = _Judge(held_out, before.readings if before else {})
    begin = before.weights if before else []
    search = _Search(graph, held_out.train, judge, solver, lambda percent, doing: progress(0.5 * percent, doing))
    views, settings = [], search.best_from(begin) if begin else search.best()
    for number, weights in enumerate(settings):
        progress(50 + 15 * number, "decomposing the graph without held-out interactions")
        views.append(_grown(search.decomposed(weights), held_out.train, weights, judge, solver))
    readings = judge.best_readings(views)
    usual = _usual([response for view, response in readings.values() if view == 0], len(views[0].values))
    readings |= judge.implied_readings(views, usual)
    cold = judge.cold_readings(views, readings)
    pairs, samples = [], []
    judged = judge.judged + judge.implied
    for number, held in enumerate(judged):
        progress(80 + 20 * number / len(judged), f"calibrating {held.source_type} → {held.target_type}")
        view, response = readings.get(held.pair, (0, usual))
        cold_view, cold_response = cold.get(held.pair, (view, response))
        plain = Pair(*held.pair, view, response, cold_view, cold_response, Blend(), Calibration(1.0, 1.0, 0.0))
        scorer = judge.blended(plain, views, held)
        raw, hits = best_raw(scorer, held)
        samples.append((scorer.pair.calibration.log1p(raw), hits))
        pairs.append(_with_logistic(scorer.pair, *samples[-1]))
    pooled = np.concatenate([x for x, _ in samples] or [np.empty(0)])
    pooled_hits = np.concatenate([hits for _, hits in samples] or [np.empty(0, bool)])
    plain = Pair("", "", 0, usual, 0, usual, Blend(), Calibration(1.0, 1.0, 0.0))
    common = _with_logistic(plain, pooled, pooled_hits)
    return Fitted(tuple(views), pairs, common, Choice(settings, usual, search.tried, judge.filters))


def refit(graph: TypedGraph, chosen: Fitted, solver: Solver) -> Fitted:
    """The chosen settings on the whole graph."""
    views = tuple(
        decompose(graph, weights, min(len(view.values), max_rank(graph, weights)), solver, start=view)
        for weights, view in zip(chosen.choice.weights, chosen.views, strict=True)
    )
    interacted = interacted_rows(graph)
    pairs = [Scorer(views, pair, graph.entity_types, interacted).scaled().pair for pair in chosen.pairs]
    return Fitted(views, pairs, chosen.common, chosen.choice)


def _grown(vectors: Vectors, train: TypedGraph, weights: Weights, judge: "_Judge", solver: Solver) -> Vectors:
    """More eigenpairs, as long as the upper half of them improves the ranking."""
    most = max_rank(train, weights)
    while (rank := len(vectors.values)) < most and judge.mean(vectors) - judge.mean(vectors.leading(rank // 2)) > PAYS:
        larger = decompose(train, weights, min(GROWTH * rank, most), solver, start=vectors)
        if len(larger.values) == rank:  # the graph has no more
            break
        vectors = larger
    return vectors


class _Search:
    """Looks for weights of relations and dampings that rank held-out interactions best, with few eigenvectors.

    First for all pairs on average; then, where something that was tried suits some pairs clearly better, once more for
    those alone. One coordinate after the other, from the relation with the most edges to the one with the fewest.
    """

    def __init__(
        self, graph: TypedGraph, train: TypedGraph, judge: "_Judge", solver: Solver, progress: Progress
    ) -> None:
        self._train, self._judge, self._solver, self._progress = train, judge, solver, progress
        self._counts: dict[str, int] = {}
        for edge_type in graph.edge_types:
            edges = graph.data[edge_type].edge_index.shape[1]
            self._counts[edge_type[1]] = self._counts.get(edge_type[1], 0) + edges
        work = 20 * train.entity_types.size * SEARCH_RANK**2 + 40 * sum(self._counts.values()) * SEARCH_RANK
        self._most = min(MAX_TRIES, max(len(DAMPINGS), int(SEARCH_WORK / work)))
        self._seen: dict[Weights, NDArray[np.float64]] = {}
        self._first: Vectors | None = None
        self._step = MIN_STEP
        self.tried: list[dict[str, Any]] = []

    def best(self) -> list[Weights]:
        """One setting, or two of which the second suits some pairs better."""
        start = Weights({name: self._start(name) for name in self._counts}, FIRST_DAMPING)
        trust = self._judge.trust
        if not trust.sum():
            return [start]
        first = self._climb(start, trust, self._most // 2)
        most = np.max(list(self._seen.values()), axis=0)
        unsatisfied = trust * (most > self._seen[first] + MIN_GAIN) * (trust >= MIN_TRUST)
        if not unsatisfied.any() or len(self._counts) == 1:  # another damping alone is not worth a second view
            return [first]
        begin = max(self._seen, key=lambda weights: float(self._seen[weights] @ unsatisfied))
        second = self._climb(begin, unsatisfied, self._most)
        return [first] if second == first else [first, second]

    def best_from(self, before: list[Weights]) -> list[Weights]:
        """As many settings as before, each with what is now clearly better."""
        self._step = KEPT_STEP
        trust = self._judge.trust
        known = [
            replace(weights, relations={name: weights.relations.get(name, self._start(name)) for name in self._counts})
            for weights in before
        ]
        if not trust.sum():
            return known
        first = self._climb(known[0], trust, self._most // 2)
        if len(known) == 1:
            return [first]
        suited = trust * (self._score(known[1]) > self._score(first))
        return [first, self._climb(known[1], suited, self._most)]

    @staticmethod
    def _start(name: str) -> float:
        return START[name.partition(":")[0] + ":"]

    def decomposed(self, weights: Weights) -> Vectors:
        """Few eigenvectors under some weights, all begun from the same ones, so that none is closer to its end."""
        rank = min(SEARCH_RANK, max_rank(self._train, weights))
        if self._first is None:
            self._first = decompose(self._train, weights, rank, self._solver)
        return decompose(self._train, weights, rank, self._solver, start=self._first)

    def _climb(self, best: Weights, trust: NDArray[np.float64], most: int) -> Weights:
        for _ in range(_PASSES):
            before = best
            for moves in self._moves():
                for candidate in moves(best):
                    affordable = candidate in self._seen or len(self._seen) < most
                    if affordable and self._is_better(candidate, best, trust):
                        best = candidate
            if best == before:
                break
        return best

    def _is_better(self, candidate: Weights, best: Weights, trust: NDArray[np.float64]) -> bool:
        gains = self._score(candidate) - self._score(best)
        return bool(gains @ trust > self._step * trust.sum())

    def _score(self, weights: Weights) -> NDArray[np.float64]:
        if weights not in self._seen:
            self._progress(min(99.0, 100 * len(self._seen) / self._most), "weighing relations")
            found = self._judge.score(self.decomposed(weights))
            self._seen[weights] = found
            mean = round(float(found.mean()), 5) if len(found) else 0.0
            self.tried.append({**asdict(weights), "mean_log_ndcg": mean})
        return self._seen[weights]

    def _moves(self) -> list[Callable[[Weights], Iterable[Weights]]]:
        """For the damping and for each group of relations: the settings to try next to a given one."""

        def dampings(now: Weights) -> Iterable[Weights]:
            return (replace(now, damping=damping) for damping in DAMPINGS)

        def repeats(now: Weights) -> Iterable[Weights]:
            return (replace(now, repeats=exponent) for exponent in REPEATS)

        def half_lives(now: Weights) -> Iterable[Weights]:
            lives = [None, *((newest - oldest) * share for share in HALF_LIFE_SHARES)]
            return (replace(now, half_life=life) for life in lives)

        def of(names: list[str]) -> Callable[[Weights], Iterable[Weights]]:
            weights = TEXT_WEIGHTS if names[0].startswith(TEXT) else WEIGHTS
            return lambda now: (now.with_relations(names, weight) for weight in weights)

        edges = {name: count for name, count in self._counts.items() if not name.startswith(TEXT)}
        least = MIN_SHARE * sum(edges.values())
        large = sorted((name for name, count in edges.items() if count >= least), key=lambda name: -edges[name])
        small, text = (
            [name for name in edges if name not in large],
            [name for name in self._counts if name not in edges],
        )
        groups = [names for names in (text, *([name] for name in large), small) if names]
        oldest, newest = self._train.times()
        repeated = any(bool((self._train.data[kind].repeats > 1).any()) for kind in self._train.interaction_types)
        told = [repeats] * repeated + [half_lives] * (oldest < newest)
        return [dampings, *told, *(of(names) for names in groups if len(groups) > 1)]


class _Judge:
    """Measures how well vectors rank the `choice` part of the held-out interactions."""

    def __init__(self, held_out: Split, before: Mapping[tuple[str, str], tuple[int, Response]]) -> None:
        self._before = before
        self._entity_types = held_out.train.entity_types
        self._interacted = interacted_rows(held_out.train)
        self.judged = [held for held in held_out.choice if len(held.sources)]
        self.implied = [held for held in held_out.implied if len(held.sources)]
        self._few = [held.part(_some(len(held.sources))) for held in self.judged]
        self._cold = [held for held in held_out.cold if len(held.sources) >= MIN_SOURCES]
        self.filters: list[dict[str, Any]] = []
        """Every learned filter that was tried: NDCG without and with it, on sources that it was not learned from."""
        self.trust = np.sqrt([len(held.sources) for held in self._few + self._cold])
        """How much each pair's figure is worth: the noise of a mean falls with the root of how many it is of."""

    def score(self, vectors: Vectors) -> NDArray[np.float64]:
        """Logarithm of NDCG of every judged pair, then of cold targets, each with the best of a few responses."""
        ridges, exponents = SEARCH_RESPONSES
        responses = [
            Response(parity, len(vectors.values), ridge, exponent)
            for parity in _parities(vectors)
            for ridge in ridges
            for exponent in exponents
        ]
        found = [self._ndcg(vectors, held, responses) for held in self._few]
        found += [[ndcg(*cold_scores(vectors, response, held)) for response in responses] for held in self._cold]
        best = [max(figures.mean() for figures in tried) for tried in found]
        return np.log(np.array(best, dtype=np.float64) + _NEGLIGIBLE)

    def mean(self, vectors: Vectors) -> float:
        """The same on average over the pairs."""
        return float(self.score(vectors) @ self.trust / max(self.trust.sum(), 1))

    def best_readings(self, views: Sequence[Vectors]) -> dict[tuple[str, str], tuple[int, Response]]:
        """The best view and response for every pair that interactions link and that has enough held-out sources."""
        starts = [Response(_parities(view)[0], len(view.values), USUAL_RIDGE, USUAL_EXPONENT) for view in views]
        return {held.pair: self._reading(views, starts, held) for held in self._few if len(held.sources) >= MIN_SOURCES}

    def implied_readings(
        self, views: Sequence[Vectors], usual: Response
    ) -> dict[tuple[str, str], tuple[int, Response]]:
        """The same for pairs that no interaction links."""
        starts = [replace(usual, rank=len(view.values)) for view in views]
        return {
            held.pair: self._reading(views, starts, held) for held in self.implied if len(held.sources) >= MIN_SOURCES
        }

    def _reading(self, views: Sequence[Vectors], starts: Sequence[Response], held: HeldOut) -> tuple[int, Response]:
        known = self._known(held.pair, views)
        if known is not None:
            starts = [known[1] if number == known[0] else start for number, start in enumerate(starts)]
        responses = [self._best_response(view, held, start) for view, start in zip(views, starts, strict=True)]
        found = [self._ndcg(view, held, [response])[0] for view, response in zip(views, responses, strict=True)]
        view = int(np.argmax([figures.mean() for figures in found]))
        if known is not None and not _sure_gain([found[known[0]], found[view]]):
            view = known[0]
        return view, self._learned(views[view], responses[view], held)

    def _known(self, pair: tuple[str, str], views: Sequence[Vectors]) -> tuple[int, Response] | None:
        """How a pair was read before, if these views allow it."""
        if pair not in self._before:
            return None
        view, response = self._before[pair]
        possible = view < len(views) and response.parity in (*_parities(views[view]), "none")
        return (view, replace(response, gains=())) if possible else None

    def _learned(self, vectors: Vectors, response: Response, held: HeldOut) -> Response:
        """The response with a learned filter, if it ranks better for sources that it was not learned from."""
        places, block = np.arange(len(held.sources)), self._entity_types.rows(held.target_type)
        most = affordable(block)
        if response.parity == "none" or min(len(places) // 2, most) < MIN_LEARNED_FROM:
            return response
        learned = learn(vectors, response, held.part(places[::2][:most]), block)
        judged = self._ndcg(vectors, held.part(places[1::2]), [response, learned])
        kept = bool(_sure_gain(judged))
        plain, filtered = (round(float(found.mean()), 4) for found in judged)
        names = {"source_type": held.source_type, "target_type": held.target_type}
        self.filters.append({**names, "plain": plain, "learned": filtered, "kept": kept})
        return learned if kept else response

    def blended(self, pair: Pair, views: Sequence[Vectors], held: HeldOut) -> Scorer:
        """What scores a pair, with the share of co-occurrence that ranks best where that can be told and afforded."""
        plain = Scorer(views, pair, self._entity_types, self._interacted).scaled()
        if len(held.sources) < MIN_SOURCES or not plain.may_blend:
            return plain
        scorers = [plain, *(plain.blended(share) for share in SHARES)]
        few = held.part(_some(len(held.sources)))
        judged = [ndcg(few.masked(scorer.raw(few.sources), scorer.targets), few, scorer.targets) for scorer in scorers]
        return scorers[_sure_gain(judged)]

    def cold_readings(
        self, views: Sequence[Vectors], readings: Mapping[tuple[str, str], tuple[int, Response]]
    ) -> dict[tuple[str, str], tuple[int, Response]]:
        """View and response for targets without interactions, where the split has some and others than the usual pay.

        They are ranked among themselves.
        """
        found = {}
        for held in self._cold:
            if held.pair not in readings or readings[held.pair][1].parity == "none":
                continue
            usual = readings[held.pair]
            tries = [usual]
            for number, view in enumerate(views):
                ranks = {max(1, round(len(view.values) * share)) for share in COLD_RANK_SHARES}
                tries += [
                    (number, replace(usual[1], rank=rank, ridge=ridge, gains=()))
                    for rank in sorted(ranks)
                    for ridge in COLD_RIDGES
                ]
            judged = [ndcg(*cold_scores(views[view], response, held)) for view, response in tries]
            found[held.pair] = tries[_sure_gain(judged)]
        return found

    def _best_response(self, vectors: Vectors, held: HeldOut, best: Response) -> Response:
        """The best response for one pair, one coordinate after the other."""
        rank = len(vectors.values)
        ranks = sorted({max(1, round(rank * share)) for share in RANK_SHARES}, reverse=True)
        best = self._better(vectors, held, best, [replace(best, parity=parity) for parity in _parities(vectors)])
        best = self._better(vectors, held, best, [replace(best, ridge=ridge) for ridge in RIDGES])
        best = self._better(vectors, held, best, [replace(best, exponent=exponent) for exponent in EXPONENTS])
        best = self._better(vectors, held, best, [replace(best, rank=rank) for rank in ranks])
        popular = Response("none", 0, best.ridge, 1.0)
        return self._better(vectors, held, best, [popular])

    def _better(self, vectors: Vectors, held: HeldOut, now: Response, tries: list[Response]) -> Response:
        """The best of some responses, or the present one where the difference may be noise.

        The difference must be twice its standard error over the sources: what comes later is never quite like what was
        withheld, and a setting that has served many data sets is worth more than one that won by chance.
        """
        return [now, *tries][_sure_gain(self._ndcg(vectors, held, [now, *tries]))]

    def _ndcg(self, vectors: Vectors, held: HeldOut, responses: list[Response]) -> list[NDArray[np.float64]]:
        """NDCG of every source of one pair's held-out interactions under each of some responses."""
        block = self._entity_types.rows(held.target_type)
        found = [self._ndcg_of(vectors, part, responses, block) for part in held.parts(block)]
        return [np.concatenate(figures) for figures in zip(*found, strict=True)]

    @staticmethod
    def _ndcg_of(vectors: Vectors, held: HeldOut, responses: list[Response], block: range) -> list[NDArray[np.float64]]:
        blank = np.zeros((len(held.sources), len(block)), dtype=np.float32)
        forbidden = torch.from_numpy(held.masked(blank, block))
        raw: dict[Response, torch.Tensor] = {}
        found = []
        for response in responses:
            flat = replace(response, exponent=0.0)
            if flat not in raw:
                raw = {flat: torch.from_numpy(vectors.raw_scores(flat, held.sources, block))}
            factor = torch.from_numpy(vectors.target_factor(response, block))
            found.append(ndcg(torch.addcmul(forbidden, raw[flat], factor), held, block))
        return found


def _sure_gain(found: list[NDArray[np.float64]]) -> int:
    """Position of the NDCG by source that gains most over the first for sure, or 0 where every gain may be noise."""
    gains = [ndcg - found[0] for ndcg in found]
    return int(np.argmax([gain.mean() - SURE * gain.std() / len(gain) ** 0.5 for gain in gains]))


def _some(count: int) -> NDArray[np.int64]:
    """Positions of `SEARCH_SOURCES` of so many, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, SEARCH_SOURCES)).astype(np.int64))


def _parities(vectors: Vectors) -> tuple[Parity, ...]:
    """Without negative eigenvalues both say the same."""
    return ("signed", "positive") if (vectors.values < 0).any() else ("positive",)


def _usual(responses: list[Response], rank: int) -> Response:
    """The middle of some responses, for pairs that cannot be judged.

    It drops negative eigenvalues, as types that no interaction links may be an even number of steps apart.
    """
    read = [response for response in responses if response.parity != "none"]
    ridge = float(np.exp(np.mean(np.log([response.ridge for response in read])))) if read else USUAL_RIDGE
    exponent = float(np.mean([response.exponent for response in read])) if read else USUAL_EXPONENT
    return Response("positive", rank, ridge, exponent)


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
