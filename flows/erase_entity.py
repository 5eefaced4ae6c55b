"""The flow that erases entities for good."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from lucid.erasure import batches, models, requests
from lucid.flows.logs import say_steps
from lucid.flows.sentences import in_a_sentence
from lucid.schema.batches import Erased
from lucid.schema.fields import Text
from lucid.settings import load_settings
from lucid.store.catalog import Catalog


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
        counts = erase_from_batches(request)
        for model_id in Catalog(settings.home).trainings.models():
            counts += erase_from_model(model_id, request)
        requests.finish(settings, request, counts)
    print(", ".join(f"{place.replace('_', ' ')}: {count:,}" for place, count in counts.model_dump().items()))
    return counts.model_dump()


# Tasks are given the name of the request too, and read the ids themselves.


@task(task_run_name="erase from batches", cache_policy=NO_CACHE)
@in_a_sentence
def erase_from_batches(request: str) -> Erased:
    """Write batches anew without the entities."""
    settings = load_settings()
    return batches.erase_from_batches(settings, requests.ids_of(settings, request))


@task(task_run_name="erase from {model_id}", cache_policy=NO_CACHE)
@in_a_sentence
def erase_from_model(model_id: str, request: str) -> Erased:
    """Let a version without the entities answer."""
    settings = load_settings()
    return models.erase_from_model(settings, model_id, requests.ids_of(settings, request))
