"""One id, two types: it is told wherever it shows, and namespaces keep both.

Every SQL export counts its ids from 1, so users 1 to 60 and movies 1 to 40 share forty of them.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from lucid.errors import InvalidRequest, TrainingFailed, UnusableFile
from lucid.schema.batches import Batch
from lucid.store.home import Home
from lucid.workspace import Workspace

USERS, MOVIES = 60, 40
ENTITIES = "id,type,name,metadata,media_url\n"
INTERACTIONS = "type,source_id,target_id,timestamp,metadata\n"
TYPED = "type,source_id,target_id,source_type,target_type,timestamp,metadata\n"


def rows_of(entity_type: str, ids: Sequence[int]) -> str:
    return "".join(f"{number},{entity_type},{entity_type} {number},,\n" for number in ids)


def ratings() -> list[tuple[int, int]]:
    """Users like movies of their own half, as a checkerboard."""
    users, movies = range(1, USERS + 1), range(1, MOVIES + 1)
    return [(user, movie) for user in users for movie in movies if user % 2 == movie % 2 and (user + 3 * movie) % 5]


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Two SQL tables and the one that links them, as they are exported."""
    texts = {
        "users": ENTITIES + rows_of("user", range(1, USERS + 1)),
        "movies": ENTITIES + rows_of("movie", range(1, MOVIES + 1)),
        "ratings": INTERACTIONS + "".join(f"likes,{user},{movie},,\n" for user, movie in ratings()),
        "typed": TYPED + "".join(f"likes,{user},{movie},user,movie,,\n" for user, movie in ratings()),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return {name: tmp_path / f"{name}.csv" for name in texts}


def stored(workspace: Workspace, batch: Batch, columns: str) -> list[tuple[str, ...]]:
    path = Home(workspace.settings.home).batch(batch.batch_id) / "rows.parquet"
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet(?)", [str(path)]).fetchall()


# An id that changes its type is told


@pytest.mark.parametrize("order", [("users", "movies"), ("movies", "users")])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_batch_warns_of_ids_that_another_batch_gave_another_type(
    workspace: Workspace, tables: dict[str, Path], order: tuple[str, str], calls: int
) -> None:
    """With their number and examples, in one call or two, and whatever comes first."""
    first, second = (tables[name] for name in order)
    imported = [[first], [second]] if calls == 2 else [[first, second]]
    before, after = [batch for files in imported for batch in workspace.import_files(files)]

    (warning,) = after.warnings
    was, now = (name.removesuffix("s") for name in order)
    assert [] == before.warnings
    assert warning.startswith(f"40 ids have changed from the type {was} to {now}, for example '1', '10', '11'")
    assert "namespace=true" in warning
    assert [[], [warning]] == [batch.warnings for batch in workspace.batches()]


def test_a_type_that_stays_or_is_of_an_archived_batch_warns_of_nothing(workspace: Workspace, tmp_path: Path) -> None:
    """An upload anew of the same table is no change; what is deleted or archived competes with nobody."""
    for name, entity_type in (("a", "user"), ("b", "user"), ("c", "movie")):
        (tmp_path / f"{name}.csv").write_text(ENTITIES + rows_of(entity_type, range(1, 5)))
    (first,) = workspace.import_files(tmp_path / "a.csv")
    (again,) = workspace.import_files(tmp_path / "b.csv")
    workspace.delete_batches([first.batch_id])
    workspace.update_batches([again.batch_id], archived=True)

    (other,) = workspace.import_files(tmp_path / "c.csv")

    assert ([], []) == (again.warnings, other.warnings)


def test_a_later_batch_is_compared_with_the_latest_earlier_one(workspace: Workspace, tmp_path: Path) -> None:
    """What an id was before that is history."""
    for name, entity_type in (("a", "user"), ("b", "movie"), ("c", "movie")):
        (tmp_path / f"{name}.csv").write_text(ENTITIES + rows_of(entity_type, [1]))

    batches = [workspace.import_files(tmp_path / f"{name}.csv")[0] for name in "abc"]

    assert [0, 1, 0] == [len(batch.warnings) for batch in batches]
    assert batches[1].warnings[0].startswith("1 id has changed from the type user to movie, for example '1'")


def test_within_a_file_rows_of_a_second_type_are_set_aside(workspace: Workspace, tmp_path: Path) -> None:
    """The first type of an id holds, also where it comes again; order and lines are those of the file."""
    file = tmp_path / "all.csv"
    lines = ["1,user,A,,", "", "2,user,B,,", "1,movie,C,,", '3,user,"D\nE",,', "1,user,F,,", "2,genre,G,,", ",user,H,,"]
    file.write_text(ENTITIES + "\n".join(lines) + "\n")

    (batch,) = workspace.import_files(file)

    assert [("1", "A"), ("2", "B"), ("3", "D\nE"), ("1", "F")] == stored(workspace, batch, "id, name")
    assert [(5, "id", "type_conflict", "1"), (9, "id", "type_conflict", "2"), (10, "id", "empty_value", None)] == [
        (error.line, error.column, error.code, error.value) for error in batch.errors
    ]
    assert "has the type user above and movie here" in batch.errors[0].message


def test_both_tables_in_one_file_set_the_second_aside(workspace: Workspace, tmp_path: Path) -> None:
    """Forty movies are told, not lost."""
    file = tmp_path / "all.csv"
    file.write_text(ENTITIES + rows_of("user", range(1, USERS + 1)) + rows_of("movie", range(1, MOVIES + 1)))

    (batch,) = workspace.import_files(file)

    assert (USERS, MOVIES) == (batch.entity_count, batch.rejected_count)


# A training asks


def test_a_training_asks_before_a_type_loses_ids_to_another(workspace: Workspace, tables: dict[str, Path]) -> None:
    """More than one in a hundred is no accident of a row; the report then says how many."""
    workspace.import_files([tables["users"], tables["movies"], tables["ratings"]])

    with pytest.raises(TrainingFailed, match="40 of 60 ids of the type user have become movie") as caught:
        workspace.train("movies")

    assert "allow_type_changes=true" in caught.value.message
    assert "type_changes" == caught.value.code
    assert "error" == workspace.status("movies").status

    workspace.train("movies", allow_type_changes=True)
    steps = {step["step"]: step for step in workspace.report("movies")["steps"]}
    told = steps["entities: ids that had another type before"]
    assert (40, "'1' was user") == (told["removed"], told["examples"][0])


def test_one_id_in_a_hundred_may_change_its_type(workspace: Workspace, tmp_path: Path) -> None:
    """A corrected row needs no permission, and is told in the report all the same."""
    (tmp_path / "users.csv").write_text(ENTITIES + rows_of("user", range(1, 101)))
    (tmp_path / "items.csv").write_text(ENTITIES + rows_of("item", range(201, 221)) + rows_of("item", [1]))
    likes = [(user, item) for user in range(2, 101) for item in range(201, 221) if (user + item) % 3 == 0]
    (tmp_path / "likes.csv").write_text(INTERACTIONS + "".join(f"likes,{user},{item},,\n" for user, item in likes))
    workspace.import_files([tmp_path / f"{name}.csv" for name in ("users", "items", "likes")])

    workspace.train("items")

    steps = {step["step"]: step["removed"] for step in workspace.report("items")["steps"]}
    assert 1 == steps["entities: ids that had another type before"]


# Namespaces


NAMED = {
    "columns": ("typed", {"namespace": True}),
    "parameters": ("ratings", {"namespace": True, "source_type": "user", "target_type": "movie"}),
    "columns over parameters": ("typed", {"namespace": True, "source_type": "genre", "target_type": "genre"}),
}


@pytest.mark.parametrize("how", NAMED)
def test_two_tables_become_recommendations_without_editing_a_file(
    workspace: Workspace, tables: dict[str, Path], how: str
) -> None:
    """Every user is answered with movies, and every id says what it is."""
    interactions, naming = NAMED[how]
    batches = workspace.import_files([tables["users"], tables["movies"], tables[interactions]], **naming)  # type: ignore[arg-type]

    workspace.train("movies")

    assert [[], [], []] == [batch.warnings for batch in batches]
    found = workspace.recommend("movies", source_type="user", target_type="movie", max_recommendations=3)
    assert {f"user:{number}" for number in range(1, USERS + 1)} == set(found.source_id)
    assert set(found.target_id) <= {f"movie:{number}" for number in range(1, MOVIES + 1)}
    one = workspace.recommend("movies", source_id="user:1", target_type="movie", max_recommendations=3)
    assert {1} == {int(target.partition(":")[2]) % 2 for target in one.target_id}
    pairs = [(pair["source_type"], pair["target_type"]) for pair in workspace.report("movies")["pairs"]]
    assert ("movie", "movie") not in pairs


def test_an_entity_of_a_namespace_is_erased_by_its_name(workspace: Workspace, tables: dict[str, Path]) -> None:
    """All of user 1 goes, and nothing of movie 1."""
    workspace.import_files(
        [tables["users"], tables["movies"], tables["ratings"]],
        namespace=True,
        source_type="user",
        target_type="movie",
    )
    (typed,) = workspace.import_files(tables["typed"])  # told by columns, but stored without a namespace

    counts = workspace.erase("user:1")

    assert 1 == counts.entities
    assert 2 * sum(user == 1 for user, _ in ratings()) == counts.interactions
    assert sum(user != 1 for user, _ in ratings()) == workspace.batches([typed.batch_id])[0].interaction_count


def test_columns_of_types_find_entities_with_or_without_a_namespace(
    workspace: Workspace, tables: dict[str, Path], tmp_path: Path
) -> None:
    """An end that names its type is that entity and no other of the same id, whichever way it was uploaded."""
    (tmp_path / "genres.csv").write_text(ENTITIES + "g1,genre,,,\n")
    more = tmp_path / "more.csv"
    more.write_text(
        TYPED + "likes,1,g1,user,genre,,\nlikes,1,g1,movie,genre,,\nlikes,2,g1,genre,genre,,\nlikes,g1,3,,movie,,\n"
    )
    workspace.import_files([tables["users"], tables["movies"], tables["typed"]], namespace=True)
    workspace.import_files([tmp_path / "genres.csv", more, tables["typed"]])

    workspace.train("movies")

    steps = {step["step"]: step for step in workspace.report("movies")["steps"]}
    twice = steps["interactions: equal rows count once"]
    dangling = steps["interactions: both ends are known entities"]
    assert len(ratings()) == twice["removed"]
    assert (len(ratings()) + 3, 1) == (dangling["kept"], dangling["removed"])
    assert ["2"] == dangling["examples"]


def test_without_a_namespace_a_type_keeps_an_end_from_being_another_entity(
    workspace: Workspace, tables: dict[str, Path], tmp_path: Path
) -> None:
    """Movie 5 of the ratings is not user 5, so it dangles rather than lie."""
    (tmp_path / "movies.csv").write_text(ENTITIES + rows_of("movie", range(1001, 1041)))
    workspace.import_files([tables["users"], tmp_path / "movies.csv", tables["typed"]])

    with pytest.raises(TrainingFailed, match="ids that no entity defines, for example 'movie:1'"):
        workspace.train("movies")


@pytest.mark.parametrize(
    ("name", "naming", "message"),
    [
        ("ratings", {}, "source_type, target_type is missing"),
        ("ratings", {"source_type": "user"}, "target_type is missing"),
        ("ratings", {"target_type": "movie"}, "source_type is missing"),
    ],
)
def test_a_namespace_without_types_is_refused(
    workspace: Workspace, tables: dict[str, Path], name: str, naming: dict[str, str], message: str
) -> None:
    """It says which end lacks its type and where to give it; nothing is stored."""
    with pytest.raises(UnusableFile, match=message) as caught:
        workspace.import_files([tables["users"], tables[name]], namespace=True, **naming)  # type: ignore[arg-type]

    assert "missing_column" == caught.value.code
    assert [] == workspace.batches()


@pytest.mark.parametrize(("given", "message"), [(" ", "source_type is empty"), ("a:b", "must not hold a colon")])
def test_types_that_name_nothing_are_refused(
    workspace: Workspace, tables: dict[str, Path], given: str, message: str
) -> None:
    """Before any file is read."""
    with pytest.raises(InvalidRequest, match=message):
        workspace.import_files(tables["ratings"], namespace=True, source_type=given, target_type="movie")


def test_rows_that_a_namespace_cannot_name_are_set_aside(workspace: Workspace, tmp_path: Path) -> None:
    """An end without a type, and a type in which nobody could tell where it ends."""
    entities, interactions = tmp_path / "e.csv", tmp_path / "i.csv"
    entities.write_text(ENTITIES + "1,user,,,\n1,movie,,,\n1,a:b,,,\n,user,,,\n")
    interactions.write_text(TYPED + "saw,1,1,user,movie,,\nsaw,1,1,,movie,,\nsaw,1,1,user,a:b,,\nsaw,,1,user,movie,,\n")

    batches = workspace.import_files([entities, interactions], namespace=True)

    assert [("user:1",), ("movie:1",)] == stored(workspace, batches[0], "id")
    assert [("user:1", "movie:1")] == stored(workspace, batches[1], "source_id, target_id")
    assert [
        [(4, "type", "invalid_character"), (5, "id", "empty_value")],
        [(3, "source_type", "empty_value"), (4, "target_type", "invalid_character"), (5, "source_id", "empty_value")],
    ] == [[(error.line, error.column, error.code) for error in batch.errors] for batch in batches]


def test_an_empty_cell_of_a_type_column_takes_the_type_of_the_call(workspace: Workspace, tmp_path: Path) -> None:
    """The file goes first, cell by cell."""
    file = tmp_path / "i.csv"
    file.write_text("type,source_id,target_id,target_type,timestamp,metadata\nsaw,1,1,,,\nsaw,1,1,genre,,\n")

    (batch,) = workspace.import_files(file, namespace=True, source_type="user", target_type="it's")

    assert [("user:1", "it's:1"), ("user:1", "genre:1")] == stored(workspace, batch, "source_id, target_id")


def test_blanks_at_the_ends_of_ids_are_told_in_quotes(workspace: Workspace, tmp_path: Path) -> None:
    """They stay, for an id is any text, but nobody would see that they make another entity."""
    file = tmp_path / "e.csv"
    file.write_text(ENTITIES + "u1 ,user,,,\nu1,user,,,\n\u00a0u2,user ,,,\nu 3,user,,,\n")

    (batch,) = workspace.import_files(file)

    assert 4 == batch.entity_count
    assert [
        "id: 2 values begin or end with a blank, which makes another id than without: 'u1 ', '\u00a0u2'",
        "type: 1 value begins or ends with a blank, which makes another type than without: 'user '",
    ] == batch.warnings
