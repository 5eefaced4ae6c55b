"""Requests for erasure on their way through Prefect, and what they have erased on its way back.

Prefect keeps the parameters of every flow run, so ids that are to be erased must not be among them. They wait in a file
whose name the flow gets; when the work is done, the counts take its place until whoever asked has read them.
"""

import json
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lucid.errors import Damaged
from lucid.health import HealthWarnings
from lucid.schema.batches import Erased
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.documents import read_json, read_text, set_aside
from lucid.store.files import make_folder, write_text
from lucid.store.home import ERASURE_REQUEST, ERASURE_RESULT, Home
from lucid.store.locks import begun, forget, is_worked_on, working
from lucid.store.machine import telling
from lucid.typing import IsLost

_RESULT_SECONDS = 3600
"""A result that nobody asked for is removed after this time."""
_LOCK = "erase-"


def enter(settings: Settings, ids: Sequence[str]) -> str:
    """Write a request down and return its name, which tells nothing of the ids."""
    request = secrets.token_hex(16)
    _write(Home(settings.home).erasure_request(request), {"ids": list(ids), "flow_run_id": None})
    return request


def first_waiting(settings: Settings) -> str | None:
    """The earliest request for which no flow run was made; one that cannot be read is the sweep's concern."""
    waiting = []
    for request in _named(settings.home, ERASURE_REQUEST):
        with suppress(FileNotFoundError, Damaged):  # done in this moment
            if _read(settings.home, request)["flow_run_id"] is None:
                waiting.append((Home(settings.home).erasure_request(request).stat().st_mtime_ns, request))
    return min(waiting)[1] if waiting else None


def waiting(settings: Settings) -> int:
    """How many requests are not done yet."""
    return len(_named(settings.home, ERASURE_REQUEST))


def set_flow_run(settings: Settings, request: str, flow_run_id: str) -> None:
    """Note which flow run does the work."""
    path = Home(settings.home).erasure_request(request)
    with suppress(FileNotFoundError):  # it may be done already
        _write(path, {**_read(settings.home, request), "flow_run_id": flow_run_id})


def withdraw(settings: Settings, request: str) -> bool:
    """Forget a request that no flow run does; tells whether it is forgotten."""
    try:
        if _read(settings.home, request)["flow_run_id"] is not None:
            return False
    except FileNotFoundError:  # it is done already
        return False
    Home(settings.home).erasure_request(request).unlink(missing_ok=True)
    return True


def ids_of(settings: Settings, request: str) -> list[str]:
    """The ids that a request wants erased; raises FileNotFoundError where it is done already."""
    ids: list[str] = _read(settings.home, request)["ids"]
    return ids


@contextmanager
def working_on(settings: Settings, request: str) -> Iterator[list[str]]:
    """The ids that a request wants erased; its lock shows others that it is being done.

    Raises FileNotFoundError where it is done already.
    """
    try:
        with telling(settings.home), working(settings.home, _lock_name(request)):
            yield ids_of(settings, request)
    finally:
        forget(settings.home, _lock_name(request))


def finish(settings: Settings, request: str, counts: Erased) -> None:
    """Leave the counts for whoever asked, in place of the request."""
    _write(Home(settings.home).erasure_result(request), counts.model_dump())
    Home(settings.home).erasure_request(request).unlink(missing_ok=True)


def take_result(settings: Settings, request: str) -> Erased | None:
    """What a request has erased, given out once; None while it is not done.

    Raises Damaged where it is done but what it has erased cannot be read.
    """
    path = Home(settings.home).erasure_result(request)
    try:
        counts = read_text(path, Erased.model_validate_json, "the erasure is done; repeat the call, which counts zero")
    except FileNotFoundError:
        return None
    path.unlink()
    return counts


def sweep(settings: Settings, *, is_lost: IsLost, warnings: HealthWarnings | None = None) -> None:
    """See that requests whose worker died are taken up again, and remove results that nobody asked for.

    `is_lost` schedules the flow run of such a request once more. One that has failed keeps its request, so that its
    flow run can be repeated. One that cannot be read is renamed, never removed: a person has to see that what it asks
    for is done. What goes wrong with one request is a warning, and the others are swept all the same.
    """
    home, warnings = settings.home, warnings or HealthWarnings()
    with warnings.round("erasures") as each:
        for request in _named(home, ERASURE_REQUEST):
            with each.apart(request, f"erasures/{request}{ERASURE_REQUEST} could not be taken up"):
                _take_up(home, request, is_lost)
        for request in _named(home, ERASURE_RESULT):
            with each.apart(request, f"erasures/{request}{ERASURE_RESULT} could not be removed"):
                _remove_old(Home(home).erasure_result(request))
        for path in Home(home).erasures.glob(f"*{ERASURE_REQUEST}.unreadable*"):
            each.warn(
                path.name,
                f"erasures/{path.name} is a request for erasure that could not be read, so it is not done: ask for the "
                f"erasure again and remove the file, or mend it and let its name end in {ERASURE_REQUEST} again",
            )
    for request in begun(home, _LOCK):
        forget(home, _lock_name(request))


def _named(home: Path, suffix: str) -> list[str]:
    """The requests of which there is a file that ends so; whatever else is there is not ours."""
    paths = Home(home).erasures.glob(f"*{suffix}")
    return [path.stem for path in paths if re.fullmatch("[0-9a-f]{32}", path.stem)]


def _take_up(home: Path, request: str, is_lost: IsLost) -> None:
    try:
        flow_run_id = _read(home, request)["flow_run_id"]
    except FileNotFoundError:  # done in this moment
        return
    except Damaged as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, IsADirectoryError):
            raise  # closed to us now, but perhaps not for ever
        set_aside(Home(home).erasure_request(request))
        return
    if flow_run_id and not is_worked_on(home, _lock_name(request)):
        is_lost(flow_run_id, utc_now())


def _remove_old(path: Path) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < time.time() - _RESULT_SECONDS:
            path.unlink()


def _lock_name(request: str) -> str:
    return f"{_LOCK}{request}"


def _read(home: Path, request: str) -> dict[str, Any]:
    return read_json(Home(home).erasure_request(request), _request, "ask for the erasure again")


def _request(raw: Any) -> dict[str, Any]:
    if not (isinstance(raw["ids"], list) and all(isinstance(name, str) for name in raw["ids"])):
        raise TypeError("a list of ids expected")
    if not isinstance(raw["flow_run_id"], str | None):
        raise TypeError("the id of a flow run expected")
    request: dict[str, Any] = raw
    return request


def _write(path: Path, content: dict[str, Any]) -> None:
    make_folder(path.parent)
    write_text(path, json.dumps(content))
