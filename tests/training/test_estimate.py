"""What a training will select, take and need is told before it begins, and nothing is left of the question."""

import json
from pathlib import Path

import numpy as np
import pytest

from lucid.data.selection import select
from lucid.errors import InvalidRequest, TrainingFailed
from lucid.evaluation.holdout import MAX_SCORES, HoldoutConfig
from lucid.evaluation.splitting import hold_out
from lucid.graph.relation_weights import STRENGTH_USES, RelationWeights
from lucid.graph.typed_graph import TypedGraph, build
from lucid.model import decomposition
from lucid.model.item_knn import AFFORDABLE
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS
from lucid.schema.fields import utc_now
from lucid.schema.training import PrecomputePair
from lucid.side_by_side import cores
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.training import cost, tuning, workload
from lucid.training.cost import Shape
from lucid.training.estimate import Cost, estimate, note_peak, read_cost, write_cost
from lucid.training.filter_choice import FilterConfig
from lucid.training.learned_filter import LearnedFilterConfig
from lucid.training.remaining import read_timings
from lucid.training.report import count_graph
from lucid.training.workload import Workload, count_workload
from lucid.versions.files import COST
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard, write_checkerboard

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
MADE = {"precompute": [{"source_type": "item", "target_type": "user", "max_recommendations": 7}]}


@pytest.fixture
def samples(workspace: Workspace) -> Workspace:
    """Users, videos, and what metadata makes of these; interactions have times."""
    workspace.import_files([SAMPLES / "entities.csv", SAMPLES / "interactions.csv"])
    return workspace


def counted(workspace: Workspace, folder: Path) -> tuple[Workload, TypedGraph]:
    """What is counted of all data of a workspace, and the graph that it makes."""
    home = workspace.settings.home
    selection = select(home, Catalog(home).batches.select(None), folder, started=utc_now())
    return count_workload(folder), build(selection)


def test_what_costs_are_reckoned_with_is_what_the_steps_do() -> None:
    """The estimate loads no torch, and so has their numbers once more."""
    config, search, filters, holdout = decomposition.CONFIG, tuning.CONFIG, FilterConfig(), HoldoutConfig()

    assert (cost.MAX_RANK, cost.MAX_VALUES) == (config.max_rank, config.max_values)
    assert (cost.MAX_WORK, cost.ROUNDS) == (config.max_work, config.rounds)
    assert (cost.SEARCH_RANK, cost.MAX_TRIES, cost.MAX_SEARCH_WORK) == (search.rank, search.max_tries, search.max_work)
    assert (cost.DAMPINGS, cost.GROWTH) == (len(search.dampings), search.growth)
    assert cost.MIN_RELATION_SHARE == search.min_relation_share
    assert len(STRENGTH_USES) == cost.STRENGTH_USES
    assert (cost.MAX_VALIDATION, cost.MAX_TEST) == (holdout.max_validation_sources, holdout.max_test_sources)
    assert (cost.MIN_INDIRECT, cost.MAX_INDIRECT) == (holdout.min_indirect, holdout.max_indirect)
    assert cost.MIN_INDIRECT_TARGETS == holdout.min_indirect_targets
    assert (cost.FILTER_SOURCES, cost.SEARCH_SOURCES) == (filters.filter_sources, filters.search_sources)
    assert cost.MIN_SOURCES == filters.min_sources
    assert (cost.MAX_SCORES, cost.AFFORDABLE_WALKS) == (MAX_SCORES, AFFORDABLE)
    assert cost.MAX_LEARNED_SCORES == LearnedFilterConfig().max_scores
    assert workload.HELD_OUT_SHARE == holdout.share


def test_a_workload_is_that_of_the_graph(samples: Workspace, tmp_path: Path) -> None:
    """Types, edges, pairs, sides and rank, which a training only knows once it has built it."""
    counts, graph = counted(samples, tmp_path / "selected")
    weights = RelationWeights({edge_type[1]: 1.0 for edge_type in graph.edge_types}, 3.0)
    shape, told = Shape(counts), count_graph(graph)

    assert {name: len(graph.entity_types.rows(name)) for name in graph.entity_types.types} == counts.entities
    assert sorted(told.edges, key=str) == sorted(counts.edges, key=str)
    assert told.pairs == [(pair.source_type, pair.target_type) for pair in counts.pairs if pair.is_forward]
    assert told.pairs == [(pair.source_type, pair.target_type) for pair in counts.precomputed]
    assert (graph.time_range is not None) == counts.are_timed
    assert decomposition.max_rank(graph, weights) == shape.rank
    assert (decomposition._sides(graph, weights) is None) == (shape.sides is None)


def test_what_will_be_held_out_is_foreseen(workspace: Workspace, tmp_path: Path) -> None:
    """About as many sources as there are in the end, in both directions of a pair."""
    rng, users, items = np.random.default_rng(0), range(300), range(100)
    rows = [f"likes,u{user},i{item},," for user in users for item in rng.choice(items, rng.integers(2, 20), False)]
    entities = [f"u{user},user,,," for user in users] + [f"i{item},item,,," for item in items]
    for name, header, lines in (("e", ENTITY_COLUMNS, entities), ("i", INTERACTION_COLUMNS, rows)):
        (tmp_path / f"{name}.csv").write_text("\n".join([",".join(header), *lines]))
    workspace.import_files([tmp_path / "e.csv", tmp_path / "i.csv"])
    counts, graph = counted(workspace, tmp_path / "selected")
    halves = hold_out(graph, 0).warm
    found = {
        held.pair: len(held.sources) + len(test.sources)
        for held, test in zip(halves.validation, halves.test, strict=True)
    }

    foreseen = {(pair.source_type, pair.target_type): pair.held_out for pair in counts.pairs}

    assert found.keys() == foreseen.keys()
    for pair, sources in found.items():
        assert sources == pytest.approx(foreseen[pair], rel=0.1), pair


