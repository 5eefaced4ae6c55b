"""What a query may ask beyond the contract: filtered targets, similar entities, mixed sources, explanations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid.errors import InvalidRequest, UnknownSource
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.rendering import render
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, USERS, liked, train_checkerboard

WHITE = [{"field": "metadata.colour", "op": "eq", "value": "white"}]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder: Path = tmp_path_factory.mktemp("query")
    return train_checkerboard(Workspace(folder / "home"), folder)


def parities(table: pd.DataFrame) -> set[int]:
    return {int(target[1:]) % 2 for target in table["target_id"]}


def rows(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    return list(zip(table["source_id"], table["target_id"], table["score"], strict=True))


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 12),
    source=st.sampled_from(["u00", "u07", "i03", "colour:white"]),
    kinds=st.lists(st.sampled_from(["item", "user"]), min_size=1, max_size=2, unique=True),
    wanted=st.sets(st.integers(0, USERS - 1), max_size=20),
    exclude=st.booleans(),
    threshold=st.sampled_from([0.0, 5.0, 30.0]),
)
def test_n_is_exact_under_filters(
    board: Workspace, count: int, source: str, kinds: list[str], wanted: set[int], exclude: bool, threshold: float
) -> None:
    """The answer is the first N of all that pass: filters and threshold come before the cut."""
    ids = [f"{letter}{number:02}" for number in wanted for letter in "iu"]
    conditions = [{"field": "id", "op": "in", "value": ids or ["nobody"]}]
    common: dict[str, Any] = {"source_id": source, "target_type": kinds, "exclude_interacted": exclude}
    every = board.recommend("board", **common, max_recommendations=10_000)

    found = board.recommend("board", **common, target_filter=conditions, threshold=threshold, max_recommendations=count)

    passing = every[every["target_id"].isin(ids) & (every["score"] >= threshold)][:count]
    assert rows(passing) == rows(found)
    assert list(range(1, len(found) + 1)) == found["rank"].tolist()


def test_targets_are_filtered_by_metadata(board: Workspace) -> None:
    """The same conditions as data_filters, on what the version was trained with."""
    found = board.recommend("board", source_type="user", target_type="item", target_filter=WHITE)
    not_white = [{**WHITE[0], "op": "ne"}]

    assert {1} == parities(found)
    assert {0} == parities(board.recommend("board", source_id="u01", target_type="item", target_filter=not_white))
    with pytest.raises(InvalidRequest, match="no field 'colour'"):
        board.recommend("board", source_id="u01", target_type="item", target_filter=[{**WHITE[0], "field": "colour"}])


def test_similar_entities_are_of_the_same_type(board: Workspace) -> None:
    """`similar` is the pair of the source's type with itself, whatever type that is."""
    similar = board.recommend("board", source_id=["u00", "i01"], use="similar", max_recommendations=5)

    assert {"user", "item"} == set(similar["target_type"])
    for source, kind in (("u00", "user"), ("i01", "item")):
        own = board.recommend("board", source_id=source, target_type=kind, max_recommendations=5)
        assert rows(own) == rows(similar[similar["source_id"] == source])
    with pytest.raises(InvalidRequest, match="use=similar"):
        board.recommend("board", source_id="u00", target_type="user", use="similar")
    with pytest.raises(InvalidRequest, match="use=similar"):
        board.recommend("board", source_id="u00")


def test_one_source_in_a_mix_is_that_source(board: Workspace) -> None:
    """A mix of one ranks and scores as the source alone."""
    alone = board.recommend("board", source_id="u03", target_type="item")

    mixed = board.recommend("board", sources=[{"id": "u03", "weight": 2}], target_type="item")

    assert alone["target_id"].tolist() == mixed["target_id"].tolist()
    assert alone["score"].tolist() == pytest.approx(mixed["score"].tolist(), abs=0.01)


def test_mixed_sources_add_up_and_negative_ones_push_away(board: Workspace) -> None:
    """Half even and half odd finds both; minus odd finds even ones only, whatever was interacted with stays out."""
    both = board.recommend("board", sources=[{"id": "u00"}, {"id": "u01"}], target_type="item", max_recommendations=2)
    away = [{"id": "u00", "weight": 1}, {"id": "u01", "weight": -1}]
    pushed = board.recommend(
        "board", sources=away, target_type="item", exclude_interacted=False, max_recommendations=ITEMS // 2
    )

    assert {"i00", "i01"} == set(both["target_id"])
    assert {"u00 + u01"} == set(both["source_id"])
    assert {0} == parities(pushed)
    users = board.recommend("board", sources=away, target_type="user", max_recommendations=USERS)
    assert not {"u00", "u01"} & set(users["target_id"])


