"""Tasks that the training and the refresh flow share: the training's steps, the callback, and what Prefect shows.

What a task is given is small and tells nothing in confidence - names, numbers, paths - so that any task runner can take
it; each loads the settings itself and opens what it needs.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from prefect import Task, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from lucid.errors import MachineError, UnknownModel
from lucid.flows.artifacts import progress_on, show_quality, tag_run
from lucid.flows.sentences import in_a_sentence
from lucid.flows.spreading import IN_THREADS, results, runner, spread, spreading
from lucid.logs import about
from lucid.schema.fields import utc_now
from lucid.service.prefect_api import model_tag
from lucid.settings import load_settings
from lucid.side_by_side import be_one_of_several, one_core_each
from lucid.store.catalog import Catalog
from lucid.store.machine import telling
from lucid.training import run, steps
from lucid.training.parts import Described
from lucid.training.run import Training
from lucid.training.steps import Step
from lucid.webhooks.callbacks import OWN_PAUSES, deliver

_PART_PAUSES = (1.0, 5.0)
"""Seconds after which a part that the machine failed is done again."""
_STEPS = {step.name: step for step in (*steps.TRAINING, *steps.REFRESH)}


@task(cache_policy=NO_CACHE)
@in_a_sentence
def do_step(step: str, model_id: str, version: int, progress_id: str) -> Any:
    """Do one step of a training that runs."""
    with about(model_id=model_id, version=version):  # where the task runner has processes of its own
        settings = load_settings()
        training = run.resume(settings, model_id, version, progress_on(progress_id))
        made = _STEPS[step](replace(training, spread=spread(settings, _mapped)))
        if step == steps.evaluate_model.name:
            show_quality(training)
        return made


# No step is done again on its own: it fails for reasons that stay. Only its parts and the callback depend on others.
STEP_TASKS: dict[str, Task[[str, str, int, str], Any]] = {
    name: do_step.with_options(
        name=name,
        description=f"A step of a training: {step.doing}.",
        task_run_name=name.replace("_", " ") + ": {model_id} version {version}",
    )
    for name, step in _STEPS.items()
}
"""A task for each step, by its name."""


def _machine_failed(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a part may go well the next time."""
    return isinstance(state.data, MachineError)


@task(
    cache_policy=NO_CACHE,
    retries=len(_PART_PAUSES),
    retry_delay_seconds=list(_PART_PAUSES),
    retry_condition_fn=_machine_failed,
)
@in_a_sentence
def do_part(kind: str, model_id: str, version: int, part: Described, number: int) -> Any:
    """Do a part of a step of a training that runs, beside others; `number` counts them."""
    del number
    be_one_of_several()
    training = run.resume(load_settings(), model_id, version)
    with telling(training.folder):
        return IN_THREADS.doing(steps.PARTS[kind].work)(training, part)


PART_TASKS: dict[str, Task[[str, str, int, Described, int], Any]] = {
    name: do_part.with_options(
        name=name,
        description=f"A part of a step, done beside others: {kind.doing}.",
        task_run_name=kind.doing + " {part.name}: part {number}",
    )
    for name, kind in steps.PARTS.items()
}
"""A task for each kind of parts, by its name."""


def _mapped(training: Training, kind: str, parts: Sequence[Described]) -> Iterator[Any]:
    """Map parts of a step."""
    given = {"kind": kind, "model_id": training.model_id, "version": training.version}
    mapped = {"part": list(parts), "number": list(range(1, len(parts) + 1))}
    with one_core_each():
        yield from results(runner().map(PART_TASKS[kind], given | mapped))


def do_steps(training: Training, todo: Sequence[Step[Any]], progress_id: str, *, apart: bool = True) -> dict[str, Any]:
    """Do steps of a training one after the other, each as a task; returns by name what they have made.

    With `apart`, their parts are mapped as tasks too.
    """
    with spreading(training.settings) if apart else nullcontext():
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
