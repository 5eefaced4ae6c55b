"""Erasure: an entity that is erased is found in no file any more, and everything else stays as it was."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from lucid.data.csv_load import REJECTS, ROWS
from lucid.errors import InvalidRequest, TrainingFailed, UnknownSource
from lucid.schema.batches import Batch, Erased
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace

GONE = "Zoë-4711-gone"
USERS, ITEMS = 12, 10


def everything_stored(home: Path) -> Iterator[tuple[Path, str]]:
    """The bytes of every file, and what stands in its columns if it is a table: compression hides texts."""
    for path in sorted(home.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes().decode(errors="replace")
            yield path, str(path)
            yield from ((path, repr(row)) for row in _rows(path))


def _rows(path: Path) -> Sequence[object]:
    if path.suffix == ".parquet":
        return duckdb.sql(f"FROM read_parquet('{path}')").fetchall()
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            return [row for (name,) in tables for row in connection.execute(f"FROM {name}").fetchall()]
    if path.suffix == ".db":
        with sqlite3.connect(path) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return [row for (name,) in tables for row in database.execute(f'SELECT * FROM "{name}"').fetchall()]
    return []


def places_of(text: str, home: Path) -> set[str]:
    escaped = json.dumps(text)[1:-1]
    return {path.name for path, content in everything_stored(home) if text in content or escaped in content}


def write_files(folder: Path) -> list[Path]:
    """Users who like items; one user is friends with others, named in metadata and in rows that are set aside."""
    folder.mkdir()
    users = [*(f"u{number:02}" for number in range(USERS)), GONE]
    entities = ["id,type,name,metadata,media_url"]
    entities += [f'{user},user,Name of {user},"{{""city"": ""c{place % 3}""}}",' for place, user in enumerate(users)]
    entities += [
        f'i{item},item,,"{{""fans"": [""{GONE}"", ""fan""], ""kind"": ""k{item % 2}""}}",' for item in range(5)
    ]
    entities += [f'i{item},item,,"{{""fans"": ""\\u005a{GONE[1:]}""}}",' for item in range(5, ITEMS)]
    entities += [f"{GONE},,nameless,,", f'i0,item,,"not JSON of {GONE}",', "x,y,z"]
    interactions = ["type,source_id,target_id,timestamp,metadata"]
    interactions += [
        f"likes,{user},i{item},,"
        for place, user in enumerate(users)
        for item in range(ITEMS)
        if (place + item) % 2 and (place + 3 * item) % 5
    ]
    interactions += [f"follows,{user},{GONE},," for user in users[:4]]
    interactions += [f'likes,u00,i1,2020-01-01,"{{""with"": ""{GONE}"", ""at"": 1}}"', f"likes,u00,i1,by {GONE},"]
    files = [folder / "entities.csv", folder / "interactions.csv"]
    for file, lines in zip(files, (entities, interactions), strict=True):
        file.write_text("\n".join(lines) + "\n")
    return files


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two models, one of them trained twice and with a filter that names the entity."""
    workspace = Workspace(tmp_path / "home")
    workspace.import_files(write_files(tmp_path / "files"))
    workspace.train("board")
    workspace.train("board")
    filters = {"entities": [{"field": "id", "op": "not_in", "value": [GONE, "nobody"]}]}
    workspace.train("filtered", data_filters=filters)
    return workspace


def test_an_erased_entity_is_found_in_no_file(workspace: Workspace) -> None:
    """Batches, set-aside rows, the catalog, models, reports and cached recommendations forget it."""
    home = workspace.settings.home
    before = places_of(GONE, home)
    assert {"rows.parquet", "rejects.parquet", "catalog.duckdb", "recommendations.duckdb", "entities.parquet"} <= before

    counts = workspace.erase(GONE)

    assert set() == places_of(GONE, home)
    assert 1 == counts.entities
    assert ITEMS + 1 == counts.metadata_values
    assert 2 == counts.rejected_rows
    assert (2, 3) == (counts.models, counts.vectors)  # the value in metadata was an entity too
    assert counts.recommendations > 0
    assert Erased() == workspace.erase(GONE)


