"""A key is a name, whatever it looks like; only nesting makes a path of names."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.metadata import judge_keys, read_values
from lucid.store.duck import connect

KEYS = [
    "a.b",
    "$.x",
    "/a/b",
    'q"r',
    "it's",
    "a[0]",
    "[1]",
    "$",
    "*",
    "#",
    "a b",
    "é",
    "a\\b",
    "n\nl",
    "a:b",
    ".",
    "a..b",
]


def read(
    *documents: dict[str, Any], known: dict[str, list[str]] | None = None
) -> tuple[set[tuple[str, str, str]], Any]:
    """(entity, key, value) of everything in metadata, and what the flattening tells."""
    with connect(threads=1) as connection:
        connection.execute("CREATE TABLE entities (id VARCHAR, type VARCHAR, name VARCHAR, metadata VARCHAR)")
        for at, document in enumerate(documents):
            for ascii_only in (True, False):
                name = f"{at}{'a' if ascii_only else 'u'}"
                metadata = json.dumps(document, ensure_ascii=ascii_only)
                connection.execute("INSERT INTO entities VALUES (?, 'book', '', ?)", [name, metadata])
        flattened = read_values(connection, known)
        rows = connection.execute("SELECT id, key, value FROM metadata_values").fetchall()
        assert len(rows) == len(set(rows))
        found = {(name[:-1], key, value) for name, key, value in rows}
        assert {(f"{at}{ending}", key, value) for at, key, value in found for ending in "au"} == set(rows)
        return found, flattened


@pytest.mark.parametrize("key", KEYS)
def test_a_literal_key_is_its_own(key: str) -> None:
    """As a scalar, as a list and within an object, beside plain keys."""
    found, flattened = read({key: "v", "plain": "p"}, {key: ["x", ["y"]]}, {"in": {key: {"deep": 1}}, "l": [{key: 2}]})

    assert {
        ("0", key, "v"),
        ("0", "plain", "p"),
        ("1", key, "x"),
        ("1", key, "y"),
        ("2", f"in.{key}.deep", "1"),
        ("2", f"l.{key}", "2"),
    } == found
    assert {} == flattened.left_out


def test_a_literal_key_keeps_its_name_and_the_nested_one_is_left_out_and_told() -> None:
    """In whatever entities either stands."""
    found, flattened = read(
        {"a.b": "literal"}, {"a": {"b": "nested"}}, {"a": {"b": ["x", "y"], "c": "z"}, "a.b": "both"}
    )

    assert {("0", "a.b", "literal"), ("2", "a.b", "both"), ("2", "a.c", "z")} == found
    assert {"a.b": 6} == flattened.left_out  # each document is there twice
    assert {"a.b": ["a.b"]} == flattened.paths


def test_what_is_left_out_stands_in_the_report() -> None:
    """In the reason of the key."""
    with connect(threads=1) as connection:
        connection.execute("CREATE TABLE entities (id VARCHAR, type VARCHAR, name VARCHAR, metadata VARCHAR)")
        connection.execute("""INSERT INTO entities VALUES
            ('1', 'book', '', '{"a.b": "x"}'), ('2', 'book', '', '{"a": {"b": "y"}}')""")
        flattened = read_values(connection)
        (rule,), reading = judge_keys(connection, None, flattened)

    assert (
        "1 distinct among 1 values; 1 values of other objects that would have the same name are left out" == rule.reason
    )
    assert {"a.b": ["a.b"]} == reading.paths


def test_later_values_are_read_by_the_path_that_was_trained() -> None:
    """A nested value is none of a literal key, nor the other way about."""
    literal, nested = {"a.b": "literal"}, {"a": {"b": "nested"}}

    assert {("1", "a.b", "literal")} == read(nested, literal, known={"a.b": ["a.b"]})[0]
    assert set() == read(nested, known={"a.b": ["a.b"]})[0]
    assert {("0", "a.b", "nested")} == read(nested, literal, known={})[0]


NAMES = st.sampled_from(["a", "b", "a.b", "b[0]", '"', "\\", ".", "a.b.a", "[", "é.é", "u002e"])
SCALARS = st.sampled_from(["x", "a.b", '": ', "[0]", 1, True])
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    if isinstance(value, dict):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, (*path, name))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, path)]
    return [(path, str(value).lower() if isinstance(value, bool) else str(value).strip())]


@examples(deadline=None, max_examples=100)
@given(st.lists(st.dictionaries(NAMES, DOCUMENTS, max_size=3), max_size=4))
def test_flattening_agrees_with_a_naive_one(documents: list[dict[str, Any]]) -> None:
    """Of every name, the path of fewest levels has it, and no other one."""
    named: dict[str, set[tuple[str, ...]]] = {}
    for document in documents:
        for path, _ in leaves(document):
            named.setdefault(".".join(path), set()).add(path)
    expected = {
        (at, ".".join(path), value)
        for at, document in enumerate(documents)
        for path, value in leaves(document)
        if path == min(named[".".join(path)], key=lambda one: (len(one), one))
    }
    with connect(threads=1) as connection:
        connection.execute("CREATE TABLE entities (id INTEGER, type VARCHAR, name VARCHAR, metadata VARCHAR)")
        for at, document in enumerate(documents):
            connection.execute("INSERT INTO entities VALUES (?, 'book', '', ?)", [at, json.dumps(document)])
        read_values(connection)
        found = connection.execute("SELECT id, key, value FROM metadata_values").fetchall()

    assert expected == set(found)
