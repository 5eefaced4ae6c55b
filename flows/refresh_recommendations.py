"""The flow that precomputes recommendations again, so that new interactions are left out of them."""

from typing import Any, cast

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed

from lucid.errors import AlreadyTraining, LucidError, ModelNotReady, NothingToRefresh, UnknownModel
from lucid.flows.artifacts import end_progress, progress_bar
from lucid.flows.assets import show_version
from lucid.flows.events import tell_training
from lucid.flows.forms import VersionOfApi
from lucid.flows.logs import say_steps
from lucid.flows.names import run_name
from lucid.flows.sentences import cancellable, in_a_sentence
from lucid.flows.spreading import IN_THREADS, task_runner
from lucid.flows.tasks import do_steps, link_flow_run
from lucid.schema.fields import ModelId
from lucid.settings import load_settings
from lucid.side_by_side import be_one_of_several
from lucid.store.catalog import Catalog
from lucid.training.run import Training, refreshing
from lucid.training.steps import REFRESH, tell_refresh

_REFRESHED, _UNCHANGED, _SKIPPED = "Completed", "Unchanged", "Skipped"
"""Names of the states in which a model's refresh may end well: Prefect shows them."""


@flow(
    name="refresh_recommendations",
    flow_run_name=lambda: run_name("refresh", runtime.flow_run.parameters.get("model_id") or "all models"),
    log_prints=True,
    on_running=[say_steps],
    on_failure=[end_progress],
    on_crashed=[end_progress],
    on_cancellation=[end_progress],
)
@in_a_sentence
def refresh_recommendations(model_id: ModelId | None = None, version: VersionOfApi = None) -> list[str]:
    """Precompute the recommendations of live versions again, with the interactions that have come in since.

    Vectors stay as they were trained; the result is a version of its own, and the old one answers until it is ready. A
    model of whose batches nothing is left stays as it is.

    Args:
        model_id: The model to refresh; empty means all.
        version: The API alone passes it, for refreshes that it has entered.
    """
    settings = load_settings()
    names = [model_id] if model_id else Catalog(settings.home).trainings.models()
    # One model after the other, for each takes all processors; on Dask several, each on a processor of its own.
    several = settings.task_runner == "dask" and len(names) > 1
    with task_runner(settings, None if several else 1, dask=several) as runner:
        refreshing_each = runner().map(refresh_model, {"model_id": names, "apart": not several, "version": version})
        wait(list(refreshing_each))
    states = dict(zip(names, (one.state for one in refreshing_each), strict=True))
    failed = [f"{name}: {_reason(state)}" for name, state in states.items() if not state.is_completed()]
    if model_id:  # that one was asked for by its name
        failed += [f"{name}: {state.message}" for name, state in states.items() if state.name == _SKIPPED]
    if failed:
        raise LucidError("; ".join(failed))
    said = "; ".join(f"{name}: {state.message}" for name, state in states.items()) or "there is no model"
    refreshed = [name for name, state in states.items() if state.name == _REFRESHED]
    return cast(list[str], Completed(message=said, data=refreshed))  # Prefect takes a state for a result


@task(task_run_name="refresh {model_id}", cache_policy=NO_CACHE)
@in_a_sentence
def refresh_model(model_id: str, apart: bool, version: int | None = None) -> Any:
    """Make and publish a refreshed version of one model; one that is being trained or not ready is left out.

    With `apart`, parts of its steps are mapped as tasks too; else all is done on one processor. `version` is the one
    that was entered for it, if any.
    """
    if not apart:
        be_one_of_several()
    try:
        training = IN_THREADS.doing(_refresh)(model_id, version, apart)
        tell_training(training)
        show_version(training)
    except NothingToRefresh as reason:
        return Completed(name=_UNCHANGED, message=reason.message)
    except (AlreadyTraining, ModelNotReady, UnknownModel) as reason:
        return Completed(name=_SKIPPED, message=reason.message)
    return Completed(name=_REFRESHED, message=tell_refresh(training), data=training.version)


def _refresh(model_id: str, version: int | None, apart: bool) -> Training:
    """Make and publish a refreshed version, unless the run is cancelled meanwhile."""
    refreshing_it = refreshing(load_settings(), model_id, version)
    with refreshing_it as training, progress_bar("refresh", model_id) as progress_id, cancellable():
        link_flow_run(training)
        do_steps(training, REFRESH, progress_id, apart=apart)
    return training


def _reason(state: State[Any]) -> str:
    """What made a model fail, in a sentence where it is one of our errors."""
    if not state.is_final():
        return "the Dask workers that did it have ended, perhaps for want of memory"
    error = state.result(raise_on_failure=False)
    return error.message if isinstance(error, LucidError) else f"{state.message}"
