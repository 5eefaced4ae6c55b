"""Tasks that the training and the refresh flow share: the training's steps, the callback, and what Prefect shows.

What a task is given is small and tells nothing in confidence - names, numbers, paths - so that any task runner can take
it; each loads the settings itself and opens what it needs.
"""

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import Task, runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from lucid.errors import UnknownModel
from lucid.flows.sentences import in_a_sentence
from lucid.logs import from_now_on_about
from lucid.schema.fields import utc_now
from lucid.settings import load_settings
from lucid.store.catalog import Catalog
from lucid.training import run, steps
from lucid.training.markdown import escaped
from lucid.training.report import read_report
from lucid.training.report_page import as_markdown
from lucid.training.run import Training
from lucid.training.steps import Step
from lucid.typing import Progress
from lucid.webhooks.callbacks import OWN_PAUSES, deliver

_log = logging.getLogger(__name__)
_KEY_LENGTH = 150
_STEPS = {step.name: step for step in (*steps.TRAINING, *steps.REFRESH)}


@task(cache_policy=NO_CACHE)
@in_a_sentence
def do_step(step: str, model_id: str, version: int, progress_id: str) -> Any:
    """Do one step of a training that runs."""
    from_now_on_about(model_id=model_id, version=version)  # where the task runner has processes of its own
    training = run.resume(load_settings(), model_id, version, _progress_on(progress_id))
    made = _STEPS[step](training)
    if step == steps.evaluate_model.name:
        _show_report(training)
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


def progress_artifact(label: str) -> str:
    """Put a progress bar on the flow run's page; returns its id, by which the steps move it."""
    artifact = create_progress_artifact(progress=0.0, key=_key("progress", label), description="starting")
    assert isinstance(artifact, UUID)
    return str(artifact)


def _progress_on(progress_id: str) -> Progress:
    """Moves a progress bar."""

    def move(percent: float, doing: str) -> None:
        try:
            # Prefect shows descriptions as Markdown, and this one may name types and models of customers.
            update_progress_artifact(UUID(progress_id), progress=round(percent, 1), description=escaped(doing))
        except httpx.HTTPError as error:  # Prefect only shows the work; the work goes on without it
            _log.warning("the progress bar could not be moved: %s", error)

    return move


def _show_report(training: Training) -> None:
    """The training report on the flow run's page."""
    markdown = as_markdown(read_report(training.folder))
    create_markdown_artifact(markdown, key=_key("report", training.model_id), description="Training report")


def link_flow_run(training: Training) -> None:
    """Note in the catalog which flow run works on a training."""
    run_id = str(runtime.flow_run.id)
    url = f"{training.settings.prefect_ui}/runs/flow-run/{run_id}"
    training.catalog.trainings.set_flow_run(training.model_id, training.version, run_id, url)


def _key(kind: str, label: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', label.lower()).strip('-')[:_KEY_LENGTH] or 'model'}"
