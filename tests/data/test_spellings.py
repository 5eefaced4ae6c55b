"""Spellings of one value are one entity; what differs in more than spelling, and every id, stays apart."""

import html
import json
import string
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lucid.data.selection import Selection, select
from lucid.data.spellings import fold, folded, telling_part, unescape
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

LETTERS = string.ascii_letters + string.digits + " .-_&;#" + "äöüÄÖÜéÉßñøŁłİıΣσςЖж\u0301\u00a0\u2003"


@pytest.fixture
def books(workspace: Workspace, tmp_path: Path, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> "Books":
    return Books(workspace, tmp_path, entities_csv, interactions_csv)


class Books:
    """Selects books whose metadata, and authors whose ids and names, a test gives."""

    def __init__(self, workspace: Workspace, folder: Path, entities: WriteCsv, interactions: WriteCsv) -> None:
        self.workspace, self.folder, self.entities, self.interactions = workspace, folder, entities, interactions

    def select(self, values: list[str], *authors: tuple[str, str], key: str = "author") -> Selection:
        books = [(f"b{at:03}", "book", "", json.dumps({key: value})) for at, value in enumerate(values)]
        made = [(author, key, name) for author, name in authors]
        files = [self.entities(("u1", "user"), *books, *made), self.interactions(("read", "u1", "b000"))]
        self.workspace.import_files(files)
        home = self.workspace.settings.home
        batches = Catalog(home).batches.select(None)
        return select(home, batches, self.folder / "selection", started=datetime(2026, 1, 1, tzinfo=UTC))

    def linked(self, values: list[str], *authors: tuple[str, str]) -> dict[str, str]:
        """The entity that each value leads to."""
        folder = self.select(values, *authors).folder
        rows = duckdb.execute(
            "SELECT s.id, t.id FROM read_parquet($links) JOIN read_parquet($entities) s ON s.row = source_row "
            "JOIN read_parquet($entities) t ON t.row = target_row",
            {name: str(folder / f"{name}.parquet") for name in ("links", "entities")},
        ).fetchall()
        return {values[int(book[1:])]: author for book, author in rows}


SAME = [
    ["John Saul", "JOHN SAUL", "john saul", "John  Saul", "John\u00a0Saul"],
    ["Smith & Co", "Smith &amp; Co", "SMITH &AMP; CO", "smith &#38; co", "Smith  &amp;  Co"],
    ["O'Neil", "O&#39;Neil", "O&apos;NEIL"],
    ["Émile", "E\u0301mile", "&Eacute;mile", "ÉMILE", "émile"],
    ["ЖУК", "жук"],
]


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0])
def test_all_spellings_of_a_value_are_one_entity_called_as_most_spell_it(books: Books, spellings: list[str]) -> None:
    """Whichever is the most frequent one."""
    for number, most in enumerate(spellings):
        books.folder = books.folder / str(number)
        values = [*spellings, most, *["Other"] * 20]
        assert {f"author:{most}"} == {books.linked(values)[one] for one in spellings}


def test_what_differs_in_more_stays_apart(books: Books) -> None:
    """Accents, punctuation and blanks within words are no matter of spelling; neither is escaping what was escaped."""
    values = ["Jose", "José", "J. Saul", "J Saul", "JSaul", "A&amp;amp;B", "A&B", "R&D", "R & D"]

    assert {value: f"author:{value}" for value in values} == books.linked(values)


def test_a_value_that_is_spelt_alone_is_as_it_was(books: Books) -> None:
    """Nothing merges, so nothing changes its name, whatever HTML or letters are in it."""
    values = ["SMITH &AMP; CO", "JOHN", "a\u00a0b"] * 9

    assert {value: f"author:{value}" for value in values} == books.linked(values)
    assert [0] == [rule.merged for rule in books.select(values).keys]


def test_uploaded_entities_are_linked_by_id_then_name_then_spelling(books: Books) -> None:
    """Ids are never folded; of names, the exact one comes first."""
    authors = (("a1", "Ann Lee"), ("a2", "ANN LEE"), ("Bo", "x"), ("a4", "Smith & Co"))

    found = books.linked(["Ann Lee", "ANN LEE", "ann lee", "Bo", "BO", "bo", "bo", "SMITH &amp; CO"], *authors)

    assert {
        "Ann Lee": "a1",
        "ANN LEE": "a2",
        "ann lee": "a1",
        "Bo": "Bo",
        "BO": "author:bo",
        "bo": "author:bo",
        "SMITH &amp; CO": "a4",
    } == found


def test_the_report_tells_what_was_merged(books: Books) -> None:
    """How many spellings count as another one, the most frequent first."""
    (rule,) = books.select(["John"] * 5 + ["JOHN"] * 2 + ["john"] + ["Ann", "ANN", "Ann"] + ["Bo"]).keys

    assert 3 == rule.merged
    assert [["JOHN", "John"], ["ANN", "Ann"], ["john", "John"]] == rule.merges


def test_a_key_is_no_identifier_because_its_values_are_spelt_differently(books: Books) -> None:
    """Two spellings of each author make all values differ; the authors do not."""
    values = [spelling for at in range(30) for spelling in (f"Author {'x' * at}", f"AUTHOR {'X' * at}")]

    assert ["entity"] == [rule.use for rule in books.select(values).keys]
    assert ["identifier"] == [rule.use for rule in books.select([f"Author {at}x" for at in range(60)]).keys]


def test_words_are_read_without_html(books: Books) -> None:
    """`&quot;` and `&eacute;` are no words but what they stand for."""
    plots = [f"The &quot;caf&eacute;&quot; {'x' * at}" + " and so on" * 6 for at in range(3)] + ["No text " * 9] * 90
    folder = books.select(plots, key="plot").folder

    words = {word for (word,) in duckdb.execute(f"SELECT word FROM '{folder}/known_words.parquet'").fetchall()}

    assert {"café", "the", "and"} <= words
    assert not words & {"quot", "eacute", "caf"}


@examples(deadline=None, max_examples=300)
@given(st.text(LETTERS, max_size=20))
def test_python_and_sql_fold_alike(text: str) -> None:
    """Erasure finds in Python what a training has merged in SQL, and no spelling lacks what is quickly looked for."""
    with duckdb.connect() as connection:
        unescape(connection, "unescaped", "SELECT $text", {"text": text})
        row = connection.execute(
            f"SELECT {folded('text')} FROM (SELECT coalesce(text, $text) AS text "
            "FROM (SELECT $text AS given) LEFT JOIN unescaped ON escaped = given)",
            {"text": text},
        ).fetchone()

    assert (fold(text),) == row
    for spelling in (text.upper(), text.lower(), unicodedata.normalize("NFD", text)):
        if fold(spelling) == fold(text) and html.unescape(spelling) == spelling:
            assert telling_part(text) in spelling.lower()
