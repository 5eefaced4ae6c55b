"""The flow that trains a model, from the choice of data to the callback."""

from typing import Any

from prefect import flow, runtime

from flows import steps
from flows.names import run_name
from lucid.schema.fields import KeyUse
from lucid.schema.filters import DataFilters
from lucid.schema.training import PrecomputePair, TrainingRequest
from lucid.settings import load_settings
from lucid.training.run import Training, working_on
from lucid.webhooks.callbacks import check_callback


@flow(
    name="train_model",
    flow_run_name=lambda: run_name("train", runtime.flow_run.parameters.get("model_id") or "a new model"),
    log_prints=True,
)
def train_model(
    model_id: str | None = None,
    maximum_interaction_age_days: int | None = None,
    data_tags: list[str] | None = None,
    callback_url: str | None = None,
    precompute: list[PrecomputePair] | None = None,
    data_filters: DataFilters | None = None,
    metadata_rules: dict[str, KeyUse] | None = None,
    version: int | None = None,
) -> dict[str, Any]:
    """Train a model on the knowledge graph and let it answer; one of that name is replaced once it is ready.

    Args:
        model_id: Name of the model, 1 to 128 of letters, digits and . _ - : ; made up if empty.
        maximum_interaction_age_days: Leave out interactions older than this; those without a timestamp stay.
        data_tags: Use batches that carry any of these tags; empty means every batch that is not archived.
        callback_url: Address that gets a signed POST with the status when the training has ended.
        precompute: Further pairs of types whose recommendations are computed ahead.
        data_filters: Conditions on entities and interactions that all must hold.
        metadata_rules: How to use metadata keys where the data would decide otherwise, for example {"zip": "ignored"}.
        version: Leave empty; the API fills it in for trainings that it has entered, whose request the catalog holds.
    """
    settings = load_settings()
    request = TrainingRequest(
        model_id=model_id,
        maximum_interaction_age_days=maximum_interaction_age_days,
        data_tags=data_tags or None,
        callback_url=callback_url or None,
        precompute=precompute or None,
        data_filters=data_filters,
        metadata_rules=metadata_rules or None,
    )
    if request.callback_url:
        check_callback(settings, request.callback_url)
    ended: Training | None = None
    try:
        with working_on(settings, request, version, steps.progress_artifact(model_id or "new")) as training:
            ended = training
            steps.link_flow_run(training)
            steps.select_data(training)
            steps.build_graph(training)
            steps.fit_model(training)
            steps.evaluate_model(training)
            recommendations = steps.precompute(training)
            status = steps.publish(training)
    finally:
        if ended:
            steps.tell_customer(ended)
    print(f"model {status.model_id} version {status.version} is live with {recommendations:,} recommendations")
    return status.model_dump(mode="json")
