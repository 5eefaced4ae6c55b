"""Parts of a service as processes: started again when they die or stand still, ended with what started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lucid.errors import Unavailable
from lucid.service import supervisor
from lucid.service.supervisor import MARK, Part, Supervisor, end_leftovers, marked
from tests.support.service import ROOT, wait_until

LIVES = "import pathlib, sys, time\nwhile True:\n    pathlib.Path(sys.argv[1]).touch()\n    time.sleep(0.05)\n"
"""A part that shows by a file's time that it lives."""
DIES = "print('out of luck'); raise SystemExit(3)\n"


class Modules:
    """Modules that parts can run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", MARK: str(folder)}

    def part(self, name: str, code: str) -> Part:
        """A part that answers while its file was touched a moment ago."""
        (self.folder / f"{name}_module.py").write_text(code)
        sign = self.folder / f"{name}.sign"
        return Part(
            name, (f"{name}_module", str(sign)), lambda: sign.exists() and time.time() - sign.stat().st_mtime < 1
        )

    def running(self, *parts: Part, say: list[str]) -> Supervisor:
        return Supervisor(parts, self.environment, self.folder / "logs", say.append)

    def processes(self) -> list[psutil.Process]:
        """Those that live."""
        return marked(self.folder)


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    yield Modules(tmp_path)
    end_leftovers(tmp_path)


def test_a_long_log_is_put_aside(modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part goes on in the same file, which stays short, and what was last put aside is there."""
    monkeypatch.setattr(supervisor, "LOG_BYTES", 20_000)
    endless = (
        "import itertools, time\nfor line in itertools.count():\n    print(line, flush=True)\n    time.sleep(0.001)\n"
    )
    log, said = modules.folder / "logs" / "counts.log", list[str]()
    aside = log.with_suffix(".log.1")
    with modules.running(modules.part("counts", endless), say=said) as running:
        running.start("counts")

        def put_aside_twice() -> bool:
            running._parts["counts"].cut_log()
            return aside.exists() and not aside.read_text().splitlines()[0].endswith(" 0") and log.stat().st_size > 0

        wait_until(put_aside_twice, 60, "the log to become long")

    lines = [line.split()[-1] for path in (aside, log) for line in path.read_text().splitlines()]
    assert log.stat().st_size < aside.stat().st_size
    assert [*map(str, sorted(map(int, lines)))] == lines


class Enough(Exception):
    """What a test waited for has happened."""


