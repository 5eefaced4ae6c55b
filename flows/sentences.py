"""What Prefect says where a run ends: an expected error in one sentence and without a traceback, and who ended it."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import PrefectException, TerminationSignal
from prefect.states import Failed

from lucid.errors import LucidError
from lucid.side_by_side import Interrupted

P = ParamSpec("P")
T = TypeVar("T")

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
"""Where Prefect logs how runs end."""


class Cancelled(TerminationSignal):
    """Prefect ends this run because somebody has cancelled it."""

    for_customers = "cancelled"


def in_a_sentence(work: Callable[P, T]) -> Callable[P, T]:
    """Let a flow or task that ends in an expected error fail with its message, and not with a Python exception.

    Who asks for the result still gets the error raised.
    """

    @wraps(work)
    def done(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return work(*arguments, **named)
        except LucidError as error:
            failed: State[Any] = Failed(message=error.message, data=error)
            return failed  # type: ignore[return-value]  # Prefect takes a state for any result
        except RuntimeError as error:
            if isinstance(error.__cause__, TerminationSignal):  # DuckDB was at work when it came
                raise error.__cause__ from None
            raise

    return done


@contextmanager
def cancellable() -> Iterator[None]:
    """Tell a run that somebody has cancelled from one whose process is ended for another reason; raises Cancelled."""
    try:
        yield
    except (TerminationSignal, Interrupted):  # the second in a thread of the run
        if _is_cancelled():
            raise Cancelled(signal.SIGTERM) from None
        raise


def _is_cancelled() -> bool:
    """Whether Prefect knows this run as cancelled; False too where it does not answer."""
    run_id = runtime.flow_run.id
    if run_id is None:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run_id).state_type
    except (httpx.HTTPError, PrefectException):
        return False
    return state in (StateType.CANCELLING, StateType.CANCELLED)


def say_no_tracebacks() -> None:
    """Let Prefect's loggers name expected errors without where they were raised, which helps nobody mend them."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_without_traceback)  # the same filter is added once


def _without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback of an expected error, or that of no error at all, from what is logged."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None or isinstance(error, LucidError | Cancelled):
        record.exc_info = None
    return True
