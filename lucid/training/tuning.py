"""Tuning: how much each relation weighs, how it ages, how strongly degrees are damped, and how many eigenpairs pay.

Chosen for all pairs together, with few eigenvectors; then, where something that was tried suits some pairs clearly
better, once more for those alone, as a second decomposition.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from lucid.data.strengths import StrengthRule
from lucid.graph.relation_weights import STRENGTH_USES, RelationWeights, StrengthUse
from lucid.graph.typed_graph import TypedGraph
from lucid.model.decomposition import Solver, decompose, max_rank
from lucid.model.embedding import Embedding
from lucid.side_by_side import side_by_side
from lucid.training.budget import Budget
from lucid.training.chosen import TriedWeights
from lucid.training.filter_choice import FilterJudge
from lucid.typing import INTERACTION, LINK, TEXT, Progress


@dataclass(frozen=True)
class TuningConfig:
    """What is tried, and what a change must gain; where values were measured, `benchmarks/LOG.md` has the figures."""

    interaction_weight: float = 1.0
    link_weight: float = 0.3
    text_weight: float = 0.0
    """First weights; measured: links help at about a third, words help on some data only and have to earn theirs."""
    damping: float = 3.0
    """First damping; 1 to 8 were useful on the public data sets."""
    weights: tuple[float, ...] = (0.1, 0.3, 1.0)
    text_weights: tuple[float, ...] = (0.0, 0.3, 1.0)
    dampings: tuple[float, ...] = (1.0, 3.0, 10.0)
    """Steps of about three, set by hand; 30 was left out of the dampings, as the log tells."""
    repeat_exponents: tuple[float, ...] = (0.0, 0.5)
    """How repeats count: not at all, or by their root; set by hand."""
    half_life_shares: tuple[float, ...] = (0.5, 0.125)
    """Half-lives of interactions as shares of the time that the data span; set by hand."""
    min_relation_share: float = 0.02
    """Relations with a smaller share of the edges are weighed together, which saves tries; set by hand."""
    rank: int = 256
    """Eigenvectors that weights are judged with: a quarter of the most; set by hand."""
    max_work: float = 1e12
    """Floating-point operations that the search may take; at least the dampings are always tried."""
    max_tries: int = 40
    """Settings that are tried at most, however small the graph."""
    passes: int = 2
    """Over all coordinates at most."""
    min_gain: float = 0.01
    """In mean log NDCG, for which a weight or the damping is changed; measured against twice its standard error."""
    max_loss_in_race: float = 0.02
    """In mean log NDCG over a part of the sources; what loses more is not judged by all of them. Set by hand."""
    min_gain_over_earlier: float = 0.05
    """In mean log NDCG, where a version answers already: its settings stay unless another is clearly better."""
    min_gain_of_second: float = 0.05
    """How much better than the common setting another must suit a pair for a second decomposition, as log NDCG."""
    min_pair_weight: float = 10.0
    """Pairs with fewer validation sources than the square of this ask for no second decomposition."""
    growth: int = 4
    """How many times as many eigenpairs are tried next."""
    min_gain_of_growth: float = 0.01
    """In mean log NDCG from the upper half of the eigenpairs, for which more are tried."""


CONFIG = TuningConfig()


@dataclass(frozen=True)
class Try:
    """Settings to be judged, by all sources unless a part of them speaks clearly against it.

    They are held against log NDCG of the best ones, by pairs, which count as `pair_weights` say; against nothing where
    `best` is None.
    """

    weights: RelationWeights
    best: tuple[float, ...] | None
    pair_weights: tuple[float, ...]
    name: str = "relation weights"


@dataclass(frozen=True)
class Asked:
    """What a training was asked to do with interactions: weights of relations that are not looked for, and whether
    dislikes must count as that; whether some types tell of nothing but dislike, by name or as learned."""

    weights: Mapping[str, float] = field(default_factory=dict)
    is_signed: bool = False
    has_dislikes: bool = False

    @classmethod
    def of(cls, rules: Sequence[StrengthRule]) -> "Asked":
        given = {INTERACTION + rule.type: rule.weight for rule in rules if rule.weight is not None}
        return cls(
            given,
            any(rule.is_asked and rule.meaning != "plain" for rule in rules),
            any(rule.meaning == "dislike" for rule in rules),
        )


Tried = tuple[NDArray[np.float64], NDArray[np.float64] | None] | None
"""Log NDCG by pairs: by a part of the sources, and by all of them, where these were asked; None where it was left out
for want of time."""


def grown(
    embedding: Embedding,
    train: TypedGraph,
    weights: RelationWeights,
    judge: FilterJudge,
    solver: Solver,
    config: TuningConfig = CONFIG,
    budget: Budget | None = None,
) -> Embedding:
    """More eigenpairs, as long as the upper half of them improves the ranking and the budget allows it."""
    budget = budget or Budget()
    most = max_rank(train, weights)
    while (rank := len(embedding.values)) < most:
        if judge.mean(embedding) - judge.mean(embedding.leading(rank // 2)) <= config.min_gain_of_growth:
            break
        if not budget.allows("grow"):
            budget.give_up("decompositions with more eigenvectors")
            break
        larger = decompose(train, weights, min(config.growth * rank, most), solver, start=embedding)
        if len(larger.values) == rank:  # the graph has no more
            break
        embedding = larger
    return embedding


class WeightSearch:
    """Looks for relation weights and dampings that rank validation interactions best, with few eigenvectors.

    One coordinate after the other, from the relation with the most edges to the one with the fewest.
    """

    def __init__(
        self,
        graph: TypedGraph,
        train: TypedGraph,
        judge: FilterJudge,
        solver: Solver,
        progress: Progress,
        config: TuningConfig = CONFIG,
        budget: Budget | None = None,
        judge_each: "Callable[[WeightSearch, Sequence[Try]], Iterable[Tried]] | None" = None,
        asked: Asked | None = None,
        strengths: StrengthUse = "ignored",
    ) -> None:
        """`judge_each` has `judged` done for some tries; without it, this process does them side by side. `strengths`
        is what all settings make of them."""
        self._judge_each = judge_each or (lambda search, tries: side_by_side(search.judged, tries))
        self._train, self.judge, self._solver, self._asked = train, judge, solver, asked or Asked()
        self._progress, self._config, self._budget = progress, config, budget or Budget()
        self._strengths: StrengthUse = strengths
        self._edge_counts: dict[str, int] = {}
        for edge_type in graph.edge_types:
            edges = graph.data[edge_type].edge_index.shape[1]
            self._edge_counts[edge_type[1]] = self._edge_counts.get(edge_type[1], 0) + edges
        edges, entities = sum(self._edge_counts.values()), train.entity_types.size
        self.work = 20 * entities * config.rank**2 + 40 * edges * config.rank
        """Floating-point operations that one try takes, about."""
        self._most = min(config.max_tries, max(len(config.dampings), int(config.max_work / self.work)))
        self._min_gain = config.min_gain
        self._rough: dict[RelationWeights, NDArray[np.float64]] = {}
        self._scores: dict[RelationWeights, NDArray[np.float64]] = {}
        self._left_out: set[RelationWeights] = set()
        """For want of time."""
        self.first: Embedding | None = None
        """The eigenvectors that all others are begun from, once there are any."""
        self.tried: list[TriedWeights] = []

    def best(self) -> list[RelationWeights]:
        """One setting, or two of which the second suits some pairs better."""
        config, pair_weights = self._config, self.judge.pair_weights
        start = self._start()
        if not pair_weights.sum() or self._is_over([start]):
            return [start]
        first = self._climb(start, pair_weights, self._most // 2)
        if len(self._edge_counts) == 1:  # another damping alone is not worth a second one
            return [first]
        if not self._budget.allows("search"):
            self._budget.give_up("searches for a second decomposition")
            return [first]
        weighty = pair_weights * (pair_weights >= config.min_pair_weight)
        most = np.max(list(self._rough.values()), axis=0)
        promising = weighty * (most > self._rough[first] + config.min_gain_of_second)
        begin = max(self._rough, key=lambda weights: float(self._rough[weights] @ promising))
        unsatisfied = weighty * (self._score(begin) > self._score(first) + config.min_gain_of_second)
        if not unsatisfied.any():
            return [first]
        second = self._climb(begin, unsatisfied, self._most)
        return [first] if second == first else [first, second]

    def best_from(self, earlier: Sequence[RelationWeights]) -> list[RelationWeights]:
        """As many settings as earlier, each with what is now clearly better."""
        self._min_gain = self._config.min_gain_over_earlier
        pair_weights = self.judge.pair_weights
        known = [self._start_from(weights) for weights in earlier]
        if not pair_weights.sum() or self._is_over(known):
            return known
        first = self._climb(known[0], pair_weights, self._most // 2)
        if len(known) == 1:
            return [first]
        if self._is_over(known[1:]):
            return [first, known[1]]
        suited = pair_weights * (self._score(known[1]) > self._score(first))
        return [first, self._climb(known[1], suited, self._most)]

    def use_of_strengths(self, earlier: Sequence[RelationWeights] = ()) -> StrengthUse:
        """The use of strengths that dislikes weigh most in, of those that rank what was liked best, with the first
        settings of the search; others must be surely worse at that.

        It pays where what was liked is ranked no worse than when all count alike and what was disliked no higher, and
        one of the two surely so; without dislikes, what was liked surely better. Where values are noise, neither is the
        case. Types that tell of nothing but dislike count as likes only where that ranks surely better.
        """
        if not self._budget.allows("search"):
            self._budget.give_up("uses of strengths")
            return "mild" if self._asked.is_signed or self._asked.has_dislikes else "ignored"
        start = self._start_from(earlier[0]) if earlier else self._start()
        tries = [replace(start, strengths=use) for use in STRENGTH_USES]
        self.decomposed(tries[0])  # from which all are begun
        likes, dislikes = zip(
            *side_by_side(lambda one: self.judge.score_said(self.decomposed(one)), tries), strict=True
        )
        mild = STRENGTH_USES.index("mild")
        is_mild = self._asked.has_dislikes and not (len(likes[0]) and _surely(likes[0] - likes[mild]) > 0)
        chosen: StrengthUse = "mild" if self._asked.is_signed or is_mild else "ignored"
        most = max(likes, key=np.sum)
        for use, liked, disliked in zip(STRENGTH_USES[1:], likes[1:], dislikes[1:], strict=True):
            gains = [gain for gain in (liked - likes[0], dislikes[0] - disliked) if len(gain)]
            pays = all(gain.sum() >= 0 for gain in gains) and any(_surely(gain) > 0 for gain in gains)
            if pays and not (len(liked) and _surely(most - liked) > 0):
                chosen = use
        return chosen

    def decomposed(self, weights: RelationWeights) -> Embedding:
        """Few eigenvectors under some weights, all begun from the same ones, so that none is closer to its end."""
        rank = min(self._config.rank, max_rank(self._train, weights))
        if self.first is None:
            self.first = decompose(self._train, weights, rank, self._solver)
        return decompose(self._train, weights, rank, self._solver, start=self.first)

    def judged(self, one: Try) -> Tried:
        """What comes of a try, None for want of time; changes nothing here but `first`, where there is none."""
        if not self._may_try(one.best):
            return None
        embedding = self.decomposed(one.weights)
        rough = self.judge.score(embedding, roughly=True)
        lost = one.best is not None and self._is_lost(rough, np.array(one.best), np.array(one.pair_weights))
        return rough, None if lost else self.judge.score(embedding)

    @property
    def left_out(self) -> int:
        """How many settings were not tried for want of time."""
        return len(self._left_out - self._rough.keys())

    def _may_try(self, best: tuple[float, ...] | None) -> bool:
        """Whether there is time for a try; the first one, which is compared with nothing, is always made."""
        return best is None or self._budget.allows("search")

    def _is_over(self, settings: Iterable[RelationWeights]) -> bool:
        """Whether there is no time left; what would be tried beside some settings is left out then."""
        if self._budget.allows("search"):
            return False
        self._left_out |= {one for best in settings for moves in self._coordinates() for one in moves(best)}
        return True

    def _start(self) -> RelationWeights:
        relations = {name: self._first_weight(name) for name in self._edge_counts}
        return RelationWeights(relations, self._config.damping, strengths=self._strengths)

    def _start_from(self, earlier: RelationWeights) -> RelationWeights:
        """Earlier settings with what is asked, and what is known of relations that are new."""
        relations = {
            name: self._asked.weights.get(name, earlier.relations.get(name, self._first_weight(name)))
            for name in self._edge_counts
        }
        return replace(earlier, relations=relations, strengths=self._strengths)

    def _first_weight(self, relation: str) -> float:
        config, prefix = self._config, relation.partition(":")[0] + ":"
        if relation in self._asked.weights:
            return self._asked.weights[relation]
        return {INTERACTION: config.interaction_weight, LINK: config.link_weight, TEXT: config.text_weight}[prefix]

    def _climb(self, best: RelationWeights, pair_weights: NDArray[np.float64], most: int) -> RelationWeights:
        self._score(best)
        for _ in range(self._config.passes):
            before = best
            for moves in self._coordinates():
                candidates = list(moves(best))
                new = [one for one in candidates if one not in self._rough]
                self._race(new[: max(most - len(self._rough), 0)], best, pair_weights)
                for candidate in candidates:
                    if candidate in self._rough and self._is_better(candidate, best, pair_weights):
                        best = candidate
            if best == before:
                break
        return best

    def _race(
        self, new: Sequence[RelationWeights], best: RelationWeights | None, pair_weights: NDArray[np.float64]
    ) -> None:
        """Judge settings by a part of the sources; by all of them, where these do not speak clearly against it.

        Those for which there is no time are left out, but for the first one, which has no `best` to compare with.
        """
        known = None if best is None else tuple(self._rough[best].tolist())
        tries = [Try(weights, known, tuple(pair_weights.tolist())) for weights in new if self._may_try(known)]
        found = chain(self._judge_each(self, tries), repeat(None, len(new) - len(tries)))
        for weights, tried in zip(new, found, strict=True):
            if tried is None:
                self._left_out.add(weights)
                continue
            rough, score = tried
            self._progress(min(99.0, 100 * len(self._rough) / self._most), "weighing relations")
            self._rough[weights] = rough
            self.tried.append(TriedWeights(weights, round(float(rough.mean()), 5) if len(rough) else 0.0))
            if score is not None:
                self._scores[weights] = score

    def _is_lost(
        self, rough: NDArray[np.float64], best: NDArray[np.float64], pair_weights: NDArray[np.float64]
    ) -> bool:
        return _gain(rough, best, pair_weights) < -self._config.max_loss_in_race

    def _is_better(self, candidate: RelationWeights, best: RelationWeights, pair_weights: NDArray[np.float64]) -> bool:
        if self._is_lost(self._rough[candidate], self._rough[best], pair_weights):
            return False
        return _gain(self._score(candidate), self._score(best), pair_weights) > self._min_gain

    def _score(self, weights: RelationWeights) -> NDArray[np.float64]:
        if weights not in self._rough:
            self._race([weights], None, np.empty(0))
        if weights not in self._scores:  # it lost its race against another
            self._scores[weights] = self.judge.score(self.decomposed(weights))
        return self._scores[weights]

    def _coordinates(self) -> list[Callable[[RelationWeights], Iterable[RelationWeights]]]:
        """For the damping, repeats, ages and each group of relations: the settings to try next to a given one."""
        config = self._config
        oldest, newest = self._train.time_range or (0.0, 0.0)

        def dampings(now: RelationWeights) -> Iterable[RelationWeights]:
            return (replace(now, damping=damping) for damping in config.dampings)

        def repeats(now: RelationWeights) -> Iterable[RelationWeights]:
            return (replace(now, repeats=exponent) for exponent in config.repeat_exponents)

        def half_lives(now: RelationWeights) -> Iterable[RelationWeights]:
            lives = [None, *((newest - oldest) * share for share in config.half_life_shares)]
            return (replace(now, half_life=life) for life in lives)

        def of(names: list[str]) -> Callable[[RelationWeights], Iterable[RelationWeights]]:
            weights = config.text_weights if names[0].startswith(TEXT) else config.weights
            return lambda now: (now.with_relations(names, weight) for weight in weights)

        groups = self._relation_groups()
        edges = [self._train.data[edge_type] for edge_type in self._train.interaction_types]
        are_repeated = any(bool((store.repeats > 1).any()) for store in edges)
        ages = [repeats] * are_repeated + [half_lives] * (oldest < newest)
        return [dampings, *ages, *(of(names) for names in groups if len(groups) > 1)]

    def _relation_groups(self) -> list[list[str]]:
        """Relations that are weighed together: words, each large relation by itself, the small ones."""
        free = {name: count for name, count in self._edge_counts.items() if name not in self._asked.weights}
        edges = {name: count for name, count in free.items() if not name.startswith(TEXT)}
        least = self._config.min_relation_share * sum(edges.values())
        large = sorted((name for name, count in edges.items() if count >= least), key=lambda name: -edges[name])
        small = [name for name in edges if name not in large]
        text = [name for name in free if name not in edges]
        return [names for names in (text, *([name] for name in large), small) if names]


def _surely(differences: NDArray[np.float64]) -> float:
    """A mean less two standard errors of it."""
    return float(differences.mean() - 2 * differences.std() / len(differences) ** 0.5)


def _gain(candidate: NDArray[np.float64], best: NDArray[np.float64], pair_weights: NDArray[np.float64]) -> float:
    """How much better a candidate suits the pairs, in mean log NDCG."""
    return float((candidate - best) @ pair_weights / pair_weights.sum())
