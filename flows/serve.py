"""Serve all deployments from one process: what `lucid up` starts next to the Prefect server."""

import os
from typing import cast

from prefect import serve
from prefect.deployments.runner import RunnerDeployment

from flows.erase_entity import erase_entity
from flows.import_data import import_data
from flows.refresh_recommendations import refresh_recommendations
from flows.train_model import train_model
from lucid.settings import load_settings

REFRESH_CRON = "0 3 * * *"
"""When recommendations are refreshed, in UTC; the same stands in prefect.yaml."""

RUNS_AT_ONCE = max(4, os.cpu_count() or 1)
"""Further runs wait for their turn: each is a process of its own, and many at once would take all memory."""


def main() -> None:
    """Register the deployments and run what is scheduled on them until stopped."""
    os.nice(load_settings().flow_niceness)  # every run inherits it
    deployments = [
        import_data.to_deployment("import-data", description="Import CSV files of entities or interactions."),
        train_model.to_deployment("train-model", description="Train a model and let it answer."),
        refresh_recommendations.to_deployment(
            "refresh-recommendations", description="Precompute recommendations again.", cron=REFRESH_CRON
        ),
        erase_entity.to_deployment("erase-entity", description="Erase entities for good; started by the API."),
    ]
    serve(
        *cast(list[RunnerDeployment], deployments),  # only inside an event loop would these be coroutines
        limit=RUNS_AT_ONCE,
        pause_on_shutdown=False,
        print_starting_message=False,
    )


if __name__ == "__main__":
    main()
