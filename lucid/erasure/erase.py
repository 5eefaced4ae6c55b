"""Erasure: entities leave for good, from every file under `LUCID_HOME`.

Published files are never changed (nobody must find one half-written), so each is written anew without the entities and
takes the old one's place: a batch's rows, the catalog, and of each model the version that answers. Older versions that
hold one of the entities are removed. Nobody can tell what a damaged version holds, so those are removed too. Every part
can be done again, so an erasure that was cut off is simply repeated.
"""

from collections.abc import Sequence

from lucid.erasure.batches import erase_from_batches
from lucid.erasure.matching import matcher
from lucid.erasure.models import erase_from_model
from lucid.errors import InvalidRequest
from lucid.schema.batches import Erased
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.impression_log import ImpressionLog
from lucid.typing import Progress

MAX_IDS_LENGTH = 1_000_000
"""Characters of ids in one call, all together."""


def erase(settings: Settings, ids: Sequence[str], progress: Progress) -> Erased:
    """Erase entities in this process and count what went; waits for imports and trainings that are under way."""
    check_ids(ids)
    models = Catalog(settings.home).trainings.models()
    progress(0, "batches")
    counts = erase_from_batches(settings, ids)
    for number, model_id in enumerate(models, start=1):
        progress(100 * number / (len(models) + 1), f"model {model_id}")
        counts += erase_from_model(settings, model_id, ids)
    return counts + _erase_from_impressions(settings, ids)  # last: until now an answer could show the entities


def _erase_from_impressions(settings: Settings, ids: Sequence[str]) -> Erased:
    log = ImpressionLog(settings.home)
    try:
        return Erased(impressions=log.erase(ids, matcher(ids)))
    finally:
        log.close()


def check_ids(ids: Sequence[str]) -> None:
    """Raise InvalidRequest for ids that cannot be erased in one call."""
    if not ids or not all(ids):
        raise InvalidRequest("name the entities to erase by their ids; an id is not empty")
    if (size := sum(map(len, ids))) > MAX_IDS_LENGTH:
        raise InvalidRequest(
            f"the ids are {size:,} characters together, at most {MAX_IDS_LENGTH:,} are erased in one call; make several"
        )
