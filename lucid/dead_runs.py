"""Flow runs whose process has died and that wait for their turn once more, wherever they ran.

Those are refreshes and maintenance that Prefect takes for crashed, of which the same comes again: the process that
served them says so, or the automation for runs that show no sign of life, as where a worker of a work pool has died.
And they are runs that were handed over to a process and never begun, of which nobody says anything.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from lucid.schema.fields import utc_now
from lucid.service.prefect_api import MAINTAIN_HOME, OUR_DEPLOYMENTS, REFRESH, PrefectApi
from lucid.service.run import prefect_calls
from lucid.settings import Settings

_TRIES = 3
"""How often a run is begun whose process dies."""
_SINCE = timedelta(hours=1)
"""What crashed longer ago is left to the next schedule."""
_UNBEGUN = timedelta(minutes=10)
"""So long a run may be pending: time to fetch an image and to start a container."""


def repeat(settings: Settings) -> None:
    """Let Prefect begin such runs again; raises Unavailable."""
    with prefect_calls(settings) as prefect:
        for run in (*_crashed(prefect), *_unbegun(prefect)):
            again = {"type": "SCHEDULED", "message": "its process died; it is done again"}
            prefect.call("POST", f"/flow_runs/{run['id']}/set_state", json={"state": again, "force": True})


def _crashed(prefect: PrefectApi) -> Iterator[dict[str, Any]]:
    which = {"end_time": {"after_": (utc_now() - _SINCE).isoformat()}}
    for run in _runs(prefect, "CRASHED", (REFRESH, MAINTAIN_HOME), which):
        if run["run_count"] < _TRIES:
            yield run


def _unbegun(prefect: PrefectApi) -> Iterator[dict[str, Any]]:
    latest = utc_now() - _UNBEGUN
    for run in _runs(prefect, "PENDING", OUR_DEPLOYMENTS, {"expected_start_time": {"before_": latest.isoformat()}}):
        if datetime.fromisoformat(run["state"]["timestamp"]) < latest:
            yield run


def _runs(prefect: PrefectApi, state: str, deployments: tuple[str, ...], which: dict[str, Any]) -> Any:
    """Runs of some deployments in a state."""
    flows = {"name": {"any_": [name.partition("/")[0] for name in deployments]}}
    asked = {"flow_runs": {"state": {"type": {"any_": [state]}}, **which}, "flows": flows}
    return prefect.call("POST", "/flow_runs/filter", json=asked)
