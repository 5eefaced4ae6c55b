"""Batches in the catalog: what a file's loading told of it is kept, and forgotten where it names the erased."""

from pathlib import Path

from lucid.data.batches import new_batches
from lucid.schema.batches import LoadedFile
from lucid.store.catalog import Catalog
from lucid.store.tables.database import MAX_MESSAGE


def test_warnings_of_a_batch_are_kept_and_shown(tmp_path: Path) -> None:
    """In their order, each at most as long as any message; a batch without has none."""
    catalog = Catalog(tmp_path)
    warned, fine = new_batches(["a.csv", "b.csv"], [])
    catalog.batches.enter([warned, fine])

    loaded = LoadedFile("entities", 1, 0, [], ["odd", "w" * 2 * MAX_MESSAGE])
    catalog.batches.complete([(warned.batch_id, loaded), (fine.batch_id, LoadedFile("entities", 1, 0, []))])

    assert [["odd", "w" * (MAX_MESSAGE - 1) + "…"], []] == [batch.warnings for batch in catalog.batches.find()]


def test_a_warning_that_names_the_erased_tells_nothing_more(tmp_path: Path) -> None:
    """Others stay as they are."""
    catalog = Catalog(tmp_path)
    (batch,) = new_batches(["a.csv"], [])
    catalog.batches.enter([batch])
    catalog.batches.complete([(batch.batch_id, LoadedFile("entities", 1, 0, [], ["u1 was a user", "u12 was a user"]))])

    catalog.blank(lambda text: "u1 " in text)

    assert ["erased", "u12 was a user"] == catalog.batches.find()[0].warnings
