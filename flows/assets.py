"""What flow runs make, as assets of Prefect: batches, versions of models and their precomputed answers.

The events tell which were made of which; Prefect's open-source server keeps them and has no pages for them. An id of
ours has no character that a key may not have, and no slash, so keys need no escaping.
"""

from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE

from lucid.errors import LucidError
from lucid.events import made_of
from lucid.training.run import Training

BATCHES = "lucid://batches"
_MOST = 80
"""How many assets one is said to be made of at most: an event has 100 related resources, those of its run included."""


def batch_asset(batch_id: str) -> Asset:
    return Asset(key=f"{BATCHES}/{batch_id}")


def version_asset(model_id: str, version: int) -> Asset:
    name = f"{model_id} version {version}"
    return Asset(key=f"lucid://models/{model_id}/versions/{version}", properties=AssetProperties(name=name))


def answers_asset(model_id: str, version: int) -> Asset:
    name = f"recommendations of {model_id} version {version}"
    key = f"{version_asset(model_id, version).key}/recommendations"
    return Asset(key=key, properties=AssetProperties(name=name))


def show_version(training: Training) -> None:
    """Tell of a version that is published, of the batches and the parent that it was made of, and of its answers."""
    try:
        row = training.catalog.trainings.get(training.model_id, training.version)
    except LucidError:  # deleted in this moment, or the catalog is busy: it only shows what is done
        return
    parents = [version_asset(training.model_id, row.refresh_of)] if row.refresh_of else []
    batches = [batch_asset(batch_id) for batch_id in row.status.data_batch_ids]
    counts = made_of(training.settings, row)
    version = version_asset(training.model_id, training.version)
    _materialize(version, [*parents, *batches], counts)
    _materialize(answers_asset(training.model_id, training.version), [version], counts)


def _materialize(asset: Asset, of: Sequence[Asset], metadata: dict[str, Any]) -> None:
    """Tell of an asset; where that fails, its task does, and what was made stays."""
    deps: list[str | Asset] = [*of[:_MOST]]
    tell = materialize(asset, asset_deps=deps, name="asset", task_run_name="asset: {key}", cache_policy=NO_CACHE)(_note)
    tell(asset.key, metadata, return_state=True)


def _note(key: str, metadata: dict[str, Any]) -> None:
    add_asset_metadata(key, metadata)
