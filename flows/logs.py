"""What Lucid says while it works, on the page of the run.

Prefect shows there what the loggers of PREFECT_LOGGING_EXTRA_LOGGERS say; `lucid up` and prefect.yaml name ours.
"""

import logging
import multiprocessing
import os
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow

from lucid.flows.sentences import say_no_tracebacks
from lucid.logs import RUN_VARIABLE, from_now_on_about, take_over
from lucid.settings import load_settings

_log = logging.getLogger("lucid")


def say_steps(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - a hook's names
    """When a run begins: let our loggers say what each step has done, and Prefect's no tracebacks of expected errors.

    Elsewhere our loggers keep that to themselves. Where a process is the run's own, its lines carry which model and
    version the run is about; a process that calls a flow as a function goes on afterwards, and keeps its own lines.
    """
    if _has_a_process_of_its_own(flow_run):
        if load_settings().log_format == "json":  # on a worker, whose processes write as Prefect does otherwise
            take_over("json")
        asked = flow_run.parameters
        from_now_on_about(flow_run_id=flow_run.id, model_id=asked.get("model_id"), version=asked.get("version"))
    _log.setLevel(logging.INFO)
    say_no_tracebacks()


def _has_a_process_of_its_own(flow_run: FlowRun) -> bool:
    """Whether this process ends with the run: what serves the flows forks one for each, a worker starts one."""
    return multiprocessing.parent_process() is not None or os.environ.get(RUN_VARIABLE) == str(flow_run.id)


def say_who_asked(what: str, call: str, *, over_http: bool) -> None:
    """Log what has asked for the work of a run: a call of the API, or somebody or a schedule in Prefect."""
    _log.info("%s; asked for by %s", what, call if over_http else "a run of its deployment")
