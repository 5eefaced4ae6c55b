"""Finding entities by what people type: all that a look through every name finds, and the likely ones first."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.test_entity_index import index_of

LETTERS = st.text(st.sampled_from("abAB \"\\'-<ü"), max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(LETTERS, min_size=1, max_size=30), LETTERS.filter(lambda text: text.strip() != ""), st.data())
def test_all_names_that_hold_a_text_are_found(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], text: str, data: st.DataObject
) -> None:
    """Among any neighbouring rows, whatever marks names have, and those that begin with the text first."""
    folder, wanted = tmp_path_factory.mktemp("index"), text.strip().lower()
    index = index_of(folder, [f"id {row}" for row in range(len(names))], [*names])
    start = data.draw(st.integers(0, len(names)))
    rows = range(start, data.draw(st.integers(start, len(names))))
    expected = [row for row in rows if wanted in names[row].lower()]
    first = [row for row in expected if names[row].lower().startswith(wanted)]

    found = index.find(text, rows, most=100)

    assert expected == sorted(found)
    assert first == found[: len(first)]


def test_likely_entities_come_first(tmp_path: Path) -> None:
    """A name that begins so, a word that does, any place in a name, an id that begins so; then by rows."""
    names: list[str | None] = ["A sea story", "Seaside", "Overseas", "", "The SEA", "Sea"]
    index = index_of(tmp_path, ["a", "b", "c", "sea-1", "e", "f"], names)

    assert [1, 5, 0, 4, 2, 3] == index.find("sea", range(6), most=10)
    assert [1, 5] == index.find("sea", range(6), most=2)
    assert [4, 2] == index.find("sea", range(2, 5), most=2)


def test_among_very_many_names_those_that_begin_so_are_found(tmp_path: Path) -> None:
    """However many others hold the text before them."""
    names: list[str | None] = [*["an example"] * 1000, "Example of examples"]
    index = index_of(tmp_path, [str(row) for row in range(1001)], names)

    assert 1000 == index.find("exa", range(1001), most=5)[0]


def test_an_erased_entity_is_not_found(tmp_path: Path) -> None:
    """Neither its id nor its name is there; nothing is found by nothing."""
    index = index_of(tmp_path, [None, "b"], [None, "Bo"])

    assert [1] == index.find("b", range(2), most=5)
    assert [] == index.find("null", range(2), most=5)
    assert [] == index.find("  ", range(2), most=5)


@pytest.mark.parametrize("typed", ['"', "n", "00", "u0", "\\n"])
def test_what_is_typed_is_not_found_within_an_escape(tmp_path: Path, typed: str) -> None:
    """Texts stand there as JSON, in which a mark may take several letters."""
    index = index_of(tmp_path, ["a", "b", "c"], ["\\", "\n", "\x01"])

    assert [] == index.find(typed, range(3), most=10)
