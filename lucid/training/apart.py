"""The parts of a choice of settings that are done apart: relation weights are tried, pairs are calibrated.

A process that did not begin the choice opens what it needs from the folder for work, where it was left for that.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lucid.evaluation.splitting import hold_out
from lucid.graph.relation_weights import RelationWeights
from lucid.model.decomposition import Solver
from lucid.model.embedding import Embedding
from lucid.model.pair_model import Pair
from lucid.model.spectral_filter import SpectralFilter
from lucid.store.files import make_folder
from lucid.training.filter_choice import Assigned, FilterJudge, untold
from lucid.training.fitting import Calibrated, Calibrating, Here
from lucid.training.learned_graph import read_learned_graph
from lucid.training.parts import Opened
from lucid.training.run import Spread, Training
from lucid.training.tuning import Tried, Try, WeightSearch
from lucid.versions.files import read_embeddings, write_embeddings
from lucid.versions.precompute import SCORES_OF_A_SOURCE

TRY, CALIBRATE = "try_weights", "calibrate_pairs"
_OPERATIONS_OF_A_SCORE = 100
"""A try is worth a task of its own where it takes so many operations for each score of a partition: about a second."""
_LOOKS = 6
"""How often the scores of a pair are found until it is calibrated, as shares of item-kNN are tried."""
_FIRST, _CALIBRATING, _ASSIGNED = "search", "calibrating", "assigned.json"


@dataclass(frozen=True)
class PairGroup:
    """Pairs that are calibrated in one go, by their numbers."""

    first: int
    stop: int
    name: str


class Apart:
    """Has the parts of a training's choice done apart where that is worth it; else this process does them."""

    def __init__(self, training: Training, spread: Spread) -> None:
        self._training, self._spread = training, spread
        self._is_first_written = False

    def judge_each(self, search: WeightSearch, tries: Sequence[Try]) -> Iterable[Tried]:
        least = _OPERATIONS_OF_A_SCORE * self._training.settings.partition_scores
        if len(tries) < 2 or search.first is None or search.work < least:
            return Here().judge_each(search, tries)
        if not self._spread.in_this_process and not self._is_first_written:
            _write_embeddings(self._training.work / _FIRST, [search.first])
            self._is_first_written = True
        return self._judged_apart(search, tries)

    def _judged_apart(self, search: WeightSearch, tries: Sequence[Try]) -> Iterator[Tried]:
        with _SEARCH.keeping(self._training, search):
            yield from self._spread.do(self._training, TRY, tries)

    def calibrate_each(self, calibrating: Calibrating) -> Iterable[Calibrated]:
        groups = _grouped(calibrating, self._training.settings.partition_scores)
        if len(groups) < self._spread.least:
            return Here().calibrate_each(calibrating)
        if not self._spread.in_this_process:
            _write_calibrating(self._training.work / _CALIBRATING, calibrating)
        return self._calibrated_apart(calibrating, groups)

    def _calibrated_apart(self, calibrating: Calibrating, groups: Sequence[PairGroup]) -> Iterator[Calibrated]:
        with _PAIRS.keeping(self._training, calibrating):
            for group in self._spread.do(self._training, CALIBRATE, groups):
                yield from group


def try_weights(training: Training, part: Try) -> Tried:
    """Judge relation weights, in whatever process."""
    return _SEARCH.of(training).judged(part)


def calibrate_pairs(training: Training, part: PairGroup) -> list[Calibrated]:
    """Calibrate some pairs, in whatever process."""
    calibrating = _PAIRS.of(training)
    return [calibrating.calibrate(number) for number in range(part.first, part.stop)]


def _grouped(calibrating: Calibrating, scores: int) -> list[PairGroup]:
    """Pairs one after the other, small ones together, so that each group takes about so many scores."""
    groups: list[PairGroup] = []
    first, left = 0, scores
    judged = calibrating.judged
    for number, held in enumerate(judged):
        targets = len(calibrating.judge.entity_types.rows(held.target_type))
        left -= _LOOKS * len(held.sources) * (targets + SCORES_OF_A_SOURCE)
        if left <= 0 or number == len(judged) - 1:
            more = f" and {number - first:,} more" if number > first else ""
            name = f"{judged[first].source_type} → {judged[first].target_type}{more}"
            groups.append(PairGroup(first, number + 1, name))
            first, left = number + 1, scores
    return groups


def _open_search(training: Training) -> WeightSearch:
    """The search of a training as another process has it, begun from the same eigenvectors."""
    graph, seed = read_learned_graph(training.work), training.settings.seed
    holdout = hold_out(graph, seed)
    solver, judge = Solver.of(seed, training.settings.device), FilterJudge(holdout, {})
    search = WeightSearch(graph, holdout.train, judge, solver, untold)
    if (training.work / _FIRST).exists():
        (search.first,) = _read_embeddings(training.work / _FIRST)
    return search


def _write_calibrating(folder: Path, calibrating: Calibrating) -> None:
    _write_embeddings(folder, calibrating.embeddings)
    raw = {
        "default": asdict(calibrating.default),
        "assigned": _assigned_to_json(calibrating.assigned),
        "cold": _assigned_to_json(calibrating.cold),
    }
    (folder / _ASSIGNED).write_text(json.dumps(raw))


def _read_calibrating(training: Training) -> Calibrating:
    folder = training.work / _CALIBRATING
    raw = json.loads((folder / _ASSIGNED).read_text())
    return Calibrating(
        _SEARCH.of(training).judge,
        _read_embeddings(folder),
        _assigned_from_json(raw["assigned"]),
        _assigned_from_json(raw["cold"]),
        SpectralFilter.from_json(raw["default"]),
    )


def _assigned_to_json(assigned: Mapping[Pair, Assigned]) -> list[Any]:
    return [[*pair, one.decomposition, asdict(one.filter)] for pair, one in assigned.items()]


def _assigned_from_json(raw: Sequence[Any]) -> dict[Pair, Assigned]:
    return {
        (source, target): Assigned(decomposition, SpectralFilter.from_json(spectral))
        for source, target, decomposition, spectral in raw
    }


def _write_embeddings(folder: Path, embeddings: Sequence[Embedding]) -> None:
    make_folder(folder)
    (folder / "dampings.json").write_text(json.dumps([one.damping for one in embeddings]))
    write_embeddings(folder, embeddings)


def _read_embeddings(folder: Path) -> tuple[Embedding, ...]:
    dampings = json.loads((folder / "dampings.json").read_text())
    return read_embeddings(folder, [RelationWeights({}, damping) for damping in dampings], [])


_SEARCH = Opened(_open_search)
_PAIRS = Opened(_read_calibrating)