def watch_until(running: Supervisor, said: list[str], count: int) -> None:
    """Watch until so much was said and the part that it was about answers again."""

    class Saying(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if len(self) >= count:
                raise Enough

    running._say = Saying(said).append
    with pytest.raises(Enough):
        running.watch()


def wait_until_well(running: Supervisor, watched: supervisor._Watched) -> None:
    """Watch one part until it answers."""

    def is_well() -> bool:
        running._look(watched)
        return watched.run is not None and watched.run.has_answered

    wait_until(is_well, 60, "the part to answer")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_part_that_dies_or_stands_still_is_started_again(
    modules: Modules, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Another process of it answers soon after; the operator is told once."""
    monkeypatch.setattr(supervisor, "STILL_SECONDS", 2)
    said: list[str] = []
    with modules.running(modules.part("one", LIVES), say=said) as running:
        running.start("one")
        running.wait_for("one")
        watched = running._parts["one"]
        assert watched.run is not None
        before = watched.run.process.pid
        os.kill(before, how)

        watch_until(running, said, 1)
        wait_until_well(running, watched)

        assert watched.run.process.pid != before
        assert not psutil.pid_exists(before)
    assert [] == modules.processes()


def test_a_part_that_stands_still_tells_where(modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is started again, what each of its threads does stands in its log."""
    monkeypatch.setattr(supervisor, "STILL_SECONDS", 2)
    hangs = "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ndef stuck():\n    time.sleep(600)\nstuck()\n"
    said: list[str] = []
    with modules.running(modules.part("one", hangs), say=said) as running:
        running.start("one")
        running.wait_for("one")

        watch_until(running, said, 1)

    assert 'one_module.py", line 4 in stuck' in (modules.folder / "logs" / "one.log").read_text()


def test_a_part_that_has_too_much_to_do_gets_more_time(modules: Modules, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would do after a new start is the same; but none works for ever without an answer."""
    monkeypatch.setattr(supervisor, "STILL_SECONDS", 1)
    works = "import pathlib, sys\npathlib.Path(sys.argv[1]).touch()\nwhile True:\n    pass\n"
    said: list[str] = []
    with modules.running(modules.part("one", works), say=said) as running:
        running.start("one")
        running.wait_for("one")
        began = time.monotonic()

        watch_until(running, said, 1)

    assert time.monotonic() - began > 3 * supervisor.STILL_SECONDS


def test_a_part_that_dies_again_and_again_ends_the_service(modules: Modules) -> None:
    """Five deaths within a minute are told with the end of the log."""
    said: list[str] = []
    part = modules.part("one", DIES)
    with modules.running(part, say=said) as running:
        running.start("one")
        with pytest.raises(Unavailable, match=r"one ended while starting; the end of .*\n.*out of luck"):
            running.wait_for("one")

        verdict = running.watch()

    assert "one has died 5 times within 60 s" in verdict
    assert verdict.endswith("out of luck")
    assert 5 == len(said)


def test_a_part_waits_for_what_it_needs(modules: Modules) -> None:
    """It is started as soon as that is there."""
    there: list[bool] = []
    part = modules.part("one", LIVES)
    waiting = Part(part.name, part.command, part.answers, needs=lambda: bool(there))
    with modules.running(waiting, say=[]) as running:
        watched = running._parts["one"]
        for _ in range(5):
            running._look(watched)
            time.sleep(0.1)
        assert watched.run is None

        there.append(True)

        wait_until_well(running, watched)


PARENT = """
import sys, time, pathlib
from lucid.service.supervisor import Part, Supervisor
import os
folder = pathlib.Path(sys.argv[1])
part = Part("one", ("one_module", str(folder / "one.sign")), (folder / "one.sign").exists)
with Supervisor([part], dict(os.environ), folder / "logs", print) as running:
    running.start("one")
    running.wait_for("one")
    (folder / "ready").touch()
    time.sleep(60)
"""


@pytest.mark.parametrize("state", ["running", "standing still"])
def test_parts_end_with_a_supervisor_that_is_killed(modules: Modules, state: str) -> None:
    """kill -9 of the supervisor leaves no process, a stopped one neither."""
    modules.part("one", LIVES)
    command = [sys.executable, "-c", PARENT, str(modules.folder)]
    parent = subprocess.Popen(command, env=modules.environment, cwd=ROOT)
    wait_until((modules.folder / "ready").exists, 20, "the part")
    (child,) = psutil.Process(parent.pid).children()
    if state != "running":
        child.suspend()

    parent.kill()
    parent.wait()

    wait_until(lambda: not modules.processes(), 5, "the part to end")


def test_a_part_whose_parent_is_gone_already_does_not_begin(modules: Modules) -> None:
    """The parent that it was started by may die before the kernel was asked to tell."""
    modules.part("one", LIVES)
    command = [sys.executable, "-m", "lucid.service.attached", "1", "one_module", str(modules.folder / "one.sign")]

    ended = subprocess.run(command, env=modules.environment, cwd=ROOT, check=False)

    assert 1 == ended.returncode
    assert not (modules.folder / "one.sign").exists()


def test_what_a_lost_service_left_is_found_by_its_mark(modules: Modules) -> None:
    """Processes of another home, and those without a mark, stay."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    left = subprocess.Popen(sleep, env=modules.environment)
    other = subprocess.Popen(sleep, env={**modules.environment, MARK: "/elsewhere"})
    try:
        wait_until(lambda: len(modules.processes()) == 1, 10, "the mark")

        assert 1 == end_leftovers(modules.folder)

        assert not psutil.pid_exists(left.pid)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        left.kill()
        left.wait()
