"""The training report: what was used, what was chosen and how good it is."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lucid.data.drift import Drift
from lucid.data.metadata import KeyRule
from lucid.data.selection import Step
from lucid.data.strengths import StrengthRule
from lucid.evaluation.figures import quality_of
from lucid.evaluation.pair_quality import Bootstrap, PairQuality
from lucid.evaluation.recorded import Recorded
from lucid.model.pair_model import Pair
from lucid.side_by_side import side_by_side
from lucid.store.documents import read_json
from lucid.training.chosen import ChosenSettings
from lucid.versions.config import filter_from_format_1
from lucid.versions.files import FORMAT, REMEDY, REPORT

if TYPE_CHECKING:  # the report is also read where torch is not wanted
    from lucid.graph.typed_graph import TypedGraph


@dataclass(frozen=True)
class EdgeCount:
    """How many edges the graph has of one edge type."""

    source_type: str
    relation: str
    target_type: str
    count: int


@dataclass(frozen=True)
class GraphCounts:
    """What the graph holds; `pairs` are those that interactions link directly."""

    entities: int
    entity_types: Sequence[str]
    edges: Sequence[EdgeCount]
    pairs: Sequence[Pair]


def count_graph(graph: "TypedGraph") -> GraphCounts:
    edges = [
        EdgeCount(source, relation, target, index.shape[1])
        for (source, relation, target), index in graph.data.edge_index_dict.items()
    ]
    return GraphCounts(graph.entity_types.size, list(graph.entity_types.types), edges, graph.pairs)


@dataclass(frozen=True)
class TrainingReport:
    """What a training used, chose and reached; `pairs` hold figures of test sources that nothing was chosen on."""

    model_id: str
    version: int
    steps: Sequence[Step]
    keys: Sequence[KeyRule]
    drift: Sequence[Drift]
    """What is odd about the batches; empty in reports of earlier releases, which did not look."""
    graph: GraphCounts
    chosen: ChosenSettings
    pairs: Sequence[PairQuality]
    bootstrap: Bootstrap | None
    """What intervals of `pairs` were drawn with; None in reports of earlier releases, which have none."""
    strengths: Sequence[StrengthRule] = ()
    """What the interactions of each type say of liking and dislike; earlier releases did not look."""

    def examples(self) -> Iterator[str]:
        """Values of customers that the report shows."""
        for step in self.steps:
            yield from step.examples
        for key in self.keys:
            yield from key.shown_values()
        for drift in self.drift:
            yield from drift.examples

    def without_examples(self, names_one: Callable[[str], bool]) -> "TrainingReport":
        """A report that shows no value which names an erased entity."""

        def unnamed(values: list[str]) -> list[str]:
            return [value for value in values if not names_one(value)]

        steps = [replace(step, examples=unnamed(step.examples)) for step in self.steps]
        keys = [
            replace(
                key,
                examples=unnamed(key.examples),
                misfits=unnamed(key.misfits),
                merges=[merge for merge in key.merges if unnamed(merge) == merge],
            )
            for key in self.keys
        ]
        drift = [replace(found, examples=unnamed(found.examples)) for found in self.drift]
        return replace(self, steps=steps, keys=keys, drift=drift)

    def judged_by(self, recorded: Recorded) -> "TrainingReport":
        """A report with the figures of what is left of what they are computed from; the same if nothing was kept."""
        return replace(self, pairs=judge(recorded, self.bootstrap)) if self.bootstrap else self

    def to_json(self) -> dict[str, Any]:
        """As it is stored and shown over HTTP."""
        return {"format": FORMAT, **asdict(self)}

    def figures_to_json(self) -> dict[str, Any]:
        """The part that can be computed again from what was held out."""
        shown = self.to_json()
        return {name: shown[name] for name in ("model_id", "version", "bootstrap", "pairs")}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "TrainingReport":
        """Read a report of any format; raises KeyError, TypeError or ValueError for what is none."""
        if raw.get("format", 1) == 1:
            raw = _from_format_1(raw)
        graph = raw["graph"]
        return cls(
            raw["model_id"],
            raw["version"],
            [Step(**step) for step in raw["steps"]],
            [KeyRule(**key) for key in raw["keys"]],
            [Drift(**found) for found in raw.get("drift", ())],
            GraphCounts(
                graph["entities"],
                graph["entity_types"],
                [EdgeCount(**edge) for edge in graph["edges"]],
                [(source, target) for source, target in graph["pairs"]],
            ),
            ChosenSettings.from_json(raw["chosen"]),
            [PairQuality.from_json(pair) for pair in raw["pairs"]],
            Bootstrap(**raw["bootstrap"]) if raw.get("bootstrap") else None,
            [StrengthRule.from_json(rule) for rule in raw.get("strengths", ())],
        )


def judge(recorded: Recorded, drawn: Bootstrap) -> list[PairQuality]:
    """The figures of all pairs."""
    return list(side_by_side(lambda pair: quality_of(pair, recorded.described, drawn), recorded.pairs))


def write_report(folder: Path, report: TrainingReport) -> None:
    (folder / REPORT).write_text(json.dumps(report.to_json()))


def read_report(folder: Path) -> TrainingReport:
    """Read a version's report; raises Damaged."""
    return read_json(folder / REPORT, TrainingReport.from_json, REMEDY)


def _from_format_1(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A report as release 0.1 wrote it, with the words of today."""
    choice = raw["choice"]
    return {
        **raw,
        "keys": [_renamed(key, kind="use") for key in raw["keys"]],
        "chosen": {
            "weightings": choice["weights"],
            "default_filter": filter_from_format_1(choice["response"]),
            "tried": [_tried_from_format_1(tried) for tried in choice["tried"]],
            "learned_filters": choice["filters"],
        },
        "pairs": [_renamed(pair, co_occurrence="item_knn") for pair in raw["pairs"]],
    }


def _tried_from_format_1(raw: Mapping[str, Any]) -> dict[str, Any]:
    weights = {name: value for name, value in raw.items() if name != "mean_log_ndcg"}
    return {"weights": weights, "mean_log_ndcg": raw["mean_log_ndcg"]}


def _renamed(raw: Mapping[str, Any], **names: str) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in raw.items()}
