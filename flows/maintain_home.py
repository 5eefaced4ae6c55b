"""The flow that removes what nothing needs any more, and shows what the rest takes of the disk."""

from collections.abc import Sequence
from typing import Annotated

from prefect import flow, runtime, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from lucid.disk import DiskMeter
from lucid.errors import LucidError
from lucid.flows.logs import say_steps
from lucid.flows.sentences import in_a_sentence
from lucid.maintenance import MAX_DAYS, STEPS, Removed, upkeep_now
from lucid.schema.disk import DiskUse, in_megabytes
from lucid.settings import load_settings
from lucid.training.markdown import escaped

_STEPS = {step.what: step for step in STEPS}
Days = Annotated[float, Field(ge=0, le=MAX_DAYS)]


@flow(
    name="maintain_home",
    flow_run_name=lambda: "maintenance, dry run" if runtime.flow_run.parameters.get("dry_run") else "maintenance",
    log_prints=True,
    on_running=[say_steps],
)
@in_a_sentence
def maintain_home(dry_run: bool = False, keep_history_days: Days | None = None) -> dict[str, int]:
    """Remove what nothing needs any more: old versions, half-done files, old logs and history; compact databases.

    What goes wrong with one step stops no other. Returns how many things went, by step.

    Args:
        dry_run: Only look, and say what would be removed.
        keep_history_days: How long history is kept; empty means as the settings say.
    """
    done = {what: remove(what, dry_run, keep_history_days, return_state=True) for what in _STEPS}
    removed = {what: state.result() for what, state in done.items() if state.is_completed()}
    failed = [f"{what}: {state.message}" for what, state in done.items() if what not in removed]
    show(removed, dry_run)
    if failed:
        raise LucidError("; ".join(failed))
    return {what: one.count for what, one in removed.items()}


@task(task_run_name="{what}", cache_policy=NO_CACHE)
@in_a_sentence
def remove(what: str, dry_run: bool, keep_history_days: float | None) -> Removed:
    """Do one step of a maintenance."""
    found = _STEPS[what](upkeep_now(load_settings(), keep_history_days, dry_run=dry_run))
    print(f"{what}: {found.count:,}, {in_megabytes(found.bytes)}" + (f"; left: {found.left}" if found.left else ""))
    return found


def show(removed: dict[str, Removed], dry_run: bool) -> None:
    """Put on the page of the run what has gone, and what is there now."""
    use = DiskMeter(load_settings().home).look()
    print(f"the home takes {in_megabytes(use.total)}")
    create_markdown_artifact(_as_markdown(removed, use, dry_run), key="maintenance", description="Maintenance")


def _as_markdown(removed: dict[str, Removed], use: DiskUse, dry_run: bool) -> str:
    did = "would be removed" if dry_run else "removed"
    went = [(what, f"{one.count:,}", in_megabytes(one.bytes)) for what, one in removed.items()]
    left = [f"- {escaped(one.left)}" for one in removed.values() if one.left]
    kinds = [(kind, in_megabytes(size)) for kind, size in use.by_kind.items()]
    models = [(escaped(model.model_id), str(len(model.versions)), in_megabytes(model.bytes)) for model in use.by_model]
    tables = [
        _table(("what", did, "disk"), went),
        _table(("the home holds", "disk"), [*kinds, ("all", in_megabytes(use.total))]),
        _table(("model", "versions", "disk"), models),
    ]
    return "\n\n".join([*tables, *(["Left to you:\n\n" + "\n".join(left)] if left else [])])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, whose numbers stand on the right."""
    rule = ("---", *["---:"] * (len(head) - 1))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))
