"""What several tests need: a workspace in an empty folder, ways to write CSV files, a server with prepared answers."""

import csv
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS
from lucid.settings import Settings
from lucid.workspace import Workspace
from tests.support import schedule
from tests.support.hostile import train_hostile
from tests.support.says import Says
from tests.support.service import migrated_database

WriteCsv = Callable[..., Path]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script: no service would hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without slow tests, the modules that are slow as a whole are not even imported."""
    path = collection_path.relative_to(config.rootpath).as_posix()
    return True if "not slow" in config.option.markexpr and schedule.is_slow_as_a_whole(path) else None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    schedule.mark(items)
    schedule.order(items)


@pytest.hookimpl(optionalhook=True)  # without `-n` nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> schedule.LongestFirst:
    config.option.loadscopereorder = False  # it would put modules with many tests first
    return schedule.LongestFirst(config, log)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings=settings)


@pytest.fixture
def entities_csv(tmp_path: Path) -> WriteCsv:
    """Writes rows of (id, type, name, metadata, media_url), each cut short as one likes."""

    def write(*rows: Sequence[str], name: str = "entities.csv") -> Path:
        return _write(tmp_path / name, ENTITY_COLUMNS, rows)

    return write


@pytest.fixture
def interactions_csv(tmp_path: Path) -> WriteCsv:
    """Writes rows of (type, source_id, target_id, timestamp, metadata), each cut short as one likes."""

    def write(*rows: Sequence[str], name: str = "interactions.csv") -> Path:
        return _write(tmp_path / name, INTERACTION_COLUMNS, rows)

    return write


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect database for services to start with; one for all workers."""
    own = tmp_path_factory.getbasetemp()
    return migrated_database(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def trained_hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of a model with hostile ids (`tests.support.hostile`), to be copied, never changed."""
    folder = tmp_path_factory.mktemp("hostile")
    train_hostile(folder / "home", folder)
    return folder / "home"


@pytest.fixture
def says() -> Iterator[Says]:
    """A server whose answers the test prepares."""
    says = Says()
    thread = threading.Thread(target=says.server.serve_forever, daemon=True)
    thread.start()
    yield says
    says.server.shutdown()
    says.server.server_close()
    thread.join()


def _write(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([*row, *[""] * (len(columns) - len(row))] for row in rows)
    return path
