"""Numbered migrations of the catalog, each in one transaction with its record.

A change of tables is a new migration at the end of the list; one that was released is never changed. So a catalog of
any earlier release is brought to today's tables, step by step, and one of a later release is refused.
"""

from dataclasses import dataclass

import duckdb

from lucid.errors import Unavailable


@dataclass(frozen=True)
class Migration:
    """What changes the tables, in SQL, and a word on why."""

    number: int
    reason: str
    sql: str


MIGRATIONS = (
    Migration(
        1,
        "the tables of release 0.1, whatever a catalog had of them before migrations were numbered",
        """
        CREATE TABLE IF NOT EXISTS batches (
            seq BIGINT, batch_id VARCHAR, created TIMESTAMPTZ, tags VARCHAR[], kind VARCHAR,
            entity_count BIGINT, interaction_count BIGINT, rejected_count BIGINT,
            status VARCHAR, message VARCHAR, code VARCHAR, errors JSON, archived BOOLEAN, file_name VARCHAR,
            flow_run_id VARCHAR);
        CREATE TABLE IF NOT EXISTS trainings (
            model_id VARCHAR, version INTEGER, refresh_of INTEGER, status VARCHAR, stage VARCHAR, progress DOUBLE,
            message VARCHAR, started TIMESTAMPTZ, ended TIMESTAMPTZ, batch_ids VARCHAR[], request JSON,
            flow_run_id VARCHAR, flow_run_url VARCHAR);
        CREATE TABLE IF NOT EXISTS api_keys (
            key_id VARCHAR, name VARCHAR, hash VARCHAR, scopes VARCHAR[], created TIMESTAMPTZ);
        ALTER TABLE api_keys ADD COLUMN IF NOT EXISTS last_used TIMESTAMPTZ;
        CREATE TABLE IF NOT EXISTS deliveries (
            event_id VARCHAR, model_id VARCHAR, version INTEGER, event VARCHAR, url VARCHAR,
            attempts INTEGER, delivered BOOLEAN, message VARCHAR, updated TIMESTAMPTZ);
        CREATE TABLE IF NOT EXISTS request_keys (
            digest VARCHAR, fingerprint VARCHAR, entered TIMESTAMPTZ, batch_ids VARCHAR[], model_id VARCHAR,
            version INTEGER, message VARCHAR, code VARCHAR);
        ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS body VARCHAR;
        ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS due TIMESTAMPTZ;
        """,
    ),
    Migration(
        2,
        "batches tell what is odd about rows that load all the same",
        "ALTER TABLE batches ADD COLUMN IF NOT EXISTS warnings JSON DEFAULT '[]'",
    ),
    Migration(
        3,
        "how long imports take is a figure that operators watch",
        "ALTER TABLE batches ADD COLUMN IF NOT EXISTS ended TIMESTAMPTZ",
    ),
    Migration(
        4,
        "an event that is sent again says when it was made, as it did at first",
        """
        ALTER TABLE deliveries ADD COLUMN IF NOT EXISTS created TIMESTAMPTZ;
        UPDATE deliveries SET created = updated;
        """,
    ),
    Migration(
        5,
        "an upload waits in the catalog for its flow run, and for another one if that dies",
        """
        ALTER TABLE batches ADD COLUMN IF NOT EXISTS parameters JSON;
        ALTER TABLE batches ADD COLUMN IF NOT EXISTS tries INTEGER DEFAULT 0;
        """,
    ),
    Migration(
        6,
        "some catalogs have a migration 5 on record that made another column than it does now",
        """
        ALTER TABLE batches ADD COLUMN IF NOT EXISTS parameters JSON;
        ALTER TABLE batches ADD COLUMN IF NOT EXISTS tries INTEGER DEFAULT 0;
        ALTER TABLE batches DROP COLUMN IF EXISTS waits;
        """,
    ),
    Migration(
        7,
        "what ends is told to Prefect once, by whoever can; what had ended before is not told",
        """
        ALTER TABLE batches ADD COLUMN IF NOT EXISTS told BOOLEAN DEFAULT false;
        ALTER TABLE trainings ADD COLUMN IF NOT EXISTS told BOOLEAN DEFAULT false;
        UPDATE batches SET told = true WHERE status <> 'running';
        UPDATE trainings SET told = true WHERE status <> 'running';
        """,
    ),
    Migration(
        8,
        "a training may be held back, by a gate that can be set for each model",
        """
        ALTER TABLE trainings ADD COLUMN IF NOT EXISTS held BOOLEAN DEFAULT false;
        CREATE TABLE IF NOT EXISTS gates (model_id VARCHAR, settings JSON);
        """,
    ),
    Migration(
        9,
        "with the batches into which events are compacted it is known which events these are",
        "CREATE TABLE IF NOT EXISTS compacted_events (through BIGINT)",
    ),
)
_UNNUMBERED = (("api_keys", "last_used"), ("deliveries", "due"), ("request_keys", "code"))
"""What the last release without numbers had got last: with these, a catalog has had migration 1."""


def is_current(connection: duckdb.DuckDBPyConnection, migrations: tuple[Migration, ...] = MIGRATIONS) -> bool:
    """Whether a catalog has all migrations; raises Unavailable where it has one that this release does not know."""
    number = _number(connection)
    _refuse_later(number, migrations)
    return number == migrations[-1].number


def migrate(connection: duckdb.DuckDBPyConnection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """Bring a catalog to today's tables; a migration that fails leaves neither its change nor its record.

    Those on record are not done again, as another process may have been faster; a catalog of before there was a record
    begins with the first. Raises Unavailable where it has a migration that this release does not know.
    """
    done = _recorded(connection) or 0
    _refuse_later(done, migrations)
    for migration in migrations:
        if migration.number > done:
            connection.execute("BEGIN")
            try:
                connection.execute(migration.sql)
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS migrations (number INTEGER, reason VARCHAR, applied TIMESTAMPTZ)"
                )
                connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [migration.number, migration.reason])
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def _refuse_later(number: int, migrations: tuple[Migration, ...]) -> None:
    latest = migrations[-1].number
    if number > latest:
        raise Unavailable(
            f"this home was written by a later release of Lucid (its catalog has migration {number}, this one knows "
            f"{latest}); use that release or a newer one"
        )


def _number(connection: duckdb.DuckDBPyConnection) -> int:
    """The latest migration that a catalog has had; 0 for none."""
    recorded = _recorded(connection)
    if recorded is not None:
        return recorded
    try:
        for table, column in _UNNUMBERED:
            connection.execute(f"SELECT {column} FROM {table} LIMIT 0")
    except (duckdb.CatalogException, duckdb.BinderException):
        return 0
    return 1


def _recorded(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The latest migration on record; None where there is no record."""
    try:
        (number,) = connection.execute("SELECT max(number) FROM migrations").fetchone() or (None,)
    except duckdb.CatalogException:
        return None
    return None if number is None else int(number)
