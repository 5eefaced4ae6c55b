"""Processes that end with their parent, however it ends: `python -m lucid.service.attached PID MODULE ARGUMENT…`.

Runs a module as `python -m MODULE` would, as a child of the process PID that does not outlive it. On Linux the kernel
sees to it, kill -9 and the memory killer included; elsewhere a thread looks every second. A PID of 0 is no process.
"""

import ctypes
import faulthandler
import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from lucid import logs

WHERE_IT_IS = getattr(signal, "SIGUSR1", None)
"""At this signal such a process, and a run, writes to its log what its threads are doing; None where there is none."""
NOBODY = 0
"""Stands for a parent with which a process does not end."""
RUNS_OF = "_LUCID_RUNS_OF"
"""Environment variable with the id of the process that serves the flows, for the fork server of its runs."""
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0


def end_with(parent: int) -> None:
    """End this process as soon as its parent has ended; at once where it has already."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_look_again_and_again, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def say_where_it_is() -> None:
    """Let this process, and what is forked from it, write to its log what its threads do when it is asked to."""
    if WHERE_IT_IS:
        faulthandler.register(WHERE_IT_IS)


def be_ended_first() -> None:
    """Where memory runs out, let the system end this process and not what keeps the others going."""
    with suppress(OSError):  # there is no such file outside Linux
        Path("/proc/self/oom_score_adj").write_text("500")


def _look_again_and_again(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    if int(sys.argv[1]) != NOBODY:
        end_with(int(sys.argv[1]))
    say_where_it_is()
    sys.argv[:] = sys.argv[2:]
    logs.take_over(os.environ.get(logs.FORMAT_VARIABLE, "human"))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