def test_a_workload_is_read_back_as_it_was_written(samples: Workspace, tmp_path: Path) -> None:
    """What a later estimate starts from."""
    counts, _ = counted(samples, tmp_path / "selected")
    write_cost(tmp_path, Cost(counts))
    note_peak(tmp_path, 7)
    note_peak(tmp_path, 5)

    assert Cost(counts, 7) == read_cost(tmp_path)


@pytest.mark.parametrize("damaged", ["", "{}", "[]", '{"workload": {"edges": 1}, "peak_bytes": 1}'])
def test_a_cost_that_cannot_be_read_counts_as_none(tmp_path: Path, damaged: str) -> None:
    (tmp_path / COST).write_text(damaged)

    assert read_cost(tmp_path) is None


def test_more_to_do_takes_longer_and_needs_more(samples: Workspace, tmp_path: Path) -> None:
    """Ten times as many entities and edges, all else the same."""
    counts, _ = counted(samples, tmp_path / "selected")
    raw = counts.to_json()
    larger = Workload.from_json(
        {
            **raw,
            "entities": {name: 1000 * count for name, count in counts.entities.items()},
            "connected": {name: 1000 * count for name, count in counts.connected.items()},
            "edges": [{**edge, "count": 1000 * edge["count"]} for edge in raw["edges"]],
            "pairs": [{**pair, "held_out": 1000 * pair["held_out"]} for pair in raw["pairs"]],
        }
    )
    home = samples.settings.home
    small, large = (estimate(home, None, one) for one in (counts, larger))

    assert all(taken >= small.seconds_by_stage[stage] for stage, taken in large.seconds_by_stage.items())
    assert large.seconds > 2 * small.seconds
    assert large.memory_bytes > small.memory_bytes


def test_a_model_takes_what_it_took_last(workspace: Workspace, tmp_path: Path) -> None:
    """Time and memory of the same training once more are those of its last one; other models go by it too."""
    train_checkerboard(workspace, tmp_path)
    folder = ModelVersions(workspace.settings.home, "board").live().folder
    noted, timings = read_cost(folder), read_timings(folder)
    assert noted
    assert noted.peak_bytes > 100_000_000  # torch alone is more
    assert noted.workload
    # A busy machine, and the process of these tests, may take more than estimates follow.
    usual, size = (sum(of(noted.workload, cores()).values()) for of in (cost.seconds, cost.memory))
    took, held = min(sum(timings.values()), 10 * usual), min(noted.peak_bytes, 2 * size)
    again, other = (estimate(workspace.settings.home, name, noted.workload) for name in ("board", "another"))

    assert (again.based_on, other.based_on) == ("the last training of this model", "the last trainings of other models")
    for found in (again, other):
        assert took == pytest.approx(found.seconds, rel=0.01)
        assert held == pytest.approx(found.memory_bytes, rel=0.01)


def test_a_dry_run_tells_what_the_training_then_does(workspace: Workspace, tmp_path: Path) -> None:
    """Steps, types, relations and pairs are those of the report; nothing is there that was not there before."""
    workspace.import_files(write_checkerboard(tmp_path))
    home = workspace.settings.home
    before = sorted(home.rglob("*"))

    told = workspace.estimate("board", **MADE)

    assert before == sorted(home.rglob("*"))
    assert [] == Catalog(home).trainings.models()
    assert told.fits
    assert 0 < told.seconds == pytest.approx(sum(told.seconds_by_stage.values()))
    assert told.memory_bytes == sum(told.memory_by_part.values())
    workspace.train("board", **MADE)  # type: ignore[arg-type]
    report = workspace.report("board")
    assert report["steps"] == [step.model_dump() for step in told.steps]
    assert report["graph"]["edges"] == [relation.model_dump() for relation in told.relations]
    assert report["graph"]["entity_types"] == list(told.entity_types)
    assert report["graph"]["pairs"] == [(pair.source_type, pair.target_type) for pair in told.pairs]
    asked = PrecomputePair(source_type="item", target_type="user", max_recommendations=7)
    assert [PrecomputePair(source_type="user", target_type="item"), asked] == told.precomputed


def test_a_dry_run_is_refused_as_the_training_would_be(workspace: Workspace, tmp_path: Path) -> None:
    """Before it selects or while it does; nothing is left either."""
    workspace.import_files(write_checkerboard(tmp_path))

    with pytest.raises(InvalidRequest, match="no batch carries the tag"):
        workspace.estimate(data_tags=["none"])
    with pytest.raises(TrainingFailed, match="no interactions are left") as refused:
        workspace.estimate(data_filters=NOTHING_LEFT)

    assert "no_interactions" == refused.value.code
    assert not Home(workspace.settings.home).dry_run.exists()


def test_what_a_killed_dry_run_left_is_gone_with_the_next(workspace: Workspace, tmp_path: Path) -> None:
    workspace.import_files(write_checkerboard(tmp_path))
    left = Home(workspace.settings.home).dry_run
    left.mkdir()
    (left / "entities.parquet").write_text(json.dumps("half of it"))

    assert 30 == workspace.estimate().entity_types["user"]
    assert not left.exists()
