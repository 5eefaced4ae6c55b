"""The flow that an automation starts where uploads of a model have come to rest."""

from typing import cast

from prefect import flow, runtime
from prefect.states import Completed

from lucid import auto_train as after_uploads
from lucid.flows.logs import say_steps
from lucid.flows.names import run_name
from lucid.flows.sentences import in_a_sentence
from lucid.schema.auto_train import MIN_INTERVAL_SECONDS
from lucid.schema.fields import ModelId
from lucid.settings import load_settings


@flow(
    name="auto_train",
    flow_run_name=lambda: run_name("look after uploads of", runtime.flow_run.parameters["model_id"]),
    log_prints=True,
    on_running=[say_steps],
    retries=2,
    retry_delay_seconds=30,
)
@in_a_sentence
def auto_train(model_id: ModelId, min_interval_seconds: int = MIN_INTERVAL_SECONDS) -> str:
    """Enter a training of a model if one is due after uploads; else say why not, and look again when it will be.

    Args:
        model_id: The model, which has an automation that trains it after uploads.
        min_interval_seconds: How the automation remembers its interval; what it says when the run begins counts.
    """
    del min_interval_seconds
    found = after_uploads.train_if_due(load_settings(), model_id)
    return cast(str, Completed(message=f"{model_id}: {found}", data=found))  # Prefect takes a state for a result
