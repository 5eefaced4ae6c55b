"""Names that nothing has: wherever a name is given, a wrong one is refused and the nearest one is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucid.data.known import check_names
from lucid.data.names import Names, check_conditions, read_keys
from lucid.errors import InvalidRequest, LucidError, UnknownModel, UnknownType
from lucid.schema.fields import check
from lucid.schema.filters import Condition
from lucid.schema.names import nearest
from lucid.schema.training import TrainingRequest
from lucid.workspace import Workspace

MOVIES = 12
TYPES = {"entity": ["movie", "user"], "interaction": ["rated", "watched"]}


def write_shop(folder: Path) -> list[Path]:
    """Movies with a number, a text and a boolean, and users who watched or rated them with stars."""
    entities, interactions = ["id,type,name,metadata,media_url"], ["type,source_id,target_id,timestamp,metadata"]
    for number in range(MOVIES):
        about = {"in_stock": number % 2 == 0, "year": 1985 + number, "genre": ["Drama", "Crime"][number % 2]}
        about |= {"code": f"{number}"} if number else {"code": "none"}
        entities.append(f'{number},movie,Film {number},"{json.dumps(about).replace(chr(34), chr(34) * 2)}",')
        entities.append(f"u{number},user,,,")
        interactions += [
            f'{TYPES["interaction"][other % 2]},u{number},{other},,"{{""stars"": {other % 5}}}"'
            for other in range(MOVIES)
            if (number + other) % 3
        ]
    files = folder / "entities.csv", folder / "interactions.csv"
    for file, lines in zip(files, (entities, interactions), strict=True):
        file.write_text("\n".join([*lines, ""]))
    return list(files)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("shop")
    workspace = Workspace(folder / "home")
    workspace.import_files(write_shop(folder), tags=["2026", "shop"])
    workspace.train("shop")
    return workspace


def condition(field: str, op: str = "exists", **more: Any) -> dict[str, Any]:
    return {"field": field, "op": op, **more}


def asking(**filters: Any) -> dict[str, Any]:
    return {"source_id": "u1", "target_type": "movie", **filters}


TRAINING: dict[str, tuple[dict[str, Any], str]] = {
    "tag": ({"data_tags": ["2026", "shopp"]}, "shop"),
    "number as a tag": ({"data_tags": ["2025"]}, "2026"),
    "key of an entity": ({"data_filters": {"entities": [condition("metadata.instock", "ne", value=True)]}}, "in_stock"),
    "key that has to exist": ({"data_filters": {"entities": [condition("metadata.In_Stock")]}}, "in_stock"),
    "type of entities": ({"data_filters": {"entities": [condition("type", "eq", value="Movie")]}}, "movie"),
    "types of entities": (
        {"data_filters": {"entities": [condition("type", "not_in", value=["user", "movies"])]}},
        "movie",
    ),
    "for_type": ({"data_filters": {"entities": [condition("name", for_type="Movie")]}}, "movie"),
    "key of an interaction": ({"data_filters": {"interactions": [condition("metadata.star", "gt", value=2)]}}, "stars"),
    "type of interactions": ({"data_filters": {"interactions": [condition("type", "ne", value="watch")]}}, "watched"),
    "type of sources": ({"data_filters": {"interactions": [condition("source_type", "eq", value="User")]}}, "user"),
    "type of targets": (
        {"data_filters": {"interactions": [condition("target_type", "in", value=["films", "movie"])]}},
        "",
    ),
    "for_type of interactions": (
        {"data_filters": {"interactions": [condition("timestamp", for_type="Watched")]}},
        "watched",
    ),
    "field of interactions": ({"data_filters": {"interactions": [condition("id")]}}, "source_id"),
    "field": ({"data_filters": {"entities": [condition("nmae")]}}, "name"),
    "rule": ({"metadata_rules": {"gerne": "ignored"}}, "genre"),
    "use": ({"metadata_rules": {"genre": "ignore"}}, "ignored"),
    "pair's source": ({"precompute": [{"source_type": "users", "target_type": "movie"}]}, "user"),
    "pair's target": ({"precompute": [{"source_type": "user", "target_type": "Genre"}]}, "genre"),
    "parameter": ({"data_tag": ["2026"]}, "data_tags"),
    "parameter of a pair": ({"precompute": [{"source_typ": "user", "target_type": "movie"}]}, "source_type"),
    "parameter of a condition": ({"data_filters": {"entities": [condition("name", fortype="movie")]}}, "for_type"),
}

QUESTION: dict[str, tuple[dict[str, Any], str]] = {
    "source_type": ({"source_type": "User", "target_type": "movie"}, "user"),
    "target_type": ({"source_id": "u1", "target_type": ["movie", "genres"]}, "genre"),
    "key": (asking(target_filter=[condition("metadata.instock", "ne", value=True)]), "in_stock"),
    "key in other letters": (asking(target_filter=[condition("metadata.GENRE", "eq", value="Drama")]), "genre"),
    "for_type": (asking(target_filter=[condition("metadata.year", "gt", value=1, for_type="Movie")]), "movie"),
    "type": (asking(target_filter=[condition("type", "in", value=["movie", "moive"])]), "movie"),
    "field": (asking(target_filter=[condition("nam")]), "name"),
    "use": ({"source_id": "u1", "use": "simular"}, "similar"),
}


def refused(call: Callable[[], object]) -> str:
    with pytest.raises((InvalidRequest, UnknownType)) as caught:
        call()
    return caught.value.message


@pytest.mark.parametrize(("asked", "meant"), TRAINING.values(), ids=TRAINING)
def test_a_training_that_names_what_nothing_has_is_refused_before_it_is_entered(
    shop: Workspace, asked: dict[str, Any], meant: str
) -> None:
    """Tags, keys, types, fields, uses and parameters, each with the name that was meant; no model comes of it."""
    told = refused(lambda: check_names(shop.settings.home, check(TrainingRequest, {"model_id": "wrong", **asked})))

    assert f"did you mean '{meant}'" in told if meant else "known: " in told
    if not asked.keys() & {"data_tag"}:
        assert told == refused(lambda: shop.train("wrong", **asked))
    with pytest.raises(UnknownModel):
        shop.status("wrong")


@pytest.mark.parametrize(("asked", "meant"), QUESTION.values(), ids=QUESTION)
def test_a_question_that_names_what_its_version_does_not_have_is_refused(
    shop: Workspace, asked: dict[str, Any], meant: str
) -> None:
    """Instead of an answer that looks as if it were filtered."""
    told = refused(lambda: shop.recommend("shop", **asked))

    assert f"did you mean '{meant}'" in told


def test_the_training_itself_refuses_what_could_not_be_looked_up_before(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the data are too many, the same error ends the training at its first step."""
    monkeypatch.setattr("lucid.data.known.MAX_ROWS", 1)
    late = {name: asked for name, (asked, _) in TRAINING.items() if asked.keys() & {"metadata_rules", "precompute"}}
    late |= {name: asked for name, (asked, _) in TRAINING.items() if "key of" in name or "type of" in name}

    for name, asked in late.items():
        try:
            check(TrainingRequest, asked)
        except InvalidRequest:
            continue  # what is wrong by itself
        model = f"late-{sorted(late).index(name)}"
        told = refused(lambda model=model, asked=asked: shop.train(model, **asked))  # type: ignore[misc]
        assert ("error", told) == (shop.status(model).status, shop.status(model).message), name


