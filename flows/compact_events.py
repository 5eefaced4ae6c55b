"""The flow that turns events, which come one at a time, into batches."""

import logging
import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from lucid.data.event_batches import compact_events as compact
from lucid.flows.artifacts import tag_run
from lucid.flows.events import tell_batches
from lucid.flows.logs import say_steps
from lucid.flows.sentences import in_a_sentence
from lucid.service.prefect_api import batch_tag
from lucid.settings import load_settings
from lucid.store.catalog import Catalog

_log = logging.getLogger("lucid")


@flow(name="compact_events", flow_run_name="compact events", log_prints=True, on_running=[say_steps])
@in_a_sentence
def compact_events() -> list[str]:
    """Turn the events that have come so far into batches with the tag events; returns the ids of these."""
    batch_ids = write_batches()
    tag_run(*map(batch_tag, batch_ids))
    if batch_ids:
        tell_batches(load_settings(), batch_ids)
    return batch_ids


@task(task_run_name="write batches", cache_policy=NO_CACHE)
@in_a_sentence
def write_batches() -> list[str]:
    """Write batches of the events, and let trainings see them in place of these."""
    settings, began = load_settings(), time.monotonic()
    batches = compact(settings, Catalog(settings.home))
    counts = (
        sum(batch.entity_count for batch in batches),
        sum(batch.interaction_count for batch in batches),
    )
    took = time.monotonic() - began
    _log.info("compacting took %.1f s; entities: %d, interactions: %d, batches: %d", took, *counts, len(batches))
    return [batch.batch_id for batch in batches]
