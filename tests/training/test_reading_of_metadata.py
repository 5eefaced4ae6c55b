"""How a training has read metadata stays with its version: later uploads, refreshes and erasures go by it."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lucid.data.metadata import Reading
from lucid.data.numbers import NumberForm
from lucid.errors import UnknownSource
from lucid.schema.fields import utc_now
from lucid.training.report import read_report
from lucid.training.report_page import as_markdown
from lucid.training.steps import refresh
from lucid.versions.config import read_origin
from lucid.versions.files import ORIGIN
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

BOOKS = 60
MISFITS = ("ask", "n/a", "-")


def metadata(number: int) -> dict[str, Any]:
    """Cheap books are by Ann and liked by even users, dear ones are by Bob and liked by odd ones."""
    cheap = number % 2 == 0
    about = {
        "price": f"${5 + number % 7 if cheap else 1000 + 7 * number:,}.99",
        "out": f"{1 + number % 28:02}.0{1 + number % 9}.{1990 + number % 30}",
        "author": (["Ann Lee", "Ann Lee", "ANN LEE"] if cheap else ["Bob &amp; Co", "Bob & Co", "Bob & Co"])[
            number % 3
        ],
        "shelf.no": "left" if cheap else "right",
        "aisle[0]": ["x" if cheap else "y"],
    }
    return about | ({"price": MISFITS[number % 3]} if number % 20 == 19 else {})


@pytest.fixture
def shop(workspace: Workspace, entities_csv: WriteCsv, interactions_csv: WriteCsv) -> Workspace:
    books = [(f"b{at:02}", "book", "", json.dumps(metadata(at))) for at in range(BOOKS)]
    users = [(f"u{at:02}", "user") for at in range(30)]
    likes = [
        ("likes", f"u{user:02}", f"b{book:02}")
        for user in range(30)
        for book in range(user % 2, BOOKS, 2)
        if (user * 7 + book * 3) % 5 < 2
    ]
    workspace.import_files([entities_csv(*users, *books), interactions_csv(*likes)])
    workspace.train("shop")
    return workspace


def live(shop: Workspace) -> Version:
    return ModelVersions(shop.settings.home, "shop").live()


def test_the_report_shows_form_share_misfits_and_merges_of_each_key(shop: Workspace) -> None:
    """As JSON with examples; the page, which erasure does not reach, without."""
    keys = {key["key"]: key for key in shop.report("shop")["keys"]}
    page = as_markdown(read_report(live(shop).folder))

    assert ("number", "number with thousands 1,234 in $", 0.95) == tuple(
        keys["price"][name] for name in ("use", "form", "fitting")
    )
    assert sorted(MISFITS) == sorted(keys["price"]["misfits"])
    assert ("number", "date, day.month.year", 1.0) == tuple(keys["out"][name] for name in ("use", "form", "fitting"))
    assert (2, [["ANN LEE", "Ann Lee"], ["Bob &amp; Co", "Bob & Co"]]) == (
        keys["author"]["merged"],
        keys["author"]["merges"],
    )
    assert ("entity", "", None, 0) == tuple(keys["shelf.no"][name] for name in ("use", "form", "fitting", "merged"))
    assert "95.0%" in page
    assert not any(text in page for text in ("ANN LEE", " ask ", "n/a"))


def test_the_graph_has_one_entity_for_all_spellings_and_none_for_misfits(shop: Workspace) -> None:
    """And a type for each key, whatever it looks like."""
    rows = duckdb.execute(f"SELECT id FROM '{live(shop).folder}/entities.parquet'").fetchall()
    ids = {name for (name,) in rows}

    assert {"author:Ann Lee", "author:Bob & Co", "shelf.no:left", "shelf.no:right", "aisle[0]:x", "aisle[0]:y"} == {
        name for name in ids if name.startswith(("author:", "shelf", "aisle"))
    }
    assert not any(misfit in name for name in ids for misfit in MISFITS[:2])
    assert any(name.startswith("price:$1,") for name in ids)


@pytest.mark.parametrize(
    "about",
    [{"price": "$6.99"}, {"price": "USD 6", "author": "ann  lee"}, {"shelf.no": "left"}, {"aisle[0]": "x"}],
    ids=str,
)
def test_an_entity_that_comes_later_is_read_as_the_training_read(
    shop: Workspace, entities_csv: WriteCsv, about: dict[str, str]
) -> None:
    """A cheap book is recommended to those who like such, by each of its values alone."""
    shop.import_files([entities_csv(("new", "book", "", json.dumps(about)), name="more.csv")])

    found = shop.recommend("shop", source_id="new", target_type="user", max_recommendations=5)

    assert {0} == {int(user[1:]) % 2 for user in found["target_id"]}
    assert {"folded-in"} == set(found["served_by"])


@pytest.mark.parametrize("about", [{"price": "6.99 g"}, {"shelf": {"no": "left"}}, {"out": "2021-05-03"}], ids=str)
def test_what_the_training_would_not_have_read_tells_nothing(
    shop: Workspace, entities_csv: WriteCsv, about: dict[str, Any]
) -> None:
    """Another unit, another path, another form of dates."""
    shop.import_files([entities_csv(("new", "book", "", json.dumps(about)), name="more.csv")])

    assert {"popular"} == set(shop.recommend("shop", source_id="new", target_type="user")["served_by"])


def test_a_version_without_a_reading_reads_as_its_release_did(shop: Workspace, entities_csv: WriteCsv) -> None:
    """Plain numbers and exact spellings lead somewhere, disguised ones nowhere."""
    path = live(shop).folder / ORIGIN
    origin = json.loads(path.read_text())
    assert origin["reading"]["forms"]["price"] == {"structure": "comma thousands", "unit": "$"}
    del origin["reading"]
    path.write_text(json.dumps(origin))
    live(shop).complete(None, utc_now())  # the manifest knows the file as it is
    assert read_origin(path.parent).reading is None

    served = {}
    for name, about in (
        ("plain", {"price": 6.5}),
        ("exact", {"author": "Ann Lee"}),
        ("currency", {"price": "$6.50"}),
        ("spelling", {"author": "ANN LEE"}),
    ):
        shop.import_files([entities_csv((name, "book", "", json.dumps(about)), name=f"{name}.csv")])
        served[name] = shop.recommend("shop", source_id=name, target_type="user")["served_by"][0]

    assert {"plain": "folded-in", "exact": "folded-in", "currency": "popular", "spelling": "popular"} == served


def test_a_refresh_keeps_the_reading(shop: Workspace, entities_csv: WriteCsv) -> None:
    """So what comes after it is read alike too."""
    reading = live(shop).origin.reading
    shop.import_files([entities_csv(("new", "book", "", '{"price": "$6.99"}'), name="more.csv")])
    before = live(shop).number
    refresh(shop.settings, "shop")

    assert reading is not None
    assert NumberForm("day.month.year") == reading.forms["out"]
    assert {"shelf.no": ["shelf.no"]} == reading.paths
    assert (True, reading) == (live(shop).number > before, live(shop).origin.reading)
    assert Reading.from_json(json.loads((live(shop).folder / ORIGIN).read_text())["reading"]) == reading


@pytest.mark.parametrize("asked", ["author:Ann Lee", "author:ANN LEE", "author:ann lee"])
def test_an_entity_that_metadata_made_is_erased_in_all_its_spellings(
    shop: Workspace, asked: str, tmp_path: Path
) -> None:
    """From batches, versions and reports, or it would be back with the next training."""
    assert 30 == shop.erase(asked).metadata_values

    with pytest.raises(UnknownSource):
        shop.recommend("shop", source_id="author:Ann Lee", target_type="user")
    shop.recommend("shop", source_id="author:Bob & Co", target_type="user")
    values = duckdb.execute(f"SELECT DISTINCT value FROM '{live(shop).folder}/values.parquet' WHERE key = 'author'")
    assert {("Bob & Co",), ("Bob &amp; Co",)} == set(values.fetchall())
    shop.train("shop")
    assert 2 == {key["key"]: key["distinct"] for key in shop.report("shop")["keys"]}["author"]