def test_erased_targets_are_in_no_answer(tmp_path: Path) -> None:
    """Of a source alone, of a mix and with a filter, although their rows are still there."""
    board = train_checkerboard(Workspace(tmp_path / "home"), tmp_path)
    board.erase(["i01"])
    others = {f"i{item:02}" for item in range(ITEMS)} - {"i01"}
    unfiltered: dict[str, Any] = {"target_type": "item", "exclude_interacted": False}
    filtered = {**unfiltered, "target_filter": [{"field": "name", "op": "ne", "value": "x"}]}

    for wanted in (unfiltered, filtered):
        for sources in ({"source_id": "u01"}, {"sources": [{"id": "u01"}, {"id": "u03"}, {"id": "u05", "weight": -1}]}):
            found = board.recommend("board", **sources, **wanted, explain=True)

            assert others == set(found["target_id"])


def test_mixes_that_make_no_sense_are_refused(board: Workspace) -> None:
    """Sources of several types, unknown ones, and weights that are all zero."""
    with pytest.raises(InvalidRequest, match="these are of item, user"):
        board.recommend("board", sources=[{"id": "u00"}, {"id": "i00"}], target_type="item")
    with pytest.raises(UnknownSource, match="'nobody'"):
        board.recommend("board", sources=[{"id": "u00"}, {"id": "nobody"}], target_type="item")
    for weights in ([0], [1, -1], [0.5, 1, -1.5]):
        sources = [{"id": "u00", "weight": weight} for weight in weights]
        with pytest.raises(InvalidRequest, match="must keep a weight"):
            board.recommend("board", sources=sources, target_type="item")
    with pytest.raises(InvalidRequest, match="one of source_id, source_type and sources"):
        board.recommend("board", sources=[{"id": "u00"}], source_id="u01", target_type="item")


def test_an_explanation_names_the_edges_that_carried_a_recommendation(board: Workspace) -> None:
    """Interactions of the source itself, the largest share first; together at most the whole."""
    found = board.recommend("board", source_id="u00", target_type="item", max_recommendations=3, explain=True)

    for contributions in found["explanation"]:
        assert contributions
        assert 1.001 >= sum(contribution["share"] for contribution in contributions)
        assert sorted((contribution["share"] for contribution in contributions), reverse=True) == [
            c["share"] for c in contributions
        ]
        for contribution in contributions:
            assert ("interaction", "likes", "item") == (
                contribution["kind"],
                contribution["relation"],
                contribution["type"],
            )
            assert liked(0, int(contribution["id"][1:]))
            assert f"Item {int(contribution['id'][1:])}" == contribution["name"]


def test_the_shares_add_up_to_the_score(board: Workspace) -> None:
    """What the edges contribute together is the raw score, so an explanation leaves nothing out."""
    version = Version(board.settings.home, "board", 1)
    scorer = version.scorer("user", "item")
    source, targets = scorer.sources.start, np.array(scorer.targets)
    edges = version.adjacency.of(source)

    contributions = scorer.contributions(edges, np.ones(len(edges.rows), bool), targets)

    assert scorer.raw(np.array([source]))[0] == pytest.approx(contributions.sum(axis=0), rel=1e-2, abs=1e-4)


def test_links_are_part_of_explanations(board: Workspace) -> None:
    """An item is explained by its users and by what its metadata says."""
    found = board.recommend("board", source_id="i01", use="similar", max_recommendations=3, explain=True)

    kinds = {contribution["kind"] for contributions in found["explanation"] for contribution in contributions}
    assert kinds <= {"interaction", "metadata", "text"}
    assert "interaction" in kinds


def test_a_mix_is_explained_by_its_sources(board: Workspace) -> None:
    """With the part that each of them has."""
    mix = [{"id": "u00", "weight": 3}, {"id": "u01", "weight": 1}]
    found = board.recommend("board", sources=mix, target_type="item", max_recommendations=5, explain=True)

    even = found[found["target_id"] == "i00"]["explanation"].iloc[0]
    assert ("source", "u00", "user", "User 0") == tuple(even[0][name] for name in ("kind", "id", "type", "name"))


def test_explanations_are_the_same_in_both_formats(board: Workspace) -> None:
    """JSON in a cell of the CSV."""
    query = RecommendationQuery(model_id="board", source_id=["u00"], target_type=["item"], explain=True)

    as_json = json.loads(b"".join(render(board.answer(query), "json")))["recommendations"]
    lines = b"".join(render(board.answer(query), "csv")).decode().splitlines()

    assert lines[0].endswith(",served_by,explanation")
    assert len(as_json) == len(lines) - 1
    first = lines[1].split(",cache,", 1)[1].strip('"').replace('""', '"')
    assert as_json[0]["explanation"] == json.loads(first)
