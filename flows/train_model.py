"""The flow that trains a model, from the choice of data to the callback."""

from typing import Any

from prefect import flow, runtime

from lucid.flows.artifacts import end_progress, link_api, progress_bar
from lucid.flows.assets import show_version
from lucid.flows.events import tell_training
from lucid.flows.forms import CallbackUrl, DataTags, Pairs, VersionOfApi
from lucid.flows.logs import say_steps, say_who_asked
from lucid.flows.names import run_name
from lucid.flows.sentences import cancellable, in_a_sentence
from lucid.flows.tasks import do_steps, link_flow_run, tell_customer
from lucid.schema.fields import KeyUse, ModelId, check
from lucid.schema.filters import DataFilters
from lucid.schema.training import InteractionAge, InteractionUse, MaxMinutes, ModelStatus, TrainingRequest
from lucid.settings import load_settings
from lucid.training.run import Training, working_on
from lucid.training.steps import TRAINING
from lucid.webhooks.callbacks import check_callback


@flow(
    name="train_model",
    flow_run_name=lambda: run_name("train", runtime.flow_run.parameters.get("model_id") or "a new model"),
    log_prints=True,
    on_running=[say_steps],
    on_failure=[end_progress],
    on_crashed=[end_progress],
    on_cancellation=[end_progress],
)
@in_a_sentence
def train_model(
    model_id: ModelId | None = None,
    maximum_interaction_age_days: InteractionAge | None = None,
    data_tags: DataTags | None = None,
    callback_url: CallbackUrl | None = None,
    precompute: Pairs | None = None,
    data_filters: DataFilters | None = None,
    metadata_rules: dict[str, KeyUse] | None = None,
    interaction_rules: dict[str, InteractionUse] | None = None,
    allow_type_changes: bool = False,
    max_minutes: MaxMinutes | None = None,
    version: VersionOfApi = None,
) -> dict[str, Any]:
    """Train a model on the knowledge graph and let it answer; one of that name is replaced once it is ready.

    Args:
        model_id: Name of the model, 1 to 128 of letters, digits and . _ - : ; made up if empty.
        maximum_interaction_age_days: Leave out interactions older than so many days, 1 to 100,000; those without a
            timestamp stay.
        data_tags: Use batches that carry any of these tags; empty means every batch that is not archived.
        callback_url: Address that gets a signed POST with the status when the training has ended.
        precompute: Further pairs of types whose recommendations are computed ahead.
        data_filters: Conditions on entities and interactions that all must hold.
        metadata_rules: How to use metadata keys where the data would decide otherwise, for example {"zip": "ignored"}.
        interaction_rules: What types of interactions say of liking and dislike, where the data would decide otherwise,
            for example {"rated": {"value_key": "stars"}, "returned": {"weight": -1}}.
        allow_type_changes: Train even where more than 1% of a type's ids have become another type.
        max_minutes: Give up trying settings for which no time is left, so that the training takes about so long.
        version: The API alone passes it, for trainings that it has entered, whose request the catalog holds.
    """
    settings = load_settings()
    asked = {
        "model_id": model_id,
        "maximum_interaction_age_days": maximum_interaction_age_days,
        "data_tags": data_tags or None,
        "callback_url": callback_url or None,
        "precompute": precompute or None,
        "data_filters": data_filters,
        "metadata_rules": metadata_rules or None,
        "interaction_rules": interaction_rules or None,
        "allow_type_changes": allow_type_changes,
        "max_minutes": max_minutes,
    }
    request = check(TrainingRequest, asked)
    if request.callback_url:
        check_callback(settings, request.callback_url)
    ended: Training | None = None
    try:
        with working_on(settings, request, version) as training:
            ended = training
            with progress_bar("progress", training.model_id) as progress_id, cancellable():
                what = f"model {training.model_id} version {training.version}"
                say_who_asked(what, "POST train", over_http=version is not None)
                link_flow_run(training)
                link_api(settings, training.model_id)
                made = do_steps(training, TRAINING, progress_id)
        show_version(training)
    finally:
        if ended:
            tell_training(ended)
            tell_customer(ended)
    status: ModelStatus = made["publish"]
    state = "is live" if training.versions.is_live(status.version) else "waits"
    print(f"model {status.model_id} version {status.version} {state} with {made['precompute']:,} recommendations")
    if status.message:
        print(status.message)
    return status.model_dump(mode="json")
