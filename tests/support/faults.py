"""A machine that does not give what work needs: faults that a process puts on itself, which takes no privileges.

Run as a program, `python -m tests.support.faults FAULT LEFT`, it reads a JSON list of `lucid` commands, suffers the
fault, runs them one after the other, and prints for each the exit code, what was printed and what was said on standard
error.
"""

import ctypes
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Literal, NamedTuple
from unittest.mock import patch

import lucid.evaluation.quality
import lucid.service.run
import lucid.serving.rendering
import lucid.training.tuning  # noqa: F401 - all of these are loaded before the fault, which might not let them
from lucid import cli
from lucid.settings import load_settings
from lucid.store.tables.database import Database
from lucid.training import steps

Fault = Literal["nothing", "full", "read-only", "no files", "mounted full", "mounted read-only"]

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 24, 1, 2
_MOUNTED = """
set -e
mount -t tmpfs tmpfs "$MOUNT"
cp -a "$LUCID_HOME/." "$MOUNT"
if [ "$OPTIONS" = full ]
then dd if=/dev/zero of="$MOUNT/logs.old" bs=1k count=64 status=none
    mount -o "remount,size=$(du -sk "$MOUNT" | cut -f1)k" "$MOUNT"
else mount -o remount,ro "$MOUNT"
fi
export LUCID_HOME="$MOUNT"
exec "$@"
"""


class Said(NamedTuple):
    """What came of a command."""

    code: int
    printed: str
    complained: str


def run(home: Path, fault: Fault, *commands: Sequence[str], left: Sequence[int] = (0,)) -> list[Said]:
    """Run `lucid` commands on a home while a fault lasts, all of them once for each value of `left`.

    So large may files grow where the disk is full, so many be opened where there are none. What is mounted is a copy.
    """
    program = [sys.executable, "-m", "tests.support.faults", fault, *map(str, left)]
    environment = {**os.environ, "LUCID_HOME": str(home), "MOUNT": str(home.with_name("mounted"))}
    if fault.startswith("mounted"):
        home.with_name("mounted").mkdir(exist_ok=True)
        environment["OPTIONS"] = fault.split()[1]
        program = ["unshare", "--mount", "sh", "-c", _MOUNTED, "sh", *program]
    with _read_only(home) if fault == "read-only" and home.exists() else nullcontext():
        done = subprocess.run(
            program,
            env=environment,
            input=json.dumps(commands),
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=obey_modes if fault == "read-only" else None,
        )
    assert 0 == done.returncode, done.stderr
    return [Said(*said) for said in json.loads(done.stdout)]


def may_mount() -> bool:
    """Whether this user may mount something, in a name space of its own."""
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return 0 == subprocess.run(trial, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


def obey_modes() -> None:
    """Let root obey the modes of files as everybody does, in the program that is started next."""
    prctl = ctypes.CDLL(None).prctl
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # refused to who is not root, and has neither


@contextmanager
def _read_only(home: Path) -> Iterator[None]:
    """A home in which nobody may write, by the modes of its files and folders."""
    modes = {path: path.stat().st_mode for path in [home, *home.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def _small_files(largest: int) -> Iterator[None]:
    """No file grows beyond a size, as if the disk were full there; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _few_files(left: int) -> Iterator[None]:
    """All files that this process may open are open already, but some."""
    before, held = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    with suppress(OSError):
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    for handle in held[:left]:
        os.close(handle)
    try:
        yield
    finally:
        for handle in held[left:]:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


_SUFFERED = {"full": _small_files, "no files": _few_files}


@cli.app.command()
def refresh(model_id: str) -> None:
    """What the flow of this name does."""
    steps.refresh(load_settings(), model_id)


def _lucid(command: Sequence[str]) -> Said:
    """Run one command as a process of its own would."""
    Database._ready.clear()
    printed, complained = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(complained), patch.object(sys, "argv", ["lucid", *command]):
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    printed.seek(0)
    return Said(code, printed.read(), complained.getvalue())


def main() -> None:
    fault, *left = sys.argv[1:]
    commands, said = json.load(sys.stdin), []
    with tempfile.TemporaryDirectory() as other, patch.dict(os.environ, LUCID_HOME=other):
        _lucid(["status", "--model-id", "none"])  # loads what is loaded late, which is not what this is about
    for most in left:
        with _SUFFERED[fault](int(most)) if fault in _SUFFERED else nullcontext():
            said += [_lucid(command) for command in commands]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
