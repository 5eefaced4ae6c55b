"""Parts of a service, each a process: started in order, watched, and started again when they die or stand still.

Nothing here knows what the parts do. Every part ends with this process, however that ends; see
`lucid.service.attached`.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from lucid.errors import Unavailable
from lucid.service.attached import WHERE_IT_IS
from lucid.store.files import make_folder

START_SECONDS = 90
"""A part that does not answer so long after its start is taken for dead."""
STILL_SECONDS = 30
"""A part that answered and then neither answers nor works for so long is taken for dead."""
BUSY_PART, BUSY_SHARE = 0.05, 0.1
"""A part that meanwhile uses this part of a processor has too much to do: its silence counts this share."""
STOP_SECONDS = 7
"""Time for an orderly stop; what still runs then is ended at once, so that a stop takes less than ten seconds."""
MOST_DEATHS, DEATHS_SECONDS = 5, 60
"""So many deaths of a part within so many seconds are one too many: starting it again does not help."""
LOG_BYTES = 10_000_000
"""How long the log of a part may become."""
_PAUSES = (0, 1, 2, 4)
"""Seconds before a part is started again, by how often it has died lately."""
_ASK_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_SAYING_SECONDS = 0.5
"""Time for a part that stands still to write to its log where it does so."""
_LONGEST_SECONDS = 10.0
"""No more of the time between two questions counts as silence."""

MARK = "_LUCID_SERVICE"
"""Stands in the environment of every process of a service, with the home as its value."""


@dataclass(frozen=True)
class Part:
    """A process of the service: the Python module that it runs, and how to ask whether it answers.

    It is not started before what it needs, if anything, is there. Both are asked in a thread of their own, and may take
    seconds.
    """

    name: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    needs: Callable[[], bool] | None = None


@dataclass
class _Run:
    """One process of a part, whether it has ever answered, and for how many seconds it has not done so now."""

    process: subprocess.Popen[bytes]
    has_answered: bool = False
    silent_seconds: float = 0.0

    def stands_still(self) -> bool:
        return self.silent_seconds > (STILL_SECONDS if self.has_answered else START_SECONDS)


@dataclass
class _Watched:
    """A part, its present process, and when it died lately."""

    part: Part
    log: Path
    run: _Run | None = None
    has_needs: bool = False
    """Whether what it needs was there when that was asked last."""
    start_at: float = 0.0
    deaths: deque[float] = field(default_factory=deque)

    def may_start(self) -> bool:
        return self.part.needs is None or self.has_needs

    def cut_log(self) -> None:
        """Put what a long log has aside, as `….log.1`, in place of what was put aside before.

        What is written in the moment between may be in neither.
        """
        with suppress(OSError):  # there is none yet, or no room for two
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)  # the part appends to it, and goes on at its beginning

    def end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


class Supervisor:
    """Runs parts until it is left, and starts them again where needed; `say` is told what an operator should know.

    Used by one thread, with whose end Linux would end the parts too.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        logs: Path,
        say: Callable[[str], None],
    ) -> None:
        make_folder(logs)
        self._parts = {part.name: _Watched(part, logs / f"{part.name}.log") for part in parts}
        self._environment, self._say = environment, say
        self._leaving = threading.Event()

    def __enter__(self) -> "Supervisor":
        for watched in self._parts.values():
            threading.Thread(target=self._ask, args=(watched,), name=watched.part.name, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._leaving.set()
        self._stop()

    def start(self, name: str) -> None:
        """Start a part, as soon as what it needs is there; raises Unavailable where that does not come."""
        watched, deadline = self._parts[name], time.monotonic() + START_SECONDS
        while not watched.may_start():
            if time.monotonic() > deadline:
                raise Unavailable(f"what {name} needs was not there within {START_SECONDS} s")
            time.sleep(_LOOK_SECONDS)
        self._spawn(watched)

    def wait_for(self, name: str) -> None:
        """Wait until a part that was started answers.

        Raises Unavailable, with the end of its log, where it ends instead or stays silent.
        """
        watched = self._parts[name]
        run = watched.run
        assert run is not None
        while not run.has_answered:
            if run.process.poll() is not None:
                raise Unavailable(f"{name} ended while starting; the end of {watched.log}:\n{watched.end_of_log()}")
            if run.stands_still():
                raise Unavailable(f"{name} did not answer within {START_SECONDS} s; its log is {watched.log}")
            time.sleep(_LOOK_SECONDS)

    def watch(self) -> str:
        """Keep all parts going; returns only when one dies again and again, with what to tell the operator."""
        while True:
            for watched in self._parts.values():
                self._look(watched)
                if len(watched.deaths) >= MOST_DEATHS:
                    return (
                        f"{watched.part.name} has died {MOST_DEATHS} times within {DEATHS_SECONDS} s; "
                        f"the end of {watched.log}:\n{watched.end_of_log()}"
                    )
            time.sleep(_LOOK_SECONDS)

    def _look(self, watched: _Watched) -> None:
        """Notice that a part has died or stands still, start one whose time has come, and keep its log short."""
        watched.cut_log()
        now, run = time.monotonic(), watched.run
        if run is None:
            if now >= watched.start_at and watched.may_start():
                self._spawn(watched)
        elif run.process.poll() is not None:
            self._bury(watched, _how(run.process.returncode), now)
        elif run.stands_still():
            if WHERE_IT_IS:
                run.process.send_signal(WHERE_IT_IS)
                time.sleep(_SAYING_SECONDS)
            _kill(family([run.process.pid]))
            run.process.wait()
            self._bury(watched, "did not answer any more", now)

    def _bury(self, watched: _Watched, how: str, now: float) -> None:
        watched.run, watched.has_needs = None, False
        watched.deaths.append(now)
        while now - watched.deaths[0] > DEATHS_SECONDS:
            watched.deaths.popleft()
        watched.start_at = now + _PAUSES[min(len(watched.deaths), len(_PAUSES)) - 1]
        self._say(f"{watched.part.name} {how}; it is started again; its log is {watched.log}")

    def _spawn(self, watched: _Watched) -> None:
        """Start a part's process, in a session of its own so that Ctrl-C reaches only us."""
        command = [sys.executable, "-m", "lucid.service.attached", str(os.getpid()), *watched.part.command]
        with watched.log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        watched.run = _Run(process)

    def _ask(self, watched: _Watched) -> None:
        """Ask again and again whether a part answers, or may be started, until this process leaves it."""
        asked, worked = time.monotonic(), 0.0
        while not self._leaving.is_set():
            run = watched.run
            if run is None:
                watched.has_needs = watched.part.needs is not None and watched.part.needs()
            elif watched.part.answers():
                run.has_answered, run.silent_seconds = True, 0.0
            else:  # a machine that slept for an hour is no reason to take its parts for dead
                passed = time.monotonic() - asked
                busy = run.has_answered and _processor_seconds(run) - worked > BUSY_PART * passed
                run.silent_seconds += min(passed, _LONGEST_SECONDS) * (BUSY_SHARE if busy else 1)
            asked, worked = time.monotonic(), _processor_seconds(run) if run else 0.0
            self._leaving.wait(_ASK_SECONDS if run and run.has_answered else _LOOK_SECONDS)

    def _stop(self) -> None:
        """Stop the parts, the first one last, and whatever they started."""
        deadline = time.monotonic() + STOP_SECONDS
        running = [watched.run.process for watched in self._parts.values() if watched.run]
        everything = family([process.pid for process in running])
        for process in reversed(running):
            process.terminate()
        for process in reversed(running):
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        for one in everything:
            if one.is_running():
                one.terminate()
        _, alive = psutil.wait_procs(everything, timeout=max(0.1, deadline - time.monotonic()))
        _kill(alive)


def family(pids: Sequence[int]) -> list[psutil.Process]:
    """Processes and all that they started."""
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def marked(home: Path) -> list[psutil.Process]:
    """All processes of a service on a home but its own process."""
    return [process for process in psutil.process_iter() if _mark_of(process) == str(home)]


def end_leftovers(home: Path) -> int:
    """End what is left of a service on a home whose own process is gone; returns how many processes that were."""
    left = marked(home)
    _kill(left)
    return len(left)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except psutil.Error:  # of another user, or gone
        return None


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=2)


def _processor_seconds(run: _Run) -> float:
    """How long a processor has worked for a part; 0 where its process is gone."""
    try:
        used = psutil.Process(run.process.pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(used.user + used.system)


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"has ended with code {code}"
