"""What the training and the refresh flow share: the training's steps as tasks, and what Prefect shows of them."""

import logging
import re
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect import runtime, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from lucid.schema.training import ModelStatus
from lucid.settings import Settings
from lucid.store.catalog import Catalog, Event
from lucid.training import run, steps
from lucid.training.markdown import escaped
from lucid.training.report import read_report
from lucid.training.report_page import as_markdown
from lucid.training.run import Training
from lucid.webhooks.callbacks import RETRY_SECONDS, deliver

_log = logging.getLogger(__name__)
_KEY_LENGTH = 150

# No task is run again on its own: a training step fails for reasons that stay. Only the callback depends on others.


@task(task_run_name="select data for {training.model_id}", cache_policy=NO_CACHE)
def select_data(training: Training) -> None:
    """Choose the rows by tags and age."""
    steps.select_data(training)


@task(task_run_name="build graph of {training.model_id}", cache_policy=NO_CACHE)
def build_graph(training: Training) -> None:
    """Turn the rows into a typed graph."""
    steps.build_graph(training)


@task(task_run_name="fit {training.model_id}", cache_policy=NO_CACHE)
def fit_model(training: Training) -> None:
    """Choose on held-out interactions, then fit on everything."""
    steps.fit_model(training)


@task(task_run_name="evaluate {training.model_id}", cache_policy=NO_CACHE)
def evaluate_model(training: Training) -> None:
    """Judge on held-out interactions that nothing was chosen on, and show the report."""
    steps.evaluate_model(training)
    show_report(training)


@task(task_run_name="take over version {training.refresh_of}", cache_policy=NO_CACHE)
def take_over(training: Training) -> None:
    """Give a refresh the vectors of the version it refreshes."""
    steps.fold_in(training)


@task(task_run_name="precompute {training.model_id}", cache_policy=NO_CACHE)
def precompute(training: Training) -> int:
    """Compute recommendations ahead."""
    return steps.precompute(training)


@task(task_run_name="publish version {training.version} of {training.model_id}", cache_policy=NO_CACHE)
def publish(training: Training) -> ModelStatus:
    """Let the new version answer."""
    return steps.publish(training)


@task(
    task_run_name="call back {event.name}",
    cache_policy=NO_CACHE,
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=[float(seconds) for seconds in RETRY_SECONDS],
)
def send_callback(settings: Settings, event: Event) -> None:
    """Tell the customer how the training ended."""
    deliver(settings, Catalog(settings.home), event)


def tell_customer(training: Training) -> None:
    """Send the callback; one that cannot be delivered fails its task but not the training."""
    if event := run.ended_event(training):
        send_callback(training.settings, event, return_state=True)


def progress_artifact(label: str) -> Callable[[float, str], None]:
    """A progress bar on the flow run's page; returns what moves it."""
    artifact = create_progress_artifact(progress=0.0, key=_key("progress", label), description="starting")
    assert isinstance(artifact, UUID)

    def move(percent: float, doing: str) -> None:
        try:
            # Prefect shows descriptions as Markdown, and this one may name types and models of customers.
            update_progress_artifact(artifact_id=artifact, progress=round(percent, 1), description=escaped(doing))
        except httpx.HTTPError as error:  # Prefect only shows the work; the work goes on without it
            _log.warning("the progress bar could not be moved: %s", error)

    return move


def show_report(training: Training) -> None:
    """The training report on the flow run's page."""
    markdown = as_markdown(read_report(training.folder))
    create_markdown_artifact(markdown, key=_key("report", training.model_id), description="Training report")


def link_flow_run(training: Training) -> None:
    """Note in the catalog which flow run works on a training."""
    run_id = str(runtime.flow_run.id)
    url = f"{training.settings.prefect_ui}/runs/flow-run/{run_id}"
    training.catalog.set_training_flow_run(training.model_id, training.version, run_id, url)


def _key(kind: str, label: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub('[^a-z0-9]+', '-', label.lower()).strip('-')[:_KEY_LENGTH] or 'model'}"