def found(shop: Workspace, *conditions: dict[str, Any]) -> set[int]:
    table = shop.recommend(
        "shop",
        source_id="u0",
        target_type="movie",
        target_filter=list(conditions),
        exclude_interacted=False,
        exclude_disliked=False,
    )
    return {int(target) for target in table["target_id"]}


WRONG_VALUES = [
    (condition("metadata.year", "gte", value="1990"), "write 1990, without quotes"),
    (condition("metadata.year", "eq", value="1990"), "write 1990, without quotes"),
    (condition("metadata.year", "in", value=[1990, "1991"]), "write 1991, without quotes"),
    (condition("metadata.year", "eq", value="old"), 'holds numbers; found the text "old"'),
    (condition("metadata.year", "eq", value=True), "found true, which it never is"),
    (condition("metadata.year", "contains", value="19"), "contains looks into texts"),
    (condition("metadata.genre", "eq", value=5), 'holds texts such as "Crime"; found the number 5'),
    (condition("metadata.genre", "ne", value=True), "found true, which it never is"),
    (condition("metadata.in_stock", "eq", value="yes"), 'holds true and false; found the text "yes"'),
    (condition("metadata.in_stock", "eq", value=1), "holds true and false; found the number 1"),
    (condition("metadata.code", "gt", value="9"), "write 9, without quotes"),
    (condition("type", "eq", value=5), "holds texts"),
    (condition("id", "eq", value=True), "'id' holds texts"),
    (condition("id", "eq", value=1.5), "'id' holds texts"),
    (condition("name", "eq", value=5), 'write "5"'),
    (condition("name", "eq", value={}), "found an object, expected a text"),
    (condition("name", "in", value=["a", None]), "found null, expected a text"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG_VALUES, ids=str)
def test_a_value_of_a_kind_that_the_key_never_holds_is_refused(
    shop: Workspace, wrong: dict[str, Any], told: str
) -> None:
    """Of questions and of trainings: nothing would be equal to it, or all would be compared letter by letter."""
    assert told in refused(lambda: found(shop, wrong))
    assert told in refused(lambda: shop.train("wrong", data_filters={"entities": [wrong]}))


def test_numbers_compare_as_numbers(shop: Workspace) -> None:
    """10 is more than 9, also where files hold numbers as texts, and other texts beside them; ids may be numbers."""
    assert set(range(10, MOVIES)) == found(shop, condition("metadata.code", "gt", value=9))
    assert {5} == found(shop, condition("metadata.code", "eq", value=5.0))
    assert {5} == found(shop, condition("metadata.code", "eq", value="5"))
    assert {0} == found(shop, condition("metadata.code", "eq", value="none"))
    assert {10, 11} == found(shop, condition("metadata.year", "gte", value=1995))
    assert {0, 2, 4, 6, 8, 10} == found(shop, condition("metadata.in_stock", "eq", value=True))
    assert {7} == found(shop, condition("id", "eq", value=7))
    assert {1, 2} == found(shop, condition("id", "in", value=[1, "2"]))
    assert {10, 11} == found(shop, condition("id", "gt", value=9))


@pytest.fixture(scope="module")
def names() -> Names:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE held AS FROM (VALUES ('plain', 'a'), ('n', '1'), ('m', '-'), ('m', '2'), ('zip', '01234'), "
            "('odd', 'nan'), ('odd', 'inf'), ('b', 'true')) held(key, value)"
        )
        keys = read_keys(connection, "held")
    return Names("entity", keys, {"type": ["movie", "Movie", "Ünï", "a.b", ""]})


NAMES = st.one_of(st.text(max_size=20), st.sampled_from(["plain", "n", "m", "zip", "odd", "b", "Plain", "N", "movie"]))


@given(key=NAMES, for_type=NAMES.filter(bool), op=st.sampled_from(["exists", "contains", "eq", "gt", "not_in"]),
       value=st.one_of(st.text(max_size=5), st.integers(-9, 9), st.booleans()))  # fmt: skip
def test_whatever_is_named_it_is_known_or_refused(
    names: Names, key: str, for_type: str, op: str, value: str | int | bool
) -> None:
    """For any key, type, op and value: a name that passes is one that the data have, and no other error comes."""
    fitting: dict[str, Any] = {"exists": None, "contains": "x", "not_in": [value]}
    made = Condition(field=f"metadata.{key}", op=op, value=fitting.get(op, value), for_type=for_type)
    told = ""
    try:
        check_conditions([made], names, "target_filter")
    except LucidError as error:
        told = error.message

    assert told.startswith("target_filter.0.") or (key in names.keys and for_type in names.types["type"])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.data())
def test_the_nearest_name_of_a_known_one_is_itself(known: list[str], data: st.DataObject) -> None:
    """Or one that differs only in what does not count; no name at all is no error."""
    name = data.draw(st.sampled_from(known))

    like = nearest(name, known)

    assert like in known
    assert nearest(name, []) is None


def test_numbers_in_other_clothes_are_texts(names: Names) -> None:
    """Codes that begin with a zero and words that only a computer takes for numbers."""
    assert (0, 1) == (names.keys["zip"].numbers, names.keys["zip"].texts)
    assert (0, 2) == (names.keys["odd"].numbers, names.keys["odd"].texts)
    check_conditions([Condition(field="metadata.zip", op="eq", value="01234")], names, "target_filter")
    check_conditions([Condition(field="metadata.odd", op="eq", value="nan")], names, "target_filter")
