"""The flow that erases entities for good."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from lucid.erasure import batches, models, requests
from lucid.schema.batches import Erased
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog


@flow(name="erase_entity", flow_run_name="erase entities", log_prints=True, retries=2, retry_delay_seconds=10)
def erase_entity(request: str) -> dict[str, int]:
    """Erase entities from batches, models and recommendations.

    Args:
        request: Name of the request that the API has written down. Prefect keeps the parameters of every run, so the
            ids themselves never stand here; by hand, use the command: lucid erase ID.
    """
    settings = load_settings()
    with requests.working_on(settings, request) as ids:
        counts = erase_from_batches(settings, ids)
        for model_id in Catalog(settings.home).models():
            counts += erase_from_model(settings, model_id, ids)
        requests.finish(settings, request, counts)
    print(", ".join(f"{place.replace('_', ' ')}: {count:,}" for place, count in counts.model_dump().items()))
    return counts.model_dump()


@task(task_run_name="erase from batches", cache_policy=NO_CACHE)
def erase_from_batches(settings: Settings, ids: list[str]) -> Erased:
    """Write batches anew without the entities."""
    return batches.erase_from_batches(settings, ids)


@task(task_run_name="erase from {model_id}", cache_policy=NO_CACHE)
def erase_from_model(settings: Settings, model_id: str, ids: list[str]) -> Erased:
    """Let a version without the entities answer."""
    return models.erase_from_model(settings, model_id, ids)
