"""Data filters: which entities and interactions a training leaves out, and how wrong filters are refused."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lucid.data.selection import select
from lucid.errors import InvalidRequest
from lucid.schema.fields import check
from lucid.schema.filters import DataFilters
from lucid.schema.training import TrainingRequest
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

MOVIES: dict[str, dict[str, Any]] = {
    "m1": {"year": 1990, "genre": ["Drama", "Crime"], "seen": True},
    "m2": {"year": "2005", "genre": ["Comedy"], "crew": {"editor": "Ed"}},
    "m3": {"genre": "Drama", "it's": "quoted"},
}
INTERACTIONS = [
    ("saw", "u1", "m1", "2024-01-01", '{"stars": 5}'),
    ("saw", "u1", "m2", "2024-06-01", '{"stars": 2}'),
    ("saw", "u2", "m3", "", ""),
    ("likes", "u2", "m1", "2025-01-01T00:00:00Z", ""),
]


@pytest.fixture
def films(workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> Workspace:
    movies = [(movie, "movie", f"Film {movie}", json.dumps(metadata)) for movie, metadata in MOVIES.items()]
    people = [("u1", "user", "Ann"), ("u2", "user", "", '{"genre": "Drama"}')]
    workspace.import_files([entities_csv(*movies, *people), interactions_csv(*INTERACTIONS)])
    return workspace


def kept(
    workspace: Workspace, tmp_path: Path, **filters: list[dict[str, Any]]
) -> tuple[set[str], set[tuple[str, ...]]]:
    """Ids of the uploaded entities and (type, source, target) of the interactions that a selection keeps."""
    batches = Catalog(workspace.settings.home).batches.select(None)
    selection = select(
        workspace.settings.home,
        batches,
        tmp_path / "selection",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        data_filters=DataFilters.model_validate(filters),
    )
    with duckdb.connect() as connection:
        for name in ("entities", "interactions"):
            connection.execute(f"CREATE VIEW {name} AS FROM '{selection.folder / name}.parquet'")
        ids = connection.execute("SELECT id FROM entities WHERE type IN ('movie', 'user')").fetchall()
        edges = connection.execute(
            "SELECT i.type, s.id, t.id FROM interactions i JOIN entities s ON s.row = source_row "
            "JOIN entities t ON t.row = target_row"
        ).fetchall()
    return {row[0] for row in ids}, set(edges)


@pytest.mark.parametrize(
    ("condition", "movies"),
    [
        ({"field": "id", "op": "eq", "value": "m1"}, {"m1"}),
        ({"field": "id", "op": "ne", "value": "m1"}, {"m2", "m3"}),
        ({"field": "name", "op": "contains", "value": "m2"}, {"m2"}),
        ({"field": "metadata.year", "op": "gte", "value": 1990}, {"m1", "m2"}),
        ({"field": "metadata.year", "op": "gt", "value": 1990}, {"m2"}),
        ({"field": "metadata.year", "op": "lt", "value": 2000}, {"m1"}),
        ({"field": "metadata.year", "op": "lte", "value": 2005}, {"m1", "m2"}),
        ({"field": "metadata.year", "op": "eq", "value": 2005}, {"m2"}),
        ({"field": "metadata.year", "op": "ne", "value": 2005}, {"m1", "m3"}),
        ({"field": "metadata.year", "op": "exists"}, {"m1", "m2"}),
        ({"field": "metadata.year", "op": "exists", "value": False}, {"m3"}),
        ({"field": "metadata.genre", "op": "in", "value": ["Crime", "Comedy"]}, {"m1", "m2"}),
        ({"field": "metadata.genre", "op": "not_in", "value": ["Crime", "Comedy"]}, {"m3"}),
        ({"field": "metadata.genre", "op": "contains", "value": "ram"}, {"m1", "m3"}),
        ({"field": "metadata.seen", "op": "eq", "value": True}, {"m1"}),
        ({"field": "metadata.crew.editor", "op": "eq", "value": "Ed"}, {"m2"}),
        ({"field": "metadata.it's", "op": "eq", "value": "'); DROP TABLE entities; --"}, set()),
    ],
    ids=lambda value: "" if isinstance(value, set) else f"{value['field']} {value['op']} {value.get('value', '')}",
)
def test_entities_that_do_not_fulfil_a_condition_go_with_their_interactions(
    films: Workspace, tmp_path: Path, condition: dict[str, Any], movies: set[str]
) -> None:
    """Only movies are asked (for_type); users stay, and so do the interactions with the movies that stay."""
    if not movies:
        with pytest.raises(Exception, match="no interactions are left"):
            kept(films, tmp_path, entities=[{**condition, "for_type": "movie"}])
        return

    ids, edges = kept(films, tmp_path, entities=[{**condition, "for_type": "movie"}])

    assert movies | {"u1", "u2"} == ids
    assert {(kind, user, movie) for kind, user, movie, *_ in INTERACTIONS if movie in movies} == edges


@pytest.mark.parametrize(
    ("condition", "places"),
    [
        ({"field": "type", "op": "eq", "value": "likes"}, [3]),
        ({"field": "source_id", "op": "in", "value": ["u1"]}, [0, 1]),
        ({"field": "target_type", "op": "eq", "value": "movie"}, [0, 1, 2, 3]),
        ({"field": "source_type", "op": "ne", "value": "movie"}, [0, 1, 2, 3]),
        ({"field": "timestamp", "op": "gte", "value": "2024-06-01T00:00:00Z"}, [1, 3]),
        ({"field": "timestamp", "op": "lt", "value": 1717200000}, [0]),
        ({"field": "timestamp", "op": "exists", "value": False}, [2]),
        ({"field": "metadata.stars", "op": "gte", "value": 4}, [0]),
        ({"field": "metadata.stars", "op": "gte", "value": 4, "for_type": "saw"}, [0, 3]),
    ],
    ids=lambda value: "" if isinstance(value, list) else f"{value['field']} {value['op']} {value.get('value', '')}",
)
def test_interactions_are_filtered_by_columns_types_and_metadata(
    films: Workspace, tmp_path: Path, condition: dict[str, Any], places: list[int]
) -> None:
    """Conditions on interactions take out rows and leave the entities."""
    ids, edges = kept(films, tmp_path, interactions=[condition])

    assert {"m1", "m2", "m3", "u1", "u2"} == ids
    assert {INTERACTIONS[place][:3] for place in places} == edges


def test_all_conditions_must_hold(films: Workspace, tmp_path: Path) -> None:
    """Several conditions narrow down together."""
    _, edges = kept(
        films,
        tmp_path,
        entities=[{"field": "metadata.genre", "op": "eq", "value": "Drama"}],
        interactions=[
            {"field": "type", "op": "eq", "value": "saw"},
            {"field": "timestamp", "op": "exists", "value": False},
        ],
    )

    assert {("saw", "u2", "m3")} == edges


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        ({"entities": [{"field": "colour", "op": "eq", "value": 1}]}, "data_filters.entities"),
        ({"entities": [{"field": "timestamp", "op": "exists"}]}, "no field 'timestamp'"),
        ({"entities": [{"field": "metadata.", "op": "exists"}]}, "no field 'metadata.'"),
        ({"interactions": [{"field": "type", "op": "like", "value": "a"}]}, "data_filters.interactions.0.op"),
        ({"interactions": [{"field": "type", "op": "eq"}]}, "data_filters.interactions.0"),
        ({"interactions": [{"field": "type", "op": "in", "value": "a"}]}, "needs a list"),
        ({"interactions": [{"field": "type", "op": "eq", "value": ["a"]}]}, "needs a single value"),
        ({"interactions": [{"field": "timestamp", "op": "gt", "value": "soon"}]}, "data_filters.interactions.0"),
        (
            {"interactions": [{"field": "type", "op": "eq", "value": "a", "extra": 1}]},
            "data_filters.interactions.0.extra",
        ),
        ({"people": []}, "data_filters.people"),
    ],
    ids=str,
)
def test_wrong_filters_are_refused_and_the_place_is_named(filters: dict[str, Any], place: str) -> None:
    """Unknown fields, operations and keys, and values that do not fit, are found before anything starts."""
    with pytest.raises(InvalidRequest) as caught:
        check(TrainingRequest, {"model_id": "m", "data_filters": filters})

    assert place in caught.value.message


def test_metadata_rules_take_the_place_of_what_the_data_say(films: Workspace) -> None:
    """A key can be left out or used otherwise; the report says that it was asked for."""
    films.train("films", metadata_rules={"genre": "ignored", "seen": "text"})

    rules = {rule["key"]: (rule["use"], rule["reason"]) for rule in films.report("films")["keys"]}
    assert ("ignored", "asked for by the training") == rules["genre"]
    assert "text" == rules["seen"][0]
    assert "genre" not in films.report("films")["graph"]["entity_types"]


def test_a_metadata_rule_about_an_unknown_key_is_refused(films: Workspace) -> None:
    """A misspelt key is not silently without effect."""
    with pytest.raises(
        InvalidRequest, match=r"the metadata key 'gerne'; did you mean 'genre'\? known: crew\.editor, g"
    ):
        films.train("films", metadata_rules={"gerne": "ignored"})


@pytest.mark.parametrize("key", ["a.b", "$.x", "/a/b", 'q"r', "it's", "a[0]", "[1]", "a b"])
def test_conditions_name_literal_keys_as_they_are(
    workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv, tmp_path: Path, key: str
) -> None:
    """Whatever they look like, of entities and of interactions; a blank value of an interaction exists."""
    movies = [(f"m{at}", "movie", "", json.dumps({key: at, "a": {"c": at}})) for at in range(4)]
    seen = [("saw", "u1", f"m{at}", "", json.dumps({key: at} if at else {key: ""})) for at in range(4)]
    workspace.import_files([entities_csv(("u1", "user"), *movies), interactions_csv(*seen)])
    field = f"metadata.{key}"

    young, _ = kept(
        workspace, tmp_path / "1", entities=[{"field": field, "op": "gte", "value": 2, "for_type": "movie"}]
    )
    _, edges = kept(workspace, tmp_path / "2", interactions=[{"field": field, "op": "in", "value": [1, 3]}])
    _, exist = kept(workspace, tmp_path / "3", interactions=[{"field": field, "op": "exists"}])

    assert {"u1", "m2", "m3"} == young
    assert {("saw", "u1", "m1"), ("saw", "u1", "m3")} == edges
    assert 4 == len(exist)


def test_conditions_compare_what_was_uploaded_whatever_a_training_makes_of_it(
    workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv, tmp_path: Path
) -> None:
    """A price is the text that it is, and so is each spelling."""
    about = [{"price": f"${at},50", "by": "ANN" if at % 2 else "Ann"} for at in range(6)]
    movies = [(f"m{at}", "movie", "", json.dumps(one)) for at, one in enumerate(about)]
    workspace.import_files(
        [entities_csv(("u1", "user"), *movies), interactions_csv(*(("saw", "u1", m) for m, *_ in movies))]
    )

    def found(name: str, op: str, value: str) -> set[str]:
        condition = {"field": f"metadata.{name}", "op": op, "value": value, "for_type": "movie"}
        return kept(workspace, tmp_path / f"{name}{op}", entities=[condition])[0] - {"u1"}

    assert {"m3"} == found("price", "eq", "$3,50")
    assert {"m1", "m3", "m5"} == found("by", "eq", "ANN")
    assert {"m0", "m2", "m4"} == found("by", "contains", "nn")
    with pytest.raises(InvalidRequest, match="holds texts"):
        found("price", "gt", 3)  # type: ignore[arg-type]
