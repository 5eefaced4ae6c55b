"""One part of the service in the foreground, as in a container of its own: no supervisor, its log on the terminal."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from lucid.errors import InvalidRequest, Unavailable
from lucid.schema.fields import PartName
from lucid.service.attached import NOBODY
from lucid.service.run import environment, parts_of
from lucid.service.supervisor import START_SECONDS, Part
from lucid.settings import Settings
from lucid.store.files import check_writable
from lucid.store.home import Home

_ASK_SECONDS = 0.5


def become(settings: Settings, name: PartName, say: Callable[[str], None]) -> NoReturn:
    """Make this process one part of the service, as soon as what it needs answers; signals reach it directly.

    Whoever started this process starts it again where it ends. Raises InvalidRequest where the settings name another
    Prefect server and this is to be one, Unavailable where what it needs does not answer in time.
    """
    part = _part(settings, name)
    home = Home(settings.home)
    for folder in (home.path, home.prefect):
        check_writable(folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the first process of a container would not hear it
    if part.needs:
        _wait(settings, part.needs, say)
    os.execve(
        sys.executable,
        [sys.executable, "-m", "lucid.service.attached", str(NOBODY), *part.command],
        environment(settings),
    )


def answers(settings: Settings, name: PartName) -> bool:
    """Whether the part that runs here answers now; raises InvalidRequest as `become` does."""
    return _part(settings, name).answers()


def _part(settings: Settings, name: PartName) -> Part:
    found = next((part for part in parts_of(settings) if part.name == name), None)
    if found is None:
        raise InvalidRequest(
            f"LUCID_PREFECT_API_URL names another Prefect server ({settings.prefect_api}); unset it to run one here",
            code="invalid_setting",
        )
    return found


def _wait(settings: Settings, answers: Callable[[], bool], say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START_SECONDS
    if not answers():
        say(f"Waiting for {settings.prefect_api} …")
    while not answers():
        if time.monotonic() > deadline:
            raise Unavailable(f"{settings.prefect_api} did not answer within {START_SECONDS} s")
        time.sleep(_ASK_SECONDS)
