"""Requests for erasure on their way through Prefect, and what they have erased on its way back.

Prefect keeps the parameters of every flow run, so ids that are to be erased must not be among them. They wait in a file
whose name the flow gets; when the work is done, the counts take its place until whoever asked has read them.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lucid.disk import make_folder, write_text
from lucid.ingest import IsLost
from lucid.locks import forget, is_worked_on, working
from lucid.schema import Erased, utc_now
from lucid.settings import Settings

_RESULT_SECONDS = 3600
"""A result that nobody asked for is removed after this time."""


def enter(settings: Settings, ids: Sequence[str]) -> str:
    """Write a request down and return its name, which tells nothing of the ids."""
    request = secrets.token_hex(16)
    _write(_path(settings.home, request), {"ids": list(ids), "flow_run_id": None})
    return request


def set_flow_run(settings: Settings, request: str, flow_run_id: str) -> None:
    """Note which flow run does the work."""
    with suppress(FileNotFoundError):  # it may be done already
        _write(_path(settings.home, request), {**_read(settings.home, request), "flow_run_id": flow_run_id})


def withdraw(settings: Settings, request: str) -> None:
    """Forget a request that nobody will do."""
    _path(settings.home, request).unlink(missing_ok=True)


@contextmanager
def working_on(settings: Settings, request: str) -> Iterator[list[str]]:
    """The ids that a request wants erased; its lock shows others that it is being done.

    Raises FileNotFoundError where it is done already.
    """
    with working(settings.home, _lock_name(request)):
        yield _read(settings.home, request)["ids"]


def finish(settings: Settings, request: str, counts: Erased) -> None:
    """Leave the counts for whoever asked, in place of the request."""
    _write(_done(settings.home, request), counts.model_dump())
    withdraw(settings, request)
    forget(settings.home, _lock_name(request))


def take_result(settings: Settings, request: str) -> Erased | None:
    """What a request has erased, given out once; None while it is not done."""
    path = _done(settings.home, request)
    if not path.exists():
        return None
    counts = Erased.model_validate_json(path.read_text())
    path.unlink()
    return counts


def sweep(settings: Settings, *, is_lost: IsLost) -> None:
    """See that requests whose worker died are taken up again, and remove results that nobody asked for.

    `is_lost` schedules the flow run of such a request once more. One that has failed keeps its request, so that its
    flow run can be repeated.
    """
    for path in (settings.home / "erasures").glob("*"):
        with suppress(FileNotFoundError):
            if path.suffix == ".request":
                flow_run_id = _read(settings.home, path.stem)["flow_run_id"]
                if flow_run_id and not is_worked_on(settings.home, _lock_name(path.stem)):
                    is_lost(flow_run_id, utc_now())
            elif path.stat().st_mtime < time.time() - _RESULT_SECONDS:
                path.unlink()


def _lock_name(request: str) -> str:
    return f"erase-{request}"


def _path(home: Path, request: str) -> Path:
    return home / "erasures" / f"{request}.request"


def _done(home: Path, request: str) -> Path:
    return home / "erasures" / f"{request}.done"


def _read(home: Path, request: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_path(home, request).read_text())
    return found


def _write(path: Path, content: dict[str, Any]) -> None:
    make_folder(path.parent)
    write_text(path, json.dumps(content))
