"""Tasks that the training and the refresh flow share: the training's steps, the callback, and what Prefect shows.

What a task is given is small and tells nothing in confidence - names, numbers, paths - so that any task runner can take
it; each loads the settings itself and opens what it needs.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from prefect import Task, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from lucid.errors import UnknownModel
from lucid.flows.artifacts import progress_on, show_quality, tag_run
from lucid.flows.sentences import in_a_sentence
from lucid.logs import from_now_on_about
from lucid.schema.fields import utc_now
from lucid.service.prefect_api import model_tag
from lucid.settings import load_settings
from lucid.store.catalog import Catalog
from lucid.training import run, steps
from lucid.training.run import Training
from lucid.training.steps import Step
from lucid.webhooks.callbacks import OWN_PAUSES, deliver

_STEPS = {step.name: step for step in (*steps.TRAINING, *steps.REFRESH)}


@task(cache_policy=NO_CACHE)
@in_a_sentence
def do_step(step: str, model_id: str, version: int, progress_id: str) -> Any:
    """Do one step of a training that runs."""
    from_now_on_about(model_id=model_id, version=version)  # where the task runner has processes of its own
    training = run.resume(load_settings(), model_id, version, progress_on(progress_id))
    made = _STEPS[step](training)
    if step == steps.evaluate_model.name:
        show_quality(training)
    return made


# No step is done again on its own: it fails for reasons that stay. Only the callback depends on others.
STEP_TASKS: dict[str, Task[[str, str, int, str], Any]] = {
    name: do_step.with_options(
        name=name,
        description=f"A step of a training: {step.doing}.",
        task_run_name=name.replace("_", " ") + ": {model_id} version {version}",
    )
    for name, step in _STEPS.items()
}
"""A task for each step, by its name."""


def do_steps(training: Training, todo: Sequence[Step[Any]], progress_id: str) -> dict[str, Any]:
    """Do steps of a training one after the other, each as a task; returns by name what they have made."""
    done: State[Any] | None = None
    made = {}
    for step in todo:
        done = STEP_TASKS[step.name](
            *(step.name, training.model_id, training.version, progress_id),
            wait_for=[done] if done else [],
            return_state=True,
        )
        made[step.name] = done.result()
    return made


@task(
    task_run_name="call back: {model_id} version {version}",
    cache_policy=NO_CACHE,
    retries=len(OWN_PAUSES),
    retry_delay_seconds=[float(seconds) for seconds in OWN_PAUSES],
)
@in_a_sentence
def send_callback(model_id: str, version: int, event_id: str, created: str) -> None:
    """Tell the customer how the training ended; every attempt sends the same event. `created` is a time in ISO 8601.

    Where the last one fails, the service goes on for a quarter of an hour.
    """
    settings = load_settings()
    try:
        event = run.ended_event(run.find(settings, model_id, version), event_id, datetime.fromisoformat(created))
    except UnknownModel:  # deleted meanwhile, with all that was to tell
        return
    if event:
        deliver(settings, Catalog(settings.home), event, OWN_PAUSES)


def tell_customer(training: Training) -> None:
    """Send the callback, if one was asked for; one that cannot be delivered fails its task but not the training."""
    if run.ended_event(training):
        send_callback(training.model_id, training.version, uuid4().hex, utc_now().isoformat(), return_state=True)


def link_flow_run(training: Training) -> None:
    """Note in the catalog which flow run works on a training, and on the run on which model it works."""
    run_id = str(runtime.flow_run.id)
    url = f"{training.settings.prefect_ui}/runs/flow-run/{run_id}"
    training.catalog.trainings.set_flow_run(training.model_id, training.version, run_id, url)
    tag_run(model_tag(training.model_id))
