"""What the fork server of the runs has loaded: a run is a copy of it, and loads nothing more.

Only the fork server imports this. It ends with the process that serves the flows, however that ends.
"""

# ruff: noqa: E402 - attached before all else

import os

from lucid.service.attached import RUNS_OF, end_with, say_where_it_is

end_with(int(os.environ[RUNS_OF]))
say_where_it_is()

import lucid.evaluation.quality
import lucid.flows.deployments
import lucid.flows.patience
import lucid.graph.typed_graph
import lucid.training.fitting
from lucid import logs
from lucid.settings import load_settings

if load_settings().task_runner == "dask":
    import prefect_dask  # noqa: F401

logs.take_over(load_settings().log_format)

lucid.flows.patience.be_patient()
FORK_SERVER = os.getpid()
"""Every run is a child of this process, and ends with it."""
