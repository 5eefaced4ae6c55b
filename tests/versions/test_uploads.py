"""Freshness: what is uploaded after a training counts at once, without training again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lucid.errors import UnknownSource
from lucid.model.embedding import Embedding
from lucid.model.fold_in import folded_in
from lucid.training import steps
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, train_checkerboard

ENTITIES, INTERACTIONS = "id,type,name,metadata,media_url\n", "type,source_id,target_id,timestamp,metadata\n"

Upload = Callable[..., str]


@pytest.fixture
def board(tmp_path: Path) -> Workspace:
    return train_checkerboard(Workspace(tmp_path / "home"), tmp_path)


@pytest.fixture
def upload(board: Workspace, tmp_path: Path) -> Upload:
    """Uploads rows as one batch and returns its id."""

    def write(header: str, *rows: str, tags: list[str] | None = None) -> str:
        file = tmp_path / "more.csv"
        file.write_text(header + "".join(f"{row}\n" for row in rows))
        (batch,) = board.import_files([file], tags=tags or [])
        return batch.batch_id

    return write


def answer(board: Workspace, source: str, target_type: str = "item", count: int = 5) -> pd.DataFrame:
    return board.recommend("board", source_id=source, target_type=target_type, max_recommendations=count)


def parities(table: pd.DataFrame) -> list[int]:
    return [int(target[1:]) % 2 for target in table["target_id"]]


def test_new_interactions_count_for_their_source_and_for_no_other(board: Workspace, upload: Upload) -> None:
    """They are masked, they change the order, and the answer says what it comes from."""
    before, others = answer(board, "u00"), answer(board, "u02")
    odd = [f"i{item:02}" for item in range(1, 14, 2)]

    upload(INTERACTIONS, *(f"likes,u00,{item},," for item in odd))

    after = answer(board, "u00", count=ITEMS)
    assert not set(odd) & set(after["target_id"])
    assert {"i15", "i17", "i19"} <= set(after["target_id"][:4])
    assert ({"cache"}, {"folded-in"}) == (set(before["served_by"]), set(after["served_by"]))
    assert others.equals(answer(board, "u02"))


def test_both_ends_of_an_interaction_are_sources(board: Workspace, upload: Upload) -> None:
    """An item that gained a user recommends that user no more."""
    assert "u03" in set(answer(board, "i00", "user", 30)["target_id"])

    upload(INTERACTIONS, "likes,u03,i00,,")

    after = answer(board, "i00", "user", 30)
    assert "u03" not in set(after["target_id"])
    assert {"folded-in"} == set(after["served_by"])


def test_a_new_entity_is_answered_by_its_interactions(board: Workspace, upload: Upload) -> None:
    """The version never saw it, but its neighbours."""
    with pytest.raises(UnknownSource, match="nor was it uploaded since"):
        answer(board, "new")

    upload(ENTITIES, "new,user,,,")
    upload(INTERACTIONS, "likes,new,i01,,", "likes,new,i03,,", "likes,new,i05,,")

    found = answer(board, "new")
    assert [1] * 5 == parities(found)
    assert not {"i01", "i03", "i05"} & set(found["target_id"])
    assert {"folded-in"} == set(found["served_by"])
    assert "new" not in set(answer(board, "i19", "user", 100)["target_id"])  # for that, train again


def test_a_new_entity_is_answered_by_its_metadata(board: Workspace, upload: Upload) -> None:
    """Without an interaction, by the entities that its metadata links it to."""
    upload(ENTITIES, 'i99,item,,"{""colour"": ""white""}",')

    found = answer(board, "i99", "user")
    assert [1] * 5 == parities(found)
    assert {"folded-in"} == set(found["served_by"])


def test_a_new_entity_of_which_nothing_is_known_gets_what_is_popular(board: Workspace, upload: Upload) -> None:
    """And the answer says so."""
    upload(ENTITIES, "new,user,,,")

    found = answer(board, "new")
    assert 5 == len(found)
    assert {"popular"} == set(found["served_by"])


def test_an_entity_that_was_known_by_name_only_gets_what_is_popular_until_it_interacts(
    board: Workspace, upload: Upload
) -> None:
    """At once and from the precomputed store, for one source and for all, and by the refresh and the training after."""
    batch_id = upload(ENTITIES, "idle,user,,,")
    board.train("board")

    found = answer(board, "idle")
    every = board.recommend("board", source_type="user", target_type="item", max_recommendations=5)
    assert {"popular"} == set(found["served_by"]) == set(every[every["source_id"] == "idle"]["served_by"])
    assert {"cache"} == set(every[every["source_id"] != "idle"]["served_by"])

    interactions = upload(INTERACTIONS, "likes,idle,i00,,")
    assert {"folded-in"} == set(answer(board, "idle")["served_by"])
    board.delete_batches([interactions])
    assert {"popular"} == set(answer(board, "idle")["served_by"])
    board.delete_batches([batch_id])
    assert {"popular"} == set(answer(board, "idle")["served_by"])


def test_a_new_type_needs_a_training(board: Workspace, upload: Upload) -> None:
    """The version has nothing to compare it with."""
    upload(ENTITIES, "w1,writer,,,")

    with pytest.raises(UnknownSource, match="train again if its type is new"):
        answer(board, "w1")


def test_what_is_taken_back_counts_no_more(board: Workspace, upload: Upload) -> None:
    """Archived or deleted batches leave the answers as they were."""
    before = answer(board, "u00")
    archived = upload(INTERACTIONS, "likes,u00,i01,,")
    deleted = upload(INTERACTIONS, "likes,u00,i03,,")
    assert not {"i01", "i03"} & set(answer(board, "u00", count=ITEMS)["target_id"])

    board.update_batches([archived], archived=True)
    board.delete_batches([deleted])

    assert before.equals(answer(board, "u00"))


def test_only_what_a_training_would_select_counts(board: Workspace, upload: Upload, tmp_path: Path) -> None:
    """Tags, age and filters of the training hold for later uploads too."""
    upload(INTERACTIONS, "sees,u00,i00,,", tags=["mine"])  # a type that nothing has would be refused
    upload(INTERACTIONS, *(f"likes,u{user:02},i{user % 2:02},," for user in range(20)), tags=["mine"])
    board.update_batches([batch.batch_id for batch in board.batches()], new_tags=["mine"])
    conditions = {"interactions": [{"field": "type", "op": "ne", "value": "sees"}]}
    board.train("board", data_tags=["mine"], maximum_interaction_age_days=365, data_filters=conditions)
    before = answer(board, "u28")

    upload(INTERACTIONS, "likes,u28,i01,,", tags=["other"])
    upload(INTERACTIONS, "likes,u28,i03,2001-01-01,", tags=["mine"])
    upload(INTERACTIONS, "sees,u28,i05,,", tags=["mine"])
    assert before.equals(answer(board, "u28"))

    upload(INTERACTIONS, "likes,u28,i07,,", tags=["mine"])
    assert {"folded-in"} == set(answer(board, "u28")["served_by"])


def test_what_was_known_before_changes_nothing(board: Workspace, upload: Upload) -> None:
    """An interaction that is uploaded again moves no vector."""
    before = answer(board, "u00")

    upload(INTERACTIONS, "likes,u00,i02,,")

    after = answer(board, "u00")
    assert before["target_id"].tolist() == after["target_id"].tolist()
    assert before["score"].tolist() == after["score"].tolist()


def test_a_refresh_keeps_what_was_folded_in(board: Workspace, upload: Upload) -> None:
    """The same answers then come from the cache, for new entities still from their edges."""
    upload(ENTITIES, "new,user,,,")
    upload(INTERACTIONS, "likes,u00,i01,,", "likes,u00,i03,,", "likes,new,i01,,")
    known, new = answer(board, "u00"), answer(board, "new")
    explained = board.recommend("board", source_id="u00", target_type="item", explain=True)["explanation"]

    steps.refresh(board.settings, "board")

    refreshed = answer(board, "u00")
    assert ({"folded-in"}, {"cache"}) == (set(known["served_by"]), set(refreshed["served_by"]))
    assert known.drop(columns="served_by").equals(refreshed.drop(columns="served_by"))
    again = board.recommend("board", source_id="u00", target_type="item", explain=True)["explanation"]
    assert {"i01", "i03"} & {carrier["id"] for carriers in again for carrier in carriers}
    assert explained.tolist() == again.tolist()
    assert ([1] * 5, {"folded-in"}) == (parities(new), set(new["served_by"]))
    assert ([1] * 5, {"folded-in"}) == (parities(answer(board, "new")), set(answer(board, "new")["served_by"]))
    upload(INTERACTIONS, "likes,u00,i05,,")
    assert {"folded-in"} == set(answer(board, "u00")["served_by"])


def test_a_training_takes_over_what_was_folded_in(board: Workspace, upload: Upload) -> None:
    """Trained again, the model answers from its cache as it did by folding in."""
    upload(INTERACTIONS, *(f"likes,u00,i{item:02},," for item in range(1, 14, 2)))
    folded = answer(board, "u00", count=3)

    board.train("board")

    trained = answer(board, "u00", count=3)
    assert {"cache"} == set(trained["served_by"])
    assert {"i00", "i15", "i17", "i19"} >= set(folded["target_id"]) | set(trained["target_id"])


def test_folding_in_all_edges_of_an_entity_gives_its_vector() -> None:
    """The identity that folding-in rests on, on the eigenpairs of a random graph."""
    chance = np.random.default_rng(0)
    upper = np.triu(chance.random((30, 30)) < 0.3, 1) * chance.random((30, 30))
    adjacency = upper + upper.T
    degrees = adjacency.sum(axis=1)
    scale = sparse.diags_array((degrees + 2.0) ** -0.5)
    values, vectors = np.linalg.eigh(scale @ adjacency @ scale)
    embedding = Embedding(values.astype(np.float32), vectors.astype(np.float32), degrees.astype(np.float32), 2.0)
    edges = np.flatnonzero(adjacency[7])
    half = len(edges) // 2

    from_nothing, degree = folded_in(embedding, None, edges, adjacency[7, edges].astype(np.float32))
    assert degrees[7] == pytest.approx(degree)
    assert from_nothing == pytest.approx(vectors[7], abs=1e-3)

    # As if only half of the edges had been known.
    first, first_degree = folded_in(embedding, None, edges[:half], adjacency[7, edges[:half]].astype(np.float32))
    vectors_then, degrees_then = embedding.vectors.copy(), embedding.degrees.copy()
    vectors_then[7], degrees_then[7] = first, first_degree
    then = Embedding(embedding.values, vectors_then, degrees_then, 2.0)
    both, _ = folded_in(then, 7, edges[half:], adjacency[7, edges[half:]].astype(np.float32))
    assert from_nothing == pytest.approx(both, abs=1e-5)
