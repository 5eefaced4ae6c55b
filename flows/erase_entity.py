"""The flow that erases entities for good."""

import logging
import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from lucid.erasure import batches, models, requests
from lucid.flows.logs import say_steps
from lucid.flows.sentences import in_a_sentence
from lucid.schema.batches import Erased
from lucid.schema.fields import Text
from lucid.settings import load_settings
from lucid.store.catalog import Catalog

_log = logging.getLogger("lucid")


@flow(
    name="erase_entity",
    flow_run_name="erase entities",
    log_prints=True,
    on_running=[say_steps],
    retries=2,
    retry_delay_seconds=10,
)
def erase_entity(request: Text) -> dict[str, int]:
    """Erase entities from batches, models and recommendations.

    Args:
        request: Name of the request that the API has written down. Prefect keeps the parameters of every run, so the
            ids themselves never stand here; by hand, use the command: lucid erase ID.
    """
    settings = load_settings()
    with requests.working_on(settings, request):
        done = erase_from_batches(request, return_state=True)
        counts = done.result()
        for model_id in Catalog(settings.home).trainings.models():
            done = erase_from_model(model_id, request, wait_for=[done], return_state=True)
            counts += done.result()
        requests.finish(settings, request, counts)
    print(_told(counts))
    return counts.model_dump()


# Tasks are given the name of the request too, and read the ids themselves.


@task(task_run_name="erase from batches", cache_policy=NO_CACHE)
@in_a_sentence
def erase_from_batches(request: str) -> Erased:
    """Write batches anew without the entities."""
    settings, began = load_settings(), time.monotonic()
    counts = batches.erase_from_batches(settings, requests.ids_of(settings, request))
    _log.info("erasing from batches took %.1f s; %s", time.monotonic() - began, _told(counts))
    return counts


@task(task_run_name="erase from {model_id}", cache_policy=NO_CACHE)
@in_a_sentence
def erase_from_model(model_id: str, request: str) -> Erased:
    """Let a version without the entities answer."""
    settings, began = load_settings(), time.monotonic()
    counts = models.erase_from_model(settings, model_id, requests.ids_of(settings, request))
    _log.info("erasing from model %s took %.1f s; %s", model_id, time.monotonic() - began, _told(counts))
    return counts


def _told(counts: Erased) -> str:
    return ", ".join(f"{place.replace('_', ' ')}: {count:,}" for place, count in counts.model_dump().items())
