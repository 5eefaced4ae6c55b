"""Events that nobody waits for: what a sweep owes to customers stays in the catalog until a thread of its own sent it.

A training that ends in its own process tells its customer there (`lucid.training.run.call_back`), for half a minute if
it has to. One that died is ended by a sweep, which must not wait for a receiver: there may be many of them, and other
work waits for the sweep.
"""

import atexit
import logging
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from lucid.errors import CallbackFailed, CallbackRefused
from lucid.health import HealthWarnings
from lucid.logs import about
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.deliveries import Event
from lucid.webhooks.callbacks import deliver, patience

_AT_ONCE = 4
"""So many receivers are called at the same time, so that one that is slow holds up few others."""
_log = logging.getLogger("lucid")


class Sender:
    """Sends owed events in the background, each until it has arrived or was tried often enough.

    Several, in one process or many, share the work. What is not sent when the process ends is sent by the next one.
    """

    def __init__(self, settings: Settings, warnings: HealthWarnings | None = None) -> None:
        self._settings, self._warnings = settings, warnings or HealthWarnings()
        self._thread: threading.Thread | None = None
        self._starting, self._asked = threading.Lock(), threading.Event()

    def send(self) -> None:
        """See that what is owed is being sent, and return at once; what goes wrong is a warning."""
        with self._warnings.apart("deliveries", "callbacks could not be sent"), self._starting:
            self._asked.set()
            running = self._thread and self._thread.is_alive()
            if not running and Catalog(self._settings.home).deliveries.next_due():
                self._thread = _in_background(self._send_all)

    def _send_all(self) -> None:
        """Send until nothing is owed any more."""
        with self._warnings.apart("deliveries", "callbacks could not be sent"):
            catalog = Catalog(self._settings.home)
            while due := catalog.deliveries.next_due():
                self._asked.wait(max(0.0, (due - utc_now()).total_seconds()))
                self._asked.clear()
                self._send_due(catalog)

    def _send_due(self, catalog: Catalog) -> None:
        taken = catalog.deliveries.claim(utc_now(), utc_now() + patience(self._settings), _AT_ONCE)
        sending = [_in_background(self._try_once, catalog, event) for event in taken]
        for thread in sending:
            thread.join()

    def _try_once(self, catalog: Catalog, event: Event) -> None:
        ids = {"model_id": event.status.model_id, "version": event.status.version}
        with about(**ids), self._warnings.apart("deliveries", "callbacks could not be sent"):
            try:
                deliver(self._settings, catalog, event)
            except (CallbackRefused, CallbackFailed):
                pass  # recorded, and told to whoever asks for the deliveries
            except Exception:
                _log.exception("the callback %s could not be sent", event.event_id)


def _in_background(work: Callable[..., None], *arguments: Any) -> threading.Thread:
    """Begin work that no process waits for when it ends."""
    _end_in_order()
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


@cache
def _end_in_order() -> None:
    # Python lets a thread end wherever it is when the process does, and DuckDB takes that for a crash.
    atexit.register(Catalog.close)
