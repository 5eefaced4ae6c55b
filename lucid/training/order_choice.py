"""The choice whether a pair's scores count what follows what: by the next interactions of validation sources.

What is withheld of a source are its latest interactions. Each of the first few is ranked given those before it. Order
counts only where the next ones are surely ranked better than without it, and better than with the same interactions in
an order that tells nothing: what merely stands together, the rest of the model knows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut, Holdout
from lucid.graph.sequences import Sequences
from lucid.graph.typed_graph import TypedGraph
from lucid.model.follows import Follows, Transitions
from lucid.model.pair_model import FollowsModel, Pair
from lucid.model.scorer import Scorer
from lucid.training.chosen import FollowsTrial
from lucid.typing import Rows

_CUTOFF = 10
_KEPT = 3
"""Weightings of what follows what that are held: as many as are compared at a time."""


@dataclass(frozen=True)
class OrderConfig:
    """What is tried; where values were measured, `benchmarks/LOG.md` has the figures."""

    weights: tuple[float, ...] = (0.7, 1.0, 2.0, 4.0, 8.0)
    """Beside the rest of the score, which counts once; measured: 2 to 10 suited sessions of two data sets."""
    worth: float = 1.5
    """How much better, in NDCG, a larger weight must rank next interactions to count for sources too, and not only for
    sessions: it ranks what they come to later worse. Measured on two data sets, as the log tells."""
    backwards: tuple[float, ...] = (0.0, 0.5, 1.0)
    exponents: tuple[float, ...] = (0.0, 0.3, 0.5)
    start: FollowsModel = field(default_factory=lambda: FollowsModel(4.0, 0.5, 0.3))
    """Where the choice begins; measured on two data sets."""
    steps: int = 3
    """Next interactions of a source that are ranked, each given those before it; set by hand."""
    min_sources: int = 20
    """Validation sources, and sources whose times tell an order, that a choice needs at least; set by hand."""
    standard_errors: float = 2.0
    """That both gains must exceed."""
    seed: int = 0
    """Of the order that tells nothing."""


class Ranked(NamedTuple):
    """Of each source the mean over its next interactions: NDCG@10, and whether they are among the first ten."""

    ndcg: NDArray[np.float64]
    hits: NDArray[np.float64]


class OrderJudge:
    """Chooses how much what follows what counts in the scores of a pair, on the validation part of a holdout."""

    def __init__(self, holdout: Holdout, config: OrderConfig | None = None) -> None:
        self._train, self._whole, self._config = holdout.train, holdout.graph, config or OrderConfig()

    def ordered(self, scorer: Scorer, held: HeldOut) -> tuple[Scorer, FollowsTrial | None]:
        """What scores a pair, with what follows what where that pays, and what was found; None where nothing tells."""
        if self._whole is None or held.pair not in self._train.pairs:
            return scorer, None
        judged = _Judged.of(self._whole, self._train, held, self._config)
        if judged is None:
            return scorer, None
        best, found = self._best(judged, scorer)
        (plain,) = judged.ranked(scorer, [None])
        shuffled = judged.shuffled(self._config.seed)
        (control,) = shuffled.ranked(scorer, [shuffled.scaled(scorer, best)])
        kept = self._surely(found.ndcg - plain.ndcg) and self._surely(found.ndcg - control.ndcg)
        before, unordered, after, hits_before, hits_after = (
            round(float(figures.mean()), 4)
            for figures in (plain.ndcg, control.ndcg, found.ndcg, plain.hits, found.hits)
        )
        figures = before, unordered, after, hits_before, hits_after
        trial = FollowsTrial(*held.pair, len(found.hits), *figures, best.weight, best.backward, kept, best.in_session)
        return (scorer.following(judged.follows(best), best) if kept else scorer), trial

    def _best(self, judged: "_Judged", scorer: Scorer) -> tuple[FollowsModel, Ranked]:
        """The model, one number after the other, and how it ranks for sources."""
        config, best = self._config, self._config.start
        changes = (
            *({"weight": weight} for weight in config.weights),
            *({"backward": backward} for backward in config.backwards),
            *({"exponent": exponent} for exponent in config.exponents),
        )
        models, ranked = list[FollowsModel](), list[Ranked]()
        for name in ("weight", "backward", "exponent", "weight"):
            tries = [best, *(replace(best, **change) for change in changes if name in change)]
            models = [judged.scaled(scorer, one) for one in dict.fromkeys(replace(one, scale=1.0) for one in tries)]
            ranked = judged.ranked(scorer, models)
            best = models[_best_of(ranked)]
        return self._measured(models, ranked)

    def _measured(self, models: Sequence[FollowsModel], ranked: Sequence[Ranked]) -> tuple[FollowsModel, Ranked]:
        """For sources the least weight of some models than which none is worth more, for sessions the best one."""
        best = _best_of(ranked)
        needed = ranked[best].ndcg.mean() / self._config.worth
        enough = [number for number, one in enumerate(ranked) if one.ndcg.mean() >= needed]
        least = min([best, *enough], key=lambda number: models[number].weight)
        return replace(models[least], in_session=models[best].weight / models[least].weight), ranked[least]

    def _surely(self, gains: NDArray[np.float64]) -> bool:
        return bool(gains.mean() > self._config.standard_errors * gains.std() / len(gains) ** 0.5)


class _Judged:
    """The next interactions of some sources of a pair, and the order of what was before."""

    def __init__(self, held: HeldOut, after: Sequence[Rows], train: Sequences, ends: tuple[range, range]) -> None:
        self._held, self._after, self._train = held, after, train
        self._sources, self._targets = ends
        self._transitions = Transitions(train, *ends)
        self._known: dict[tuple[float, float], Follows] = {}
        self._scales: dict[tuple[float, float], float] = {}

    @classmethod
    def of(cls, whole: TypedGraph, train: TypedGraph, held: HeldOut, config: OrderConfig) -> "_Judged | None":
        """None where times tell no order, or of too few sources."""
        pair: Pair = held.pair
        sources, targets = (train.entity_types.rows(entity_type) for entity_type in pair)
        before, every = Sequences.of_pair(train, pair), Sequences.of_pair(whole, pair)
        if before.ordered_sources() < config.min_sources:
            return None
        positions, after = [], []
        for position, row in enumerate((held.sources - sources.start).tolist()):
            in_time = every.of(row)
            withheld = in_time[np.isin(in_time, held.of(position) - targets.start)][: config.steps]
            known = before.of(row)
            # Interactions of a target that are all withheld may be older: then they say nothing of what is next.
            if len(withheld) and len(known) and before.times[before.starts[row + 1] - 1] <= _time(every, row, withheld):
                positions.append(position)
                after.append(withheld)
        if len(positions) < config.min_sources:
            return None
        return cls(held.part(np.array(positions)), after, before, (sources, targets))

    def follows(self, model: FollowsModel) -> Follows:
        """What follows what, under some direction and exponent."""
        key = model.backward, model.exponent
        if key not in self._known:
            self._known = dict([*self._known.items()][1 - _KEPT :])  # each may take a hundred megabytes
            self._known[key] = self._transitions.weighed(model)
        return self._known[key]

    def scaled(self, scorer: Scorer, model: FollowsModel) -> FollowsModel:
        """A model whose scale fits what the scorer says without it."""
        key = model.backward, model.exponent
        if key not in self._scales:
            found = scorer.following(self.follows(model), model).pair.follows
            assert found is not None
            self._scales[key] = found.scale
        return replace(model, scale=self._scales[key])

    def shuffled(self, seed: int) -> "_Judged":
        """The same interactions in an order that tells nothing."""
        train = self._train.shuffled(np.random.default_rng(seed))
        return _Judged(self._held, self._after, train, (self._sources, self._targets))

    def ranked(self, scorer: Scorer, models: Sequence[FollowsModel | None]) -> list[Ranked]:
        """How each model ranks the next interactions; None stands for the scores without order."""
        parts = [list(part) for part in zip(*self._ranked_parts(scorer, models), strict=True)]
        return [Ranked(*(np.concatenate(each) for each in zip(*part, strict=True))) for part in parts]

    def _ranked_parts(self, scorer: Scorer, models: Sequence[FollowsModel | None]) -> Iterator[list[Ranked]]:
        begin = 0
        for part in self._held.parts(self._targets):
            after = self._after[begin : begin + len(part.sources)]
            unordered = part.masked(scorer.unordered(part.sources), self._targets)
            yield [self._ranked(part.sources, after, unordered, model) for model in models]
            begin += len(part.sources)

    def _ranked(
        self, sources: Rows, after: Sequence[Rows], unordered: NDArray[np.float32], model: FollowsModel | None
    ) -> Ranked:
        ndcg, hits, counts = np.zeros(len(sources)), np.zeros(len(sources)), np.zeros(len(sources))
        for step in range(max(len(rows) for rows in after)):
            some = np.array([position for position, rows in enumerate(after) if len(rows) > step])
            scores = unordered[some].astype(np.float64)
            if model is not None:
                recent = [self._recent(int(sources[position]), after[position][:step]) for position in some.tolist()]
                scores += model.factor(in_session=False) * self.follows(model).scores_of(recent)
            for place, position in enumerate(some.tolist()):
                scores[place, after[position][:step]] = -np.inf  # they are known by now
            wanted = scores[np.arange(len(some)), [after[position][step] for position in some.tolist()]]
            # Of equal scores half stand before it.
            ranks = (scores > wanted[:, None]).sum(axis=1) + ((scores == wanted[:, None]).sum(axis=1) - 1) // 2
            found = ranks < _CUTOFF
            ndcg[some] += found / np.log2(ranks + 2)
            hits[some] += found
            counts[some] += 1
        return Ranked(ndcg / counts, hits / counts)

    def _recent(self, source: int, since: Rows) -> Rows:
        known = self._train.of(source - self._sources.start)
        return np.concatenate([known, since]) + self._targets.start


def _best_of(ranked: Sequence[Ranked]) -> int:
    return int(np.argmax([one.ndcg.mean() for one in ranked]))


def _time(every: Sequences, source: int, withheld: Rows) -> float:
    """When a source came to the first of some targets."""
    mine = slice(every.starts[source], every.starts[source + 1])
    return float(every.times[mine][every.targets[mine] == withheld[0]][0])
