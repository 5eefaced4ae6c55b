"""Computations side by side, each on a processor core of its own.

Where products are small, two threads that share one take three quarters of its time, and two products side by side half
of it. What is computed does not depend on the number of cores, as no sum is divided among them.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

MOST = 8
"""Computations at a time; bounds the memory that they need together."""
_THREAD = threading.local()

Item = TypeVar("Item")
Result = TypeVar("Result")
P = ParamSpec("P")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results for some items, in their order, as they come; without more cores, or within itself, one by one.

    Raises what `work` raises; what has not begun then does not begin, nor does it where nobody asks for more. Where
    this thread is interrupted, as by Ctrl-C, the others are too.
    """
    waiting, most = list(items), min(cores(), MOST)
    if min(most, len(waiting)) < 2 or getattr(_THREAD, "is_one_of_several", False):
        yield from map(work, waiting)
        return
    with one_core_each(), ThreadPoolExecutor(most, initializer=be_one_of_several) as pool, Together() as together:
        yield from pool.map(together.doing(work), waiting)


class Interrupted(BaseException):
    """What a thread did is wanted no more."""


class Together:
    """Threads whose work ends, at each one's next line of Python, where the thread that waits for it is interrupted.

    Entered and left by the thread that waits, before and after anything that waits for the others to end.
    """

    def __init__(self) -> None:
        self._working: set[int] = set()

    def __enter__(self) -> "Together":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        if kind is None or issubclass(kind, Exception):
            return
        for thread in self._working - {threading.get_ident()}:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Interrupted))

    def doing(self, work: Callable[P, Result]) -> Callable[P, Result]:
        """The same work, which a thread may be interrupted at."""

        @wraps(work)
        def done(*arguments: P.args, **named: P.kwargs) -> Result:
            thread = threading.get_ident()
            self._working.add(thread)
            try:
                return work(*arguments, **named)
            finally:
                self._working.discard(thread)

        return done


@contextmanager
def one_core_each() -> Iterator[None]:
    """While threads of this process compute side by side, let each use one core."""
    with threadpool_limits(1, user_api="blas"):
        yield


def be_one_of_several() -> None:
    """Let this thread compute on one core from now on, as others compute beside it.

    BLAS then does so in the whole process, until `one_core_each` ends.
    """
    _THREAD.is_one_of_several = True
    threadpool_limits(1)


def cores() -> int:
    """Those that this process may use: `OMP_NUM_THREADS`, where that is set, as for all libraries that compute."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal():
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