def test_the_rest_of_the_batches_stays(workspace: Workspace) -> None:
    """All other rows keep their order and their cells; counts follow."""
    home = workspace.settings.home

    def rows(batch: Batch, file: str) -> list[tuple[object, ...]]:
        return duckdb.sql(f"FROM read_parquet('{home}/batches/{batch.batch_id}/{file}')").fetchall()

    entities, interactions = workspace.batches()
    kept = [row for row in rows(interactions, ROWS) if GONE not in row]
    users = [row for row in rows(entities, ROWS) if row[1] == "user" and row[0] != GONE]
    lines = [(row[0], row[2]) for row in rows(entities, REJECTS)]

    workspace.erase(GONE)

    after = workspace.batches()
    assert [row[:4] for row in kept] == [row[:4] for row in rows(interactions, ROWS)]
    assert '{"at": 1}' == rows(interactions, ROWS)[-1][4]
    assert users == [row for row in rows(entities, ROWS) if row[1] == "user"]
    assert '{"fans": ["fan"], "kind": "k0"}' == rows(entities, ROWS)[USERS][3]
    assert rows(entities, ROWS)[-1][3] is None
    assert lines == [(row[0], row[2]) for row in rows(entities, REJECTS)]
    assert [len(rows(entities, ROWS)), 0] == [batch.entity_count for batch in after if batch][:2]
    assert len(kept) == after[1].interaction_count
    assert [batch.rejected_count for batch in (entities, interactions)] == [batch.rejected_count for batch in after]


def answers(workspace: Workspace) -> list[tuple[str, str]]:
    found = workspace.recommend(
        "board", source_type=["user", "city"], target_type="user", max_recommendations=USERS + 1
    )
    return list(zip(found.source_id, found.target_id, strict=True))


def test_models_answer_without_the_erased_entity(workspace: Workspace) -> None:
    """The others keep their order, nobody is recommended the erased one, and a list is filled up to its length."""
    before = answers(workspace)
    version = ModelVersions(workspace.settings.home, "board").live().number

    workspace.erase(GONE)

    after = answers(workspace)
    assert [row for row in before if GONE not in row] == after
    for target_type in ("item", "user"):
        five = workspace.recommend("board", source_type="user", target_type=target_type, max_recommendations=3)
        assert {3} == set(five.groupby("source_id").size())
    with pytest.raises(UnknownSource):
        workspace.recommend("board", source_id=GONE, target_type="item")
    assert ModelVersions(workspace.settings.home, "board").live().number > version
    assert not Version(workspace.settings.home, "board", version).folder.exists()
    workspace.train("board")
    assert set() == places_of(GONE, workspace.settings.home)


def test_erasing_a_metadata_entity_takes_its_value_out_of_its_key_only(workspace: Workspace) -> None:
    """`kind:k1` was made of the value k1 of the key kind; other values stay."""
    counts = workspace.erase("kind:k1")

    assert Erased(metadata_values=2, models=2, vectors=2, recommendations=counts.recommendations) == counts
    with pytest.raises(UnknownSource):
        workspace.recommend("board", source_id="kind:k1", target_type="item")
    workspace.recommend("board", source_id="kind:k0", target_type="item")


def test_all_entities_may_be_erased(workspace: Workspace) -> None:
    """What is left is empty and says so; nothing breaks."""
    users = [*(f"u{number:02}" for number in range(USERS)), GONE]
    workspace.erase(users)

    assert workspace.recommend("board", source_type="user", target_type="item").empty
    assert not workspace.recommend("board", source_id="i1", target_type="item").empty
    with pytest.raises(TrainingFailed):
        workspace.train("again")
    with pytest.raises(InvalidRequest):
        workspace.erase([""])
