"""The entity index: from an id to its row and back, whatever the ids and however many."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucid.graph.entity_index import EntityIndex, write_entity_index

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=90)


def index_of(
    folder: Path, ids: list[str | None], names: list[str | None], pictures: list[str | None] | None = None
) -> EntityIndex:
    """An index of entities whose rows are counted in this order; None for an erased one, or one without a picture."""
    path, target = folder / "entities.parquet", folder / "index.safetensors"
    with duckdb.connect() as connection:
        picture = ", unnest($pictures::VARCHAR[]) AS media_url" if pictures else ""
        connection.execute(
            f"COPY (SELECT unnest(range({len(ids)})) AS row, unnest($ids::VARCHAR[]) AS id, "
            f"unnest($names::VARCHAR[]) AS name{picture}) TO '{path}' (FORMAT parquet)",
            {"ids": ids, "names": names, **({"pictures": pictures} if pictures else {})},
        )
    write_entity_index(target, path)
    return EntityIndex(target)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=40, unique=True), st.data())
def test_every_id_leads_to_its_row_and_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    """Short and long ids, in any alphabet; an id that is not there has no row."""
    folder = tmp_path_factory.mktemp("index")
    names = [data.draw(st.one_of(st.just(""), TEXT)) for _ in ids]
    index = index_of(folder, list(ids), list(names))
    rows = np.arange(len(ids))

    assert rows.tolist() == [index.row(entity_id) for entity_id in ids]
    assert ids == [json.loads(text) for text in index.ids(rows)]
    assert names == [json.loads(text) for text in index.names(rows)]
    assert index.row("".join(ids) + "x" * 100) is None


def test_ids_with_equal_hashes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all ids have the same hash, each is still found by its own text."""
    monkeypatch.setattr("lucid.graph.entity_index._hash", lambda _text: 7)
    index = index_of(tmp_path, ["a", "b", "c"], ["A", "B", "C"])

    assert [0, 1, 2, None] == [index.row(entity_id) for entity_id in ("a", "b", "c", "d")]


def test_an_erased_entity_has_no_id_any_more(tmp_path: Path) -> None:
    """Its row stays, so that all others keep theirs, but nothing leads to it."""
    index = index_of(tmp_path, ["a", None, "c" * 200], ["A", None, "C"])

    assert [b'"a"', b"", b'"' + b"c" * 200 + b'"'] == index.ids(np.arange(3))
    assert [0, 2] == [index.row("a"), index.row("c" * 200)]
    assert index.row("") is None


def test_the_picture_of_an_entity_is_its_media_url(tmp_path: Path) -> None:
    """Entities without one have none, and neither have those of files that earlier releases wrote."""
    index = index_of(tmp_path, ["a", "b"], ["A", "B"], pictures=["https://pictures.example/ä.png", None])

    assert ["https://pictures.example/ä.png", ""] == index.pictures(np.arange(2))
    assert ["", ""] == index_of(tmp_path, ["a", "b"], ["A", "B"]).pictures(np.arange(2))
