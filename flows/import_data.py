"""The flow that turns uploaded CSV files into batches."""

from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE

from flows.names import run_name
from lucid.data.batches import batches_of, import_files
from lucid.schema.batches import Batch
from lucid.schema.fields import OnError
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog


@flow(
    name="import_data",
    flow_run_name=lambda: run_name("import", *(Path(file).name for file in runtime.flow_run.parameters["files"])),
    log_prints=True,
)
def import_data(
    files: list[str],
    tags: list[str] | None = None,
    on_error: OnError = "set_aside",
    batch_ids: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Import CSV files of entities or interactions, one batch each; all of them or none.

    Args:
        files: Paths of .csv or .csv.gz files on the machine that runs this flow.
        tags: Labels of the batches, by which a training chooses its data.
        on_error: Set bad rows aside and load the others, or abort at the first bad row.
        batch_ids: Leave empty; the API fills it in for files that were uploaded over HTTP.
    """
    settings = load_settings()
    batches = load_files(settings, [Path(file) for file in files], tags or [], on_error, batch_ids)
    for batch in batches:
        counts = f"{batch.entity_count:,} entities, {batch.interaction_count:,} interactions"
        print(f"{batch.file_name}: {counts}, {batch.rejected_count:,} rows set aside (batch {batch.batch_id})")
    return [batch.model_dump(mode="json") for batch in batches]


@task(task_run_name="load files", cache_policy=NO_CACHE)
def load_files(
    settings: Settings, paths: list[Path], tags: list[str], on_error: OnError, batch_ids: list[str] | None
) -> list[Batch]:
    """Load the files and make their batches visible together."""
    catalog = Catalog(settings.home)
    batches = catalog.batches(batch_ids) if batch_ids else batches_of(paths, tags)
    return import_files(settings, catalog, paths, batches, on_error)
