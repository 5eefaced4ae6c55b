"""What a training costs, from its workload: seconds of each of its phases, and the memory at its highest point.

A phase is a sum of a few kinds of work, counted from the workload, each with a rate that `benchmarks/estimate.py` fits
to trainings of generated and public data sets. The machine's own speed comes in by `lucid.training.estimate`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lucid.training.workload import PairLoad, Workload
from lucid.typing import TEXT

SEARCH_RANK, MAX_RANK, MAX_VALUES, MAX_WORK, ROUNDS = 256, 1024, 250_000_000, 3e12, 4
MAX_TRIES, MAX_SEARCH_WORK, DAMPINGS, GROWTH = 40, 1e12, 3, 4
MIN_RELATION_SHARE = 0.02
MAX_VALIDATION, MAX_TEST, FILTER_SOURCES, SEARCH_SOURCES, MIN_SOURCES = 2000, 500, 500, 250, 20
MAX_SCORES, MAX_LEARNED_SCORES, AFFORDABLE_WALKS = 12_500_000, 30_000_000, 3e7
MIN_INDIRECT, MAX_INDIRECT, MIN_INDIRECT_TARGETS = 40, 400, 20
STRENGTH_USES = 4
"""As the steps have them, which load torch; a test holds them to those."""
FEW_GROUPS = 3
"""With fewer groups of relations one decomposition mostly does; seen on the public data sets."""

Work = dict[str, float]
"""How much there is of each kind of work, by its name in `RATES`."""


def _sum(*works: Mapping[str, float]) -> Work:
    total: Work = {}
    for work in works:
        for kind, amount in work.items():
            total[kind] = total.get(kind, 0.0) + amount
    return total


def _times(factor: float, work: Mapping[str, float]) -> Work:
    return {kind: factor * amount for kind, amount in work.items()}


@dataclass(frozen=True)
class Shape:
    """What a workload makes of the graph and of what is judged."""

    workload: Workload

    @cached_property
    def sides(self) -> tuple[int, int] | None:
        """Entities on either side, the smaller one first, where types only link across; else None."""
        side: dict[str, int] = {}
        linked: dict[str, set[str]] = {}
        for edge in self.workload.edges:
            if not edge.relation.startswith(TEXT):
                linked.setdefault(edge.source_type, set()).add(edge.target_type)
                linked.setdefault(edge.target_type, set()).add(edge.source_type)
        for first in linked:
            waiting = [] if first in side else [first]
            side.setdefault(first, 0)
            while waiting:
                kind = waiting.pop()
                for other in linked[kind]:
                    if side.get(other) == side[kind]:
                        return None
                    if other not in side:
                        side[other] = 1 - side[kind]
                        waiting.append(other)
        sizes = sorted(
            sum(self.workload.connected.get(kind, 0) for kind in side if side[kind] == one) for one in (0, 1)
        )
        return sizes[0], sizes[1]

    @cached_property
    def connected(self) -> int:
        return sum(self.workload.connected.values())

    @cached_property
    def edges(self) -> int:
        """Those that weigh anything from the start."""
        return sum(edge.count for edge in self.workload.edges if not edge.relation.startswith(TEXT))

    @cached_property
    def rank(self) -> int:
        """Eigenpairs at most; as `lucid.model.decomposition.max_rank` has it."""
        size, most = self.connected, 2 * MAX_RANK
        if self.sides is not None:
            size, most = self.sides[0], MAX_RANK
        affordable = int((MAX_WORK / (4 * (ROUNDS + 1) * max(size, 1))) ** 0.5)
        return min(size, most, max(64, min(affordable, MAX_VALUES // max(self.workload.size, 1))))

    @cached_property
    def relations(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for edge in self.workload.edges:
            found[edge.relation] = found.get(edge.relation, 0) + edge.count
        return found

    @cached_property
    def groups(self) -> int:
        """Relations that the search weighs together count as one."""
        plain = [count for name, count in self.relations.items() if not name.startswith(TEXT)]
        large = sum(count >= MIN_RELATION_SHARE * sum(plain) for count in plain)
        return large + (large < len(plain)) + (len(plain) < len(self.relations))

    @cached_property
    def decompositions(self) -> int:
        """Settings that the search ends with; with other weights some pairs are taken to be better off."""
        return 1 if self.groups < FEW_GROUPS else 2

    @cached_property
    def choices(self) -> int:
        """Other values that the search may try for one setting after the other."""
        ages = self.workload.are_repeated + 2 * self.workload.are_timed
        return DAMPINGS - 1 + ages + 2 * self.groups * (self.groups > 1)

    @cached_property
    def tries(self) -> int:
        """Settings of the search: all choices once, and where there are several relations once more beside others."""
        work = 20 * self.workload.size * SEARCH_RANK**2 + 40 * self.workload.edge_count * SEARCH_RANK
        most = min(MAX_TRIES, max(DAMPINGS, int(MAX_SEARCH_WORK / max(work, 1))))
        once = 1 + self.choices
        return min(most // 2, once) if len(self.relations) == 1 else min(most // 2 + 4, 2 * once, most)

    # What is judged

    def targets(self, pair: PairLoad) -> int:
        return self.workload.entities.get(pair.target_type, 0)

    def validation(self, pair: PairLoad) -> int:
        return min(MAX_VALIDATION, (pair.held_out + 1) // 2)

    def test(self, pair: PairLoad) -> int:
        return min(MAX_TEST, pair.held_out - self.validation(pair))

    @cached_property
    def largest_table(self) -> int:
        """Scores that are looked at together of one pair at most."""
        judged = [
            (self.validation(pair) if self.blends(pair) else min(FILTER_SOURCES, self.validation(pair)), pair)
            for pair in self.workload.pairs
        ]
        return min(MAX_SCORES, max((sources * self.targets(pair) for sources, pair in judged), default=0))

    def blends(self, pair: PairLoad) -> bool:
        """Whether item-kNN is tried."""
        return 0 < pair.walks <= AFFORDABLE_WALKS

    @cached_property
    def indirect(self) -> list[tuple[str, str]]:
        """Pairs that no interaction links but two steps do, one of them an interaction."""
        steps, direct = set(), set()
        for pair in self.workload.pairs:
            direct.add((pair.source_type, pair.target_type))
        for edge in self.workload.edges:
            if not edge.relation.startswith(TEXT):
                steps |= {(edge.source_type, edge.target_type), (edge.target_type, edge.source_type)}
        entities = self.workload.entities
        return [
            (source, target)
            for source in entities
            for target in entities
            if source != target
            and (source, target) not in direct
            and entities[target] >= MIN_INDIRECT_TARGETS
            and entities[source] >= MIN_INDIRECT
            and any(
                {(source, middle), (middle, target)} <= steps and {(source, middle), (middle, target)} & direct
                for middle in entities
            )
        ]


def decomposition(shape: Shape, rank: int, rounds: int) -> Work:
    """Subspace iteration, see `lucid.model.decomposition`: products with the matrix, Gram matrices, turns."""
    small, large = shape.sides or (shape.connected, 0)
    ways = 1 if shape.sides else 2
    if rank + 16 >= small:
        return {
            "eigen": 3 * small**3 / 1e9,
            "dense": 2 * shape.connected * small * rank / 1e9,
            "edges": shape.edges / 1e6,
        }
    return {
        "sparse": (2 * rounds + 1) * ways * shape.edges * rank / 1e9,
        "dense": 2 * rank**2 * (rounds * 1.5 * small + max(large, small) + shape.connected) / 1e9,
        "eigen": 3 * rank**3 / 1e9,
        "edges": shape.edges / 1e6,
    }


def judging(sources: float, targets: int, rank: int, products: float, tables: float) -> Work:
    """Score some sources by matrix products, and rank tables of scores."""
    scores = sources * targets
    return {"dense": 2 * products * scores * rank / 1e9, "scores": tables * scores / 1e6, "pairs": 1.0}


def _search(shape: Shape) -> Work:
    rank = min(SEARCH_RANK, shape.rank)
    one = decomposition(shape, rank, 2)
    signs = 1 if shape.sides else 2
    for pair in shape.workload.pairs:
        sources = min(SEARCH_SOURCES, shape.validation(pair))
        one = _sum(one, judging(0.7 * sources, shape.targets(pair), rank, 2, 4 * signs))
    tries = shape.tries + STRENGTH_USES * shape.workload.have_strengths
    return _sum(decomposition(shape, rank, ROUNDS), _times(tries, one))


def _growing(shape: Shape) -> Work:
    """More eigenpairs as long as there are any: taken to pay always."""
    rank, work = min(SEARCH_RANK, shape.rank), decomposition(shape, min(SEARCH_RANK, shape.rank), 2)
    while rank < shape.rank:
        signs = 1 if shape.sides else 2
        for pair in shape.workload.pairs:
            sources = min(SEARCH_SOURCES, shape.validation(pair))
            work = _sum(work, judging(sources, shape.targets(pair), rank, 3, 8 * signs))
        rank = min(GROWTH * rank, shape.rank)
        work = _sum(work, decomposition(shape, rank, 2))
    return _times(shape.decompositions, work)


def _filters(shape: Shape) -> Work:
    work: Work = {}
    judged = [(min(FILTER_SOURCES, shape.validation(pair)), shape.targets(pair)) for pair in shape.workload.pairs]
    judged += [(MAX_INDIRECT // 2, shape.workload.entities[target]) for _, target in shape.indirect]
    for sources, targets in judged:
        if sources >= MIN_SOURCES:
            learned = min(sources / 2, MAX_LEARNED_SCORES / 8 / max(targets, 1))
            work = _sum(
                work,
                judging(sources, targets, shape.rank, 9, 20),
                {"learning": 8 * learned * targets / 1e6, "dense": 2 * learned * targets * shape.rank / 1e9},
            )
    return _times(shape.decompositions, work)


def _calibration(shape: Shape) -> Work:
    work: Work = {}
    for pair in shape.workload.pairs:
        sources, targets = shape.validation(pair), shape.targets(pair)
        blends = shape.blends(pair)
        work = _sum(work, judging(sources * blends + min(sources, 500), targets, shape.rank, 1, 1))
        if blends:
            work = _sum(work, {"blending": 5 * sources * targets / 1e6}, _walking(shape, pair, sources + 200))
    for _, target in shape.indirect:
        work = _sum(work, judging(MAX_INDIRECT // 2, shape.workload.entities[target], shape.rank, 1, 1))
    return work


def _walking(shape: Shape, pair: PairLoad, sources: float) -> Work:
    """Item-kNN of some sources: walks of three steps, and a table of all targets."""
    every = max(shape.workload.entities.get(pair.source_type, 1), 1)
    walks = sources / every * pair.walks * pair.interactions / every
    return {"walks": walks / 1e6, "blending": sources * shape.targets(pair) / 1e6}


def _refit(shape: Shape) -> Work:
    every = _times(shape.decompositions, decomposition(shape, shape.rank, 1))
    return _sum(every, {"edges": 3 * shape.workload.edge_count / 1e6})


def _evaluation(shape: Shape) -> Work:
    work: Work = {"edges": 4 * shape.workload.edge_count / 1e6}
    for pair in shape.workload.pairs:
        sources = shape.test(pair)
        work = _sum(work, judging(sources, shape.targets(pair), shape.rank, 1, 4), _walking(shape, pair, sources))
    for _, target in shape.indirect:
        work = _sum(work, judging(MAX_INDIRECT // 2, shape.workload.entities[target], shape.rank, 1, 4))
    return work


def _precomputation(shape: Shape) -> Work:
    work: Work = {}
    entities = shape.workload.entities
    for pair in shape.workload.precomputed:
        sources, targets = entities.get(pair.source_type, 0), entities.get(pair.target_type, 0)
        made = sources * min(pair.max_recommendations, targets)
        work = _sum(work, judging(sources, targets, shape.rank, 1, 1), {"recommendations": made / 1e6})
    return work


def phases(workload: Workload) -> dict[str, Work]:
    """How much work of each kind every phase of a training has."""
    shape, rows = Shape(workload), workload.edge_count / 1e6
    return {
        "select": {"rows": rows, "values": workload.values / 1e6},
        "build": {"rows": rows, "edges": rows},
        "search": _search(shape),
        "grow": _growing(shape),
        "filters": _filters(shape),
        "calibrate": _calibration(shape),
        "refit": _refit(shape),
        "evaluate": _evaluation(shape),
        "precompute": _precomputation(shape),
    }


RATES = {
    "dense": 0.00309,
    "sparse": 0.0307,
    "eigen": 0.118,
    "scores": 0.0212,
    "learning": 0.0234,
    "blending": 0.0105,
    "walks": 0.000235,
    "pairs": 0.00347,
    "edges": 0.141,
    "rows": 1.99,
    "values": 12.2,
    "recommendations": 3.74,
}
"""Processor seconds: of a billion operations for `dense`, `sparse` and `eigen`, of one pair for `pairs`, else of a
million."""
STARTS = {
    "select": 0.391,
    "build": 1.41,
    "search": 0.177,
    "grow": 0.0882,
    "filters": 0,
    "calibrate": 0.115,
    "refit": 0.0904,
    "evaluate": 0.13,
    "precompute": 0,
}
"""Processor seconds that a phase takes whatever there is to do; to build loads torch."""
PARALLEL = {
    "select": 0.5,
    "build": 0.0,
    "search": 0.65,
    "grow": 0.65,
    "filters": 0.8,
    "calibrate": 0.8,
    "refit": 0.8,
    "evaluate": 0.85,
    "precompute": 0.8,
}
"""The share of each phase that several processors divide among them; set by hand, by what ten data sets took on two."""
MAX_PROCESSORS = 8
"""As `lucid.side_by_side` has it; what more of them bring is not counted on."""

PROGRAM, EDGE, VECTORS, RANK_SQUARED, TABLES = 599e6, 9.44, 4.7, 54.6, 2.3
"""Bytes of the program with all that it loads; bytes of an edge; how often the vectors of all entities are held at a
time; bytes for each entry of a square matrix of the rank; tables of scores that each processor holds."""
_SCORE = 8
"""Bytes."""


def seconds(workload: Workload, processors: int) -> dict[str, float]:
    """Seconds of every phase on so many processors."""
    used = min(processors, MAX_PROCESSORS)
    return {
        phase: (STARTS[phase] + sum(RATES[kind] * amount for kind, amount in work.items()))
        * (1 - PARALLEL[phase] + PARALLEL[phase] / used)
        for phase, work in phases(workload).items()
    }


def memory(workload: Workload, processors: int) -> dict[str, float]:
    """Bytes at the highest point, by what they are for."""
    shape = Shape(workload)
    tables = TABLES * min(processors, MAX_PROCESSORS) * _SCORE * shape.largest_table
    return {
        "program": PROGRAM,
        "edges": EDGE * workload.edge_count,
        "vectors of entities": VECTORS * 4 * workload.size * shape.rank,
        "decomposition": RANK_SQUARED * shape.rank**2,
        "tables of scores": tables,
    }
