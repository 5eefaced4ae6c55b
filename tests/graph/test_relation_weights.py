"""What an edge weighs: the same at training and when it comes later."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucid.data.selection import Selection, read_selection, select
from lucid.graph.adjacency import Neighbours
from lucid.graph.relation_weights import RelationWeights, robust_range
from lucid.graph.typed_graph import build
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.versions.config import write_config
from lucid.versions.uploads import uploads_since
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTINGS = (
    RelationWeights({"interaction:view": 0.3, "metadata:genre": 0.1}, 3.0),
    RelationWeights({"interaction:like": 0.0}, 1.0, repeats=0.5, half_life=86_400.0 * 7),
)


def test_trained_and_folded_in_weights_of_the_same_edges_are_equal(
    workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv, tmp_path: Path
) -> None:
    """Whether a source had its edges at training or gets them later, each weighs the same to the last bit."""
    times = [(NOW - timedelta(days=days)).isoformat() for days in (0, 1, 7, 30)]
    films = [(f"f{number}", "film", f"Film {number}", f'{{"genre": "g{number % 3}"}}') for number in range(30)]
    users = [(f"u{number:02}", "user") for number in range(20)]
    seen = [("view", "f1", times[1]), ("view", "f1", times[2]), ("like", "f2", times[3]), ("view", "f3", "")]
    rows = [
        ("view", f"u{user:02}", f"f{(user + film) % 30}", times[film % 4]) for user in range(20) for film in range(6)
    ]
    twin = [(name, "u00", film, moment) for name, film, moment in seen]
    workspace.import_files([entities_csv(*users, *films), interactions_csv(*rows[6:], *twin)])
    workspace.train("films")
    trained = Version(workspace.settings.home, "films", 1)
    write_config(trained.folder, replace(trained.config, weightings=WEIGHTINGS))
    adjacency, names = build(select_all(workspace.settings, tmp_path / "again")).adjacency(WEIGHTINGS)
    workspace.import_files(
        [
            entities_csv(("new", "user"), name="new.csv"),
            interactions_csv(*((name, "new", film, moment) for name, film, moment in seen), name="later.csv"),
        ]
    )

    version = Version(workspace.settings.home, "films", 1)
    uploads = uploads_since(version, TrainingRequest(model_id="films"), now=NOW)

    row = version.index.row("u00")
    assert row is not None
    assert version.origin.relations == names
    assert described(adjacency.of(row), names) == described(uploads.by_id["new"], uploads.relations)


def select_all(settings: Settings, folder: Path) -> Selection:
    batches = Catalog(settings.home).batches.select(None)
    select(settings.home, batches, folder, started=NOW)
    return read_selection(folder)


def described(edges: Neighbours, names: Sequence[str]) -> list[tuple[int, str, list[float]]]:
    relations = [names[number] for number in edges.relations]
    return sorted(zip(edges.rows.tolist(), relations, edges.weights.T.tolist(), strict=True))


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
    st.floats(0, 2, allow_nan=False),
    st.one_of(st.none(), st.floats(1, 1e8)),
    st.floats(-1e9, 1e9),
)
def test_all_edges_of_a_relation_weigh_what_each_weighs_by_its_name(
    repeats: list[int], exponent: float, half_life: float | None, newest: float
) -> None:
    """Whether the relation is named once for all edges or for each of them changes nothing."""
    weights = RelationWeights({"interaction:a": 0.3}, 1.0, exponent, half_life)
    counts = np.array(repeats, np.int64)
    times = newest - 1e6 * np.arange(len(repeats), dtype=np.float64)

    at_once = weights.edge_weights("interaction:a", counts, times, newest)
    apart = weights.edge_weights(np.array(["interaction:a"] * len(repeats)), counts, times, newest)

    assert at_once.tolist() == apart.tolist()


def test_an_edge_without_a_time_does_not_age_and_one_from_later_has_no_age() -> None:
    """Half-lives only count for edges that have a time before the newest."""
    weights = RelationWeights({}, 1.0, half_life=10.0)

    found = weights.edge_weights("a", np.ones(4, np.int64), np.array([np.nan, 110.0, 100.0, 90.0]), 100.0)

    assert [1.0, 1.0, 1.0, 0.5] == pytest.approx(found.tolist())


@given(
    st.integers(100, 3000),
    st.lists(st.sampled_from([-62135596800.0, 0.0, 9.4e8, 4.1e9, 1.04e10, 2.5e11, np.nan]), max_size=5),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_a_handful_of_times_that_cannot_be_moves_no_age(
    count: int, outliers: list[float], seed: int, grouped: bool
) -> None:
    """Wherever they lie and in whichever relation: the range moves by no more than a few of the other times."""
    times = np.sort(np.random.default_rng(seed).uniform(1.5e9, 1.6e9, count))
    strange = np.array(outliers, np.float64)
    with_them = [times, strange] if grouped else [np.concatenate([strange, times])]

    usual, found = robust_range([times]), robust_range(with_them)

    assert usual is not None
    assert found is not None
    for before, after in zip(usual, found, strict=True):
        assert 1.5e9 <= after <= 1.6e9
        assert abs(np.searchsorted(times, after) - np.searchsorted(times, before)) <= 6


def test_a_range_needs_a_time_and_few_times_are_all_in_it() -> None:
    """Of no time there is no range; of less than ten nothing is passed over."""
    assert None is robust_range([])
    assert None is robust_range([np.array([np.nan]), np.empty(0)])
    assert (1.0, 9.0) == robust_range([np.array([9.0, np.nan, 1.0]), np.array([4.0])])
