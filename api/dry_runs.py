"""What trainings would take, asked of processes of their own: look-ups share neither memory nor time with them."""

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process

from lucid import errors
from lucid.schema.training import TrainingEstimate, TrainingRequest
from lucid.settings import Settings, variables
from lucid.store.home import Home

_PROGRAM = "lucid.training.dry_run"
_REMEMBERED = 1000
_log = logging.getLogger("lucid.api")


class DryRuns:
    """Asks for estimates, one at a time: each reads as much as the beginning of a training."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = asyncio.Semaphore(1)
        self._found: dict[str, TrainingEstimate] = {}

    def known(self, request: TrainingRequest) -> TrainingEstimate | None:
        """What such a training would take, where that was asked of the same data before."""
        return self._found.get(self._name(request))

    def _name(self, request: TrainingRequest) -> str:
        """The same for all requests that select the same of the same data."""
        changed = Home(self._settings.home).batches_changed
        stamp = changed.stat().st_mtime_ns if changed.exists() else 0
        return f"{stamp} {request.model_dump_json(exclude={'model_id', 'callback_url', 'max_minutes'})}"

    async def ask(self, request: TrainingRequest) -> TrainingEstimate:
        """What a training would select, take and need.

        Raises what `dry_run` does, MachineError where the machine has no memory for it, and RuntimeError where it
        fails for a reason of ours; the log has the rest.
        """
        name = self._name(request)
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lucid.service.attached", str(os.getpid()), _PROGRAM),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**os.environ, **variables(self._settings)},
            )
            try:
                answer, said = await process.communicate(request.model_dump_json().encode())
            finally:
                await _end(process)
        if process.returncode:
            _log.error("a dry run ended with %s: %s", process.returncode, said.decode(errors="replace").strip())
            if process.returncode == -signal.SIGKILL:
                raise errors.MachineError("a dry run was killed, as where memory is out", code="out_of_resources")
            raise RuntimeError("a dry run failed")
        found = json.loads(answer)
        if "error" in found:
            kind: type[errors.LucidError] = getattr(errors, found["error"])
            raise kind(found["detail"], code=found["code"])
        estimate = TrainingEstimate.model_validate(found)
        self._found = {**dict(list(self._found.items())[1 - _REMEMBERED :]), name: estimate}
        return estimate


async def _end(process: Process) -> None:
    """Nobody waits for the answer any more; a process that has ended stays as it is."""
    if process.returncode is None:
        process.kill()
        await process.wait()
