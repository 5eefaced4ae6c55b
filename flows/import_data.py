"""The flow that turns uploaded CSV files into batches."""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task, unmapped
from prefect.assets import materialize
from prefect.cache_policies import NO_CACHE
from prefect.futures import wait

from lucid.data.batches import batches_of, importing, load_batch, publish_batches
from lucid.flows.artifacts import tag_run
from lucid.flows.assets import BATCHES, batch_asset
from lucid.flows.events import tell_batches
from lucid.flows.forms import BatchesOfApi, Files, Tags
from lucid.flows.logs import say_steps, say_who_asked
from lucid.flows.names import run_name
from lucid.flows.sentences import cancellable, in_a_sentence
from lucid.flows.spreading import task_runner
from lucid.schema.batches import Naming, naming_of
from lucid.schema.fields import OnError
from lucid.service.prefect_api import batch_tag
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home

_log = logging.getLogger("lucid")
FILES_AT_ONCE = 2
"""How many files of one import are loaded at the same time: each takes up to 1 GB of memory."""
_DASK_BYTES = 50_000_000
"""Files that are smaller together are loaded in less time than a Dask cluster of our own takes to start."""


@flow(
    name="import_data",
    flow_run_name=lambda: run_name("import", *(Path(file).name for file in runtime.flow_run.parameters["files"])),
    log_prints=True,
    on_running=[say_steps],
)
@in_a_sentence
def import_data(
    files: Files,
    tags: Tags | None = None,
    on_error: OnError = "set_aside",
    source_type: str | None = None,
    target_type: str | None = None,
    namespace: bool = False,
    batch_ids: BatchesOfApi = None,
) -> list[dict[str, Any]]:
    """Import CSV files of entities or interactions, one batch each; all of them or none.

    Args:
        files: Paths of .csv or .csv.gz files on the machine that runs this flow.
        tags: Labels of the batches, by which a training chooses its data.
        on_error: Set bad rows aside and load the others, or abort at the first bad row.
        source_type: Type of the sources of interactions whose file has no column source_type.
        target_type: Type of the targets of interactions whose file has no column target_type.
        namespace: Ids are those of their type, and entities are called type:id.
        batch_ids: The API alone passes it, for files that were uploaded over HTTP.
    """
    settings = load_settings()
    catalog = Catalog(settings.home)
    batches = catalog.batches.find(batch_ids) if batch_ids else batches_of([Path(file) for file in files], tags or [])
    ids = [batch.batch_id for batch in batches]
    naming = naming_of(source_type or None, target_type or None, namespace=namespace)
    if batch_ids:
        files = [_uploaded(settings, batch_id, file) for batch_id, file in zip(ids, files, strict=True)]
    say_who_asked(f"files: {len(files):,}", "POST data_batch", over_http=batch_ids is not None)
    tag_run(*map(batch_tag, ids))
    with importing(settings, catalog, batches), cancellable():
        # Where this run is cancelled, loading ends with the runner: nothing is removed that is still being written.
        with task_runner(settings, FILES_AT_ONCE, dask=_are_worth_dask(settings, files)) as runner:
            each = {"path": files, "batch_id": ids}
            alike = {"on_error": on_error, "naming": unmapped(asdict(naming))}
            loading = runner().map(load_file, each | alike)  # type: ignore[arg-type]  # one that is not async
            wait(list(loading))
        loading.result()  # raises what made the first of them fail
        publish.with_options(assets=[batch_asset(batch_id) for batch_id in ids])(ids, wait_for=loading)
    tell_batches(settings, ids)
    return [batch.model_dump(mode="json") for batch in catalog.batches.find(ids)]


def _uploaded(settings: Settings, batch_id: str, file: str) -> str:
    """Where the upload of a batch lies: in this home, though the run was made in one that was backed up elsewhere."""
    here = Home(settings.home).upload(batch_id) / Path(file).name
    return str(here) if here.exists() else file


def _are_worth_dask(settings: Settings, files: Sequence[str]) -> bool:
    """Whether several processes would load files sooner, in case the settings want Dask."""
    if len(files) < 2 or settings.dask_address:
        return len(files) > 1
    return sum(Path(file).stat().st_size for file in files if Path(file).exists()) >= _DASK_BYTES


@task(task_run_name=lambda: run_name("load", Path(runtime.task_run.parameters["path"]).name), cache_policy=NO_CACHE)
@in_a_sentence
def load_file(path: str, batch_id: str, on_error: OnError, naming: dict[str, Any]) -> None:
    """Load one file into its batch, which nobody sees yet."""
    load_batch(load_settings(), Path(path), batch_id, on_error, Naming(**naming))


@materialize(BATCHES, task_run_name="publish", cache_policy=NO_CACHE)
@in_a_sentence
def publish(batch_ids: list[str]) -> None:
    """Make the batches of all files visible together."""
    settings, began = load_settings(), time.monotonic()
    publish_batches(settings.home, Catalog(settings.home), batch_ids)
    _log.info("publishing took %.1f s; batches: %d", time.monotonic() - began, len(batch_ids))
