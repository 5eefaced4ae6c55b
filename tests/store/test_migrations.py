"""Migrations of the catalog: from whatever release, to the same tables, whole or not at all."""

import subprocess
import sys
import tarfile
from pathlib import Path

import duckdb
import pytest

from lucid.errors import Unavailable
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.store.tables.database import Database
from lucid.store.tables.migrations import MIGRATIONS, Migration, is_current, migrate

FIXTURES = Path(__file__).parent.parent / "fixtures"
NEXT = Migration(
    MIGRATIONS[-1].number + 1, "a column that the next release needs", "ALTER TABLE batches ADD COLUMN n INT"
)
BROKEN = Migration(
    NEXT.number + 1, "one that fails after it has begun", "CREATE TABLE half (a INT); SELECT * FROM nowhere"
)

DIES = """
import os, sys
import duckdb
from lucid.store.tables.migrations import MIGRATIONS, Migration, migrate

connection = duckdb.connect(sys.argv[1])
connection.create_function("die", lambda: os._exit(9), [], "INTEGER")
migrate(connection, (*MIGRATIONS, Migration(99, "dies", "CREATE TABLE half (a INT); SELECT die()")))
"""


def tables(path: Path) -> list[tuple[str, str, str]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_name <> 'migrations' ORDER BY ALL"
        ).fetchall()


def recorded(path: Path) -> list[int]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM migrations ORDER BY 1").fetchall()]


def test_a_new_catalog_has_every_migration_on_record(tmp_path: Path) -> None:
    """Each once, in the order of their numbers, which have no gap."""
    Catalog(tmp_path)

    assert [migration.number for migration in MIGRATIONS] == recorded(Home(tmp_path).catalog)
    assert list(range(1, len(MIGRATIONS) + 1)) == [migration.number for migration in MIGRATIONS]


@pytest.mark.parametrize("release", sorted(path.name for path in FIXTURES.glob("home-*.tar.xz")))
def test_a_catalog_of_an_earlier_release_gets_the_tables_of_a_new_one(release: str, tmp_path: Path) -> None:
    """With all that stands in it, and is brought to the next migration as a new one would be."""
    with tarfile.open(FIXTURES / release) as archive:
        archive.extractall(tmp_path, filter="data")
    Catalog(tmp_path / "new")
    old, new = (Home(tmp_path / home).catalog for home in ("home", "new"))
    before = [batch.batch_id for batch in Catalog(tmp_path / "home").batches.find()]
    for path in (old, new):
        with duckdb.connect(str(path)) as connection:
            migrate(connection, (*MIGRATIONS, NEXT))

    assert tables(new) == tables(old)
    assert recorded(new) == recorded(old)
    assert before
    assert before == [
        batch_id for (batch_id,) in duckdb.connect(str(old)).execute("SELECT batch_id FROM batches").fetchall()
    ]


@pytest.mark.parametrize("release", sorted(path.name for path in FIXTURES.glob("home-*.tar.xz")))
def test_a_catalog_that_has_all_tables_is_only_read(release: str, tmp_path: Path) -> None:
    """Opening one that is current, made anew or once brought there, leaves every byte as it is."""
    with tarfile.open(FIXTURES / release) as archive:
        archive.extractall(tmp_path, filter="data")
    for home in ("home", "new"):
        Catalog(tmp_path / home)
    for path in (Home(tmp_path / home).catalog for home in ("home", "new")):
        before, written = path.read_bytes(), path.stat().st_mtime_ns
        Database._ready.discard(path)

        Catalog(path.parent)

        assert (before, written) == (path.read_bytes(), path.stat().st_mtime_ns)


def test_a_catalog_without_last_columns_is_completed(tmp_path: Path) -> None:
    """One that stems from before they were there, and knows nothing of migrations."""
    path = Home(tmp_path).catalog
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE api_keys (key_id VARCHAR, name VARCHAR, hash VARCHAR, scopes VARCHAR[], created TIMESTAMPTZ)"
        )
        connection.execute("INSERT INTO api_keys VALUES ('k', 'shop', 'h', ['train'], now())")

    (key,) = Catalog(tmp_path).keys.all()

    assert ("k", None) == (key.key_id, key.last_used)
    assert [migration.number for migration in MIGRATIONS] == recorded(path)


def test_a_catalog_that_another_process_has_migrated_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    """Both saw that it was old and waited for each other; each migration, and its record, is made once."""
    Catalog(tmp_path)
    path, found = Home(tmp_path).catalog, []
    for _process in range(2):
        with duckdb.connect(str(path)) as connection:
            migrate(connection, (*MIGRATIONS, NEXT))
            found.append(connection.execute("SELECT number, applied FROM migrations ORDER BY ALL").fetchall())

    assert found[0] == found[1]
    assert [*range(1, NEXT.number + 1)] == recorded(path)


def test_a_migration_that_fails_leaves_neither_its_change_nor_its_record(tmp_path: Path) -> None:
    """Those before it stay, and the next try begins with the one that failed."""
    Catalog(tmp_path)
    path = Home(tmp_path).catalog
    with duckdb.connect(str(path)) as connection, pytest.raises(duckdb.CatalogException):
        migrate(connection, (*MIGRATIONS, NEXT, BROKEN))

    assert "half" not in {table for table, _, _ in tables(path)}
    assert NEXT.number == recorded(path)[-1]


def test_a_process_that_is_killed_within_a_migration_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    """Whoever opens it next finds the tables of before, and can go on."""
    Catalog(tmp_path)
    path = Home(tmp_path).catalog
    before = tables(path)

    killed = subprocess.run([sys.executable, "-c", DIES, str(path)], check=False)

    Database._ready.discard(path)
    assert 9 == killed.returncode
    assert [] == Catalog(tmp_path).batches.find()
    assert before == tables(path)
    assert 99 not in recorded(path)


def test_a_catalog_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """With what it is and what to do, and it stays as it is."""
    Catalog(tmp_path)
    path = Home(tmp_path).catalog
    with duckdb.connect(str(path)) as connection:
        migrate(connection, (*MIGRATIONS, NEXT))
        assert is_current(connection, (*MIGRATIONS, NEXT))
    before = path.read_bytes()
    Database._ready.discard(path)

    with pytest.raises(Unavailable, match=r"a later release of Lucid.*use that release or a newer one"):
        Catalog(tmp_path)

    assert before == path.read_bytes()
