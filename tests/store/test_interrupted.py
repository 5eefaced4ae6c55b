"""A change of the catalog that breaks off, as by a signal: nothing of it is done, and the same process goes on."""

from pathlib import Path

import duckdb
import pytest

from lucid.data.batches import new_batches
from lucid.store.catalog import Catalog
from lucid.store.tables.database import Connection


class Ended(BaseException):
    """What a process raises that is told to end."""


def end(_connection: Connection) -> None:
    raise Ended


def spoil_the_commit(connection: Connection) -> None:
    connection.execute("ROLLBACK")


@pytest.mark.parametrize("break_off", [end, spoil_the_commit])
def test_a_change_that_breaks_off_leaves_the_catalog_usable(tmp_path: Path, break_off: object) -> None:
    """Also while something still names the DuckDB that was at work, as an error does that is being handled."""
    catalog, held = Catalog(tmp_path), list[object]()
    catalog.batches.enter(new_batches(["kept.csv"], []))

    def change() -> None:
        with catalog._database.transaction() as connection:
            held.append(connection.cursor())
            connection.execute("INSERT INTO batches (batch_id) VALUES ('lost')")
            break_off(connection)  # type: ignore[operator]

    with pytest.raises((Ended, duckdb.TransactionException)):
        change()

    assert ["kept.csv"] == [batch.file_name for batch in catalog.batches.find()]
    catalog.batches.enter(new_batches(["later.csv"], []))
    assert 2 == len(catalog.batches.find())
