"""The catalog: batches, trainings, gates, API keys, keys of requests and callbacks in one small DuckDB file.

Bulk data never comes here. Each table has a file in `lucid.store.tables`.
"""

from collections.abc import Callable
from pathlib import Path

from lucid.store.home import Home
from lucid.store.tables.batches import Batches
from lucid.store.tables.blanking import blank
from lucid.store.tables.database import Database
from lucid.store.tables.deliveries import Deliveries
from lucid.store.tables.gates import Gates
from lucid.store.tables.keys import Keys
from lucid.store.tables.requests import Requests
from lucid.store.tables.trainings import Trainings


class Catalog:
    """The tables of a home; cheap to make, and safe to share between threads."""

    def __init__(self, home: Path) -> None:
        """Make the catalog of a home, or the home itself, where there is none; one that is there is only read.

        Raises MachineError, as all calls do, where the machine does not give what that takes.
        """
        self.path = Home(home).catalog
        self._database = Database(self.path)
        self.batches = Batches(self._database, Home(home).batches_changed)
        self.trainings = Trainings(self._database)
        self.keys = Keys(self._database)
        self.requests = Requests(self._database)
        self.deliveries = Deliveries(self._database)
        self.gates = Gates(self._database)

    def copy_to(self, target: Path) -> None:
        """Copy all tables as they are now to a new file."""
        self._database.copy_to(target)

    @staticmethod
    def forget(home: Path) -> None:
        """Look at the catalog of a home anew when it is opened next: another one has taken its place."""
        Database.forget(Home(home).catalog)

    @staticmethod
    def close() -> None:
        """Let no thread of this process open a catalog any more; waits a moment for one that has."""
        Database.close()

    def rewrite(self) -> None:
        """Write its file anew, as short as its rows allow; whoever wants to write waits for some milliseconds."""
        self._database.rewrite()

    def blank(self, names_one: Callable[[str], bool]) -> None:
        """Empty the texts that name an erased entity, in all tables."""
        blank(self._database, names_one)
