"""Fitting: choose on the holdout, then apply what was chosen to all interactions.

How much each relation weighs is chosen for all pairs together (`tuning`), then the filter of each pair
(`filter_choice`), then how its scores are calibrated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from lucid.data.strengths import StrengthRule
from lucid.evaluation.holdout import HeldOut, Holdout
from lucid.evaluation.quality import judged_raw
from lucid.graph.relation_weights import RelationWeights, StrengthUse
from lucid.graph.typed_graph import TypedGraph
from lucid.model.decomposition import CONFIG, Solver, decompose, max_rank
from lucid.model.embedding import Embedding
from lucid.model.follows import Follows, learn_follows
from lucid.model.pair_model import Pair, PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SpectralFilter
from lucid.side_by_side import side_by_side
from lucid.training.budget import Budget
from lucid.training.chosen import ChosenSettings, FollowsTrial
from lucid.training.filter_choice import Assigned, FilterJudge, untold
from lucid.training.tuning import Asked, Tried, Try, WeightSearch, grown
from lucid.typing import Progress

_EVIDENCE_OF_OTHERS = 5
"""Held-out interactions that those of all other pairs count as for a pair that has none; set by hand."""


Evidence = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]
"""What a pair is calibrated by; the last arguments of `calibrated`."""


@dataclass(frozen=True)
class Fitted:
    """Embeddings of all entities and the models of the pairs that were judged: what scores every pair of types.

    Decompositions differ in their relation weights; every pair's filter is applied to one of them.
    """

    embeddings: tuple[Embedding, ...]
    pairs: list[PairModel]
    default_pair: PairModel
    """Stands for all other pairs; its scale is set when one is first asked."""
    chosen: ChosenSettings
    follows: Mapping[Pair, Follows] = field(default_factory=dict)
    """What follows what on the whole graph, of those pairs whose scores count it."""


@dataclass(frozen=True)
class Calibrating:
    """What the pairs that were judged are calibrated with, each by itself: the settings that were chosen for them.

    `assigned` holds filters and decompositions by pair, `cold` those of cold targets, where they differ; all others
    have the default filter on the first decomposition. `embeddings` are those without held-out interactions.
    """

    judge: FilterJudge
    embeddings: Sequence[Embedding]
    assigned: Mapping[Pair, Assigned]
    cold: Mapping[Pair, Assigned]
    default: SpectralFilter

    @property
    def judged(self) -> list[HeldOut]:
        """What is withheld of each pair, in the order of their numbers."""
        return self.judge.direct + self.judge.indirect

    def calibrate(self, number: int) -> "Calibrated":
        """The model of a pair, with its share of item-kNN and what follows what, calibrated; and by what it is."""
        held = self.judged[number]
        own = self.assigned.get(held.pair, Assigned(0, self.default))
        plain = PairModel(*held.pair, *own, *self.cold.get(held.pair, own))
        scorer, trial = self.judge.ordered(self.judge.blended(plain, self.embeddings, held), held)
        raw, hits, withheld = judged_raw(scorer, self.judge.some(held))
        log1p = scorer.pair.calibration.log1p
        evidence = log1p(raw), hits, log1p(withheld)
        return Calibrated(calibrated(scorer.pair, *evidence), evidence, trial)


class Calibrated(NamedTuple):
    """The model of a pair, by what it was calibrated, and what was found of the order of its interactions."""

    pair: PairModel
    evidence: Evidence
    follows: FollowsTrial | None


class Parts(Protocol):
    """Who does the parts of a choice, and yields what comes of each, in their order."""

    def judge_each(self, search: WeightSearch, tries: Sequence[Try]) -> Iterable[Tried]:
        """See `WeightSearch.judged`."""

    def calibrate_each(self, calibrating: Calibrating) -> Iterable[Calibrated]:
        """Calibrate all pairs; see `Calibrating.calibrate`."""


class Here:
    """This process does the parts, side by side."""

    def judge_each(self, search: WeightSearch, tries: Sequence[Try]) -> Iterable[Tried]:
        return side_by_side(search.judged, tries)

    def calibrate_each(self, calibrating: Calibrating) -> Iterable[Calibrated]:
        return side_by_side(calibrating.calibrate, range(len(calibrating.judged)))


@dataclass(frozen=True)
class EarlierSettings:
    """The settings of the version that answers now: a model that is trained again begins with them.

    Otherwise every training would settle on others that serve as well, and answers would change without a reason.
    """

    weightings: Sequence[RelationWeights]
    filters: Mapping[Pair, Assigned]


def choose_use_of_strengths(
    graph: TypedGraph,
    holdout: Holdout,
    solver: Solver,
    earlier: EarlierSettings | None,
    budget: Budget,
    rules: Sequence[StrengthRule],
) -> StrengthUse:
    """What strengths weigh, by what interactions say and what was asked for of them; see `WeightSearch`."""
    if not holdout.train.pairs_with_strengths:
        return "ignored"
    judge = FilterJudge(holdout, earlier.filters if earlier else {}, budget=budget)
    search = WeightSearch(graph, holdout.train, judge, solver, untold, budget=budget, asked=Asked.of(rules))
    return search.use_of_strengths(earlier.weightings if earlier else ())


def choose(
    graph: TypedGraph,
    holdout: Holdout,
    solver: Solver,
    progress: Progress,
    earlier: EarlierSettings | None = None,
    budget: Budget | None = None,
    parts: Parts | None = None,
    rules: Sequence[StrengthRule] = (),
    strengths: StrengthUse = "ignored",
) -> Fitted:
    """Choose weights, damping and filters, and calibrate, on the validation part of the holdout.

    The embeddings of the result are those of the graph without the held-out interactions. What the budget has no time
    for stays as it would begin, and is told with what was chosen. `rules` are what interactions say, and what was asked
    for of them; `strengths` what was chosen for that.
    """
    budget, parts = budget or Budget(), parts or Here()
    judge = FilterJudge(holdout, earlier.filters if earlier else {}, budget=budget)
    search = WeightSearch(
        graph,
        holdout.train,
        judge,
        solver,
        lambda percent, doing: progress(0.6 * percent, doing),
        budget=budget,
        judge_each=parts.judge_each,
        asked=Asked.of(rules),
        strengths=strengths,
    )
    weightings = search.best_from(earlier.weightings) if earlier else search.best()
    budget.give_up("settings of relation weights", search.left_out)
    progress(60, "decomposing the graph without held-out interactions")
    embeddings = list(
        side_by_side(
            lambda weights: grown(search.decomposed(weights), holdout.train, weights, judge, solver, budget=budget),
            weightings,
        )
    )
    progress(70, "choosing filters")
    assigned = judge.assign(embeddings, lambda percent, doing: progress(70 + 0.12 * percent, doing))
    default = judge.default_filter(assigned, len(embeddings[0].values))
    assigned |= judge.assign_indirect(embeddings, default, lambda percent, doing: progress(82 + 0.06 * percent, doing))
    calibrating = Calibrating(judge, embeddings, assigned, judge.assign_cold(embeddings, assigned), default)
    judged, found = calibrating.judged, iter(parts.calibrate_each(calibrating))
    pairs, samples, trials = [], [(np.empty(0), np.empty(0, bool), np.empty(0))], []
    for number, held in enumerate(judged):
        progress(88 + 12 * number / len(judged), f"calibrating {held.source_type} → {held.target_type}")
        one = next(found)
        pairs.append(one.pair)
        samples.append(one.evidence)
        trials += [one.follows] if one.follows else []
    pooled, pooled_hits, pooled_places = (np.concatenate(each) for each in zip(*samples, strict=True))
    evidence = min(len(pooled_places), _EVIDENCE_OF_OTHERS)
    default_pair = calibrated(
        PairModel("", "", 0, default, 0, default), pooled, pooled_hits, pooled_places, evidence=evidence
    )
    used = 1 + max((max(pair.decomposition, pair.cold_decomposition) for pair in pairs), default=0)
    chosen = ChosenSettings(weightings[:used], default, search.tried, judge.learned_filters, budget.given_up, trials)
    return Fitted(tuple(embeddings[:used]), pairs, default_pair, chosen)


def refit(graph: TypedGraph, fitted: Fitted, solver: Solver) -> Fitted:
    """The chosen settings on the whole graph."""
    embeddings = tuple(
        decompose(
            graph,
            weights,
            min(len(embedding.values), max_rank(graph, weights)),
            solver,
            start=embedding,
            rounds=CONFIG.refit_rounds,
        )
        for weights, embedding in zip(fitted.chosen.weightings, fitted.embeddings, strict=True)
    )
    history, disliked, follows = graph.history(), graph.disliked(), learn_follows(graph, fitted.pairs)
    pairs = [
        Scorer(embeddings, pair, graph.entity_types, history, disliked=disliked, follows=follows.get(pair.pair))
        .scaled()
        .pair
        for pair in fitted.pairs
    ]
    return replace(fitted, embeddings=embeddings, pairs=pairs, follows=follows)


def calibrated(
    pair: PairModel,
    x: NDArray[np.float64],
    hits: NDArray[np.bool_],
    places: NDArray[np.float64],
    evidence: int | None = None,
) -> PairModel:
    """Fit slope and intercept by penalised maximum likelihood (Platt 1999); the slope stays above zero.

    `x` are raw scores of best targets as `Calibration.log1p` gives them, `hits` whether each was withheld, and `places`
    those of everything withheld, of which `evidence` speaks for the pair; all, where it is not given.
    """

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, intercept = parameters
        log_odds = intercept + slope * x
        rest = expit(log_odds) - hits
        value = np.logaddexp(0, log_odds).sum() - log_odds[hits].sum() + (slope - 1) ** 2 / 2 + intercept**2 / 200
        return float(value), np.array([rest @ x + slope - 1, rest.sum() + intercept / 100])

    start = np.array([1.0, np.log((hits.sum() + 1) / (len(hits) - hits.sum() + 1))])
    slope, intercept = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0.05, None), (None, None)]).x
    calibration = replace(pair.calibration, slope=float(slope), intercept=float(intercept))
    return replace(pair, calibration=calibration.judged_by(places, evidence))
