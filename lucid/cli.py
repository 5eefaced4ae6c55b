"""The `lucid` command: a thin layer over `lucid.Workspace` and the service."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.tree import Tree

import lucid
from lucid import logs
from lucid.errors import InvalidRequest, LucidError
from lucid.schema.attribution import By, EventRate, WeightedRate
from lucid.schema.auto_train import duration_of, seconds_of
from lucid.schema.batches import Batch
from lucid.schema.comparison import Comparison
from lucid.schema.disk import in_megabytes
from lucid.schema.experiments import Experiment, ExperimentReport, VariantEvents
from lucid.schema.fields import Exclude, ForAll, OnError, OutputFormat, PartName, Use, check, format_time
from lucid.schema.lineage import Lineage
from lucid.schema.placements import Placement, PlacementRules, PreviewRow, dump
from lucid.schema.placements_yaml import read_rules, write_yaml
from lucid.schema.recommendations import RecommendationQuery, session_of
from lucid.schema.schedules import Schedule
from lucid.schema.training import Model, TrainingEstimate
from lucid.settings import THREADS_THAT_SLEEP, load_settings
from lucid.store.files import OTHERS, close_home, replacing
from lucid.store.machine import telling

if TYPE_CHECKING:
    from lucid.backup import Backup
    from lucid.typing import Progress as Report

app = typer.Typer(
    help="Self-hosted recommendations: CSV in, recommendations out. Everything lives under LUCID_HOME (./.lucid).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="Keys of the HTTP API, and the secret that signs callbacks.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
batches_app = typer.Typer(help="Uploaded files: list, tag, archive, delete.", no_args_is_help=True)
app.add_typer(batches_app, name="batches")
events_app = typer.Typer(help="Single interactions and entities: send them, look at them.", no_args_is_help=True)
app.add_typer(events_app, name="events")
models_app = typer.Typer(
    help="Models: list, show, lineage, roll back, cancel, delete, callbacks.", no_args_is_help=True
)
app.add_typer(models_app, name="models")
placements_app = typer.Typer(
    help="Rules of a shop that answers follow: save, list, show, preview, retire.", no_args_is_help=True
)
app.add_typer(placements_app, name="placements")
experiments_app = typer.Typer(help="Experiments: try versions on parts of the sources.", no_args_is_help=True)
app.add_typer(experiments_app, name="experiments")

out = Console(width=None if sys.stdout.isatty() else 160)
log = Console(stderr=True)

_PIECE_BYTES = 1 << 18
_FOLLOW_SECONDS = 0.5
_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

Named = Annotated[str, typer.Argument(metavar="MODEL_ID")]
NumberOrHeld = Annotated[int | None, typer.Argument(metavar="VERSION", help="By default the one that is held.")]
ExperimentNamed = Annotated[str, typer.Argument(metavar="NAME")]
Ids = Annotated[list[str], typer.Argument(metavar="ID…")]
Tags = Annotated[str, typer.Option(help="Batches that carry all of these tags, by commas.")]
ModelId = Annotated[str, typer.Option("--model-id", help="Name of the model.")]
PlacementNamed = Annotated[str, typer.Argument(metavar="NAME")]


def main() -> None:
    """Run the command; an expected error is one line on standard error and exit code 1."""
    umask = os.umask(OTHERS)
    os.environ.update(THREADS_THAT_SLEEP | os.environ)  # whoever has set one of them knows better
    with suppress(LucidError):  # a bad setting is for the command to tell
        close_home(load_settings().home)
    try:
        with telling(Path("standard output")):  # what else a command touches names itself
            app(obj=umask)
    except LucidError as error:
        print(f"lucid: {error.message}", file=sys.stderr)  # needs no module that is not loaded yet
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        print(f"lucid: {_in_words(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _in_words(error: OSError) -> str:
    """What the system says, without its number, and what may be done."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    home = os.environ.get("LUCID_HOME", "./.lucid")
    return f"{place}{error.strerror or error}; see that it is there and may be used, as LUCID_HOME ({home}) must"


@app.command("import")
def import_command(
    files: Annotated[list[Path], typer.Argument(help="CSV files (.csv or .csv.gz) of entities or interactions.")],
    tags: Annotated[str, typer.Option(help="Tags of the batches, separated by commas.")] = "",
    on_error: Annotated[
        OnError, typer.Option(help="What to do with bad rows: set them aside, or abort the import.")
    ] = "set_aside",
    source_type: Annotated[
        str | None, typer.Option(help="Type of the sources of interactions whose file does not say it.")
    ] = None,
    target_type: Annotated[
        str | None, typer.Option(help="Type of the targets of interactions whose file does not say it.")
    ] = None,
    namespace: Annotated[
        bool, typer.Option("--namespace", help="Ids are those of their type: 1 of a user is user:1.")
    ] = False,
) -> None:
    """Import CSV files, one batch each."""
    workspace = lucid.Workspace()
    with progress_bar() as report:
        batches = workspace.import_files(
            files,
            _split(tags),
            on_error,
            report,
            source_type=source_type,
            target_type=target_type,
            namespace=namespace,
        )
    _show_batches(batches)
    for batch in batches:
        for warning in batch.warnings:
            log.print(f"{batch.file_name}: warning: {warning}", markup=False, highlight=False, soft_wrap=True)
        for error in batch.errors[:3]:
            where = f"line {error.line}" + (f", column {error.column}" if error.column else "")
            log.print(f"{batch.file_name}: {where}: {error.message}: {error.value!r}", markup=False, highlight=False)


@app.command()
def train(
    model_id: ModelId,
    maximum_interaction_age_days: Annotated[int | None, typer.Option(help="Leave out older interactions.")] = None,
    data_tags: Annotated[str | None, typer.Option(help="Use batches with any of these tags, by commas.")] = None,
    callback_url: Annotated[str | None, typer.Option(help="Call this address when the training has ended.")] = None,
    allow_type_changes: Annotated[
        bool, typer.Option("--allow-type-changes", help="Train even where over 1% of a type's ids have become another.")
    ] = False,
    data_filters: Annotated[
        str | None, typer.Option(metavar="JSON", help='What takes part: {"entities": […], "interactions": […]}.')
    ] = None,
    metadata_rules: Annotated[
        str | None, typer.Option(metavar="JSON", help='How to use metadata keys: {"zip": "ignored"}.')
    ] = None,
    interaction_rules: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help='What interactions say: {"rated": {"value_key": …}, "returned": {"weight": -1}}.'
        ),
    ] = None,
    precompute: Annotated[
        str | None, typer.Option(metavar="JSON", help='More pairs: [{"source_type": …, "target_type": …}].')
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Give up trying settings for which no time is left.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be selected, and what time and memory it would take.")
    ] = False,
) -> None:
    """Train a model; one of that name is replaced once the new version is ready."""
    workspace = lucid.Workspace()
    asked: dict[str, Any] = {
        "maximum_interaction_age_days": maximum_interaction_age_days,
        "data_tags": _split(data_tags) if data_tags is not None else None,
        "callback_url": callback_url,
        "allow_type_changes": allow_type_changes,
        "max_minutes": max_minutes,
        "data_filters": _json("data-filters", data_filters),
        "metadata_rules": _json("metadata-rules", metadata_rules),
        "interaction_rules": _json("interaction-rules", interaction_rules),
        "precompute": _json("precompute", precompute),
    }
    if dry_run:
        _show_estimate(workspace.estimate(model_id, **asked))
        return
    with progress_bar() as report:
        status = workspace.train(model_id, **asked, progress=report)
    assert status.end_timestamp is not None
    seconds = (status.end_timestamp - status.start_timestamp).total_seconds()
    shown = {version.version: version for version in workspace.model(status.model_id).versions}[status.version]
    state = {"live": "is live", "held": "is held"}.get(shown.state, "waits")
    out.print(f"Model {status.model_id} version {status.version} {state} after {seconds:.1f} s.", markup=False)
    if status.message:
        out.print(status.message, markup=False, soft_wrap=True)
    out.print(quality_table(shown.report or {"pairs": []}))


@app.command()
def refresh(model_id: ModelId) -> None:
    """Precompute a model's recommendations again, with the interactions that were imported since."""
    with progress_bar() as report:
        status = lucid.Workspace().refresh(model_id, report)
    out.print(f"Model {model_id} version {status.version}: {status.message or 'refreshed'}.", markup=False)


@app.command()
def recommend(
    context: typer.Context,
    model_id: ModelId,
    target_type: Annotated[list[str] | None, typer.Option(help="Type to recommend; repeat for several.")] = None,
    source_type: Annotated[list[str] | None, typer.Option(help="All entities of this type; may be repeated.")] = None,
    source_id: Annotated[list[str] | None, typer.Option(metavar="ID…", help="One entity or several.")] = None,
    more_ids: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    max_recommendations: Annotated[int, typer.Option(help="How many at most for each source.")] = 100,
    threshold: Annotated[float, typer.Option(help="Leave out scores below this (0 to 100).")] = 0,
    sources: Annotated[
        str | None, typer.Option(metavar="JSON", help='Several as one: [{"id": …, "weight": …}].')
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="JSON", help='What somebody came to, oldest first: [{"id": …}], or ["id"].')
    ] = None,
    use: Annotated[
        Use, typer.Option(help="similar: of the source's own type; popular, trending: the same for all.")
    ] = "recommend",
    fallback: Annotated[ForAll | None, typer.Option(help="What entities get of which nothing is known.")] = None,
    window_days: Annotated[int | None, typer.Option(help="Popular or trending within so many days.")] = None,
    half_life_days: Annotated[float | None, typer.Option(help="… where so many days halve what counts.")] = None,
    target_filter: Annotated[str | None, typer.Option(metavar="JSON", help="Conditions as in data_filters.")] = None,
    exclude_interacted: Annotated[bool, typer.Option(help="Leave out what sources interacted with.")] = True,
    exclude_disliked: Annotated[bool, typer.Option(help="Leave out what sources disliked, in any case.")] = True,
    exclude: Annotated[Exclude, typer.Option(help="learned: recommend again what was kept from the model.")] = "all",
    explain: Annotated[bool, typer.Option("--explain", help="Say what contributed to each recommendation.")] = False,
    version: Annotated[int | None, typer.Option(help="Ask this version instead of the live one.")] = None,
    placement: Annotated[
        str | None, typer.Option(help="Follow the rules of this placement, or of a version of it: home@3.")
    ] = None,
    recommendation_id: Annotated[
        bool, typer.Option("--recommendation-id", help="Note what is shown, for events that name its id.")
    ] = False,
    experiment: Annotated[
        str | None, typer.Option(help="Answer each source by its variant of this experiment.")
    ] = None,
    output_format: Annotated[OutputFormat, typer.Option()] = "csv",
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the screen.")] = None,
) -> None:
    """Print recommendations of a trained model."""
    from lucid.serving.rendering import noted_json, render

    if more_ids and not source_id:
        raise typer.BadParameter(f"unexpected argument {more_ids[0]!r}; ids follow --source-id")
    query = check(
        RecommendationQuery,
        {
            "model_id": model_id,
            "source_type": source_type,
            "source_id": [*(source_id or ()), *(more_ids or ())] or None,
            "target_type": target_type,
            "max_recommendations": max_recommendations,
            "threshold": threshold,
            "sources": _json("sources", sources),
            "session": session_of(_json("session", session)),
            "use": use,
            "fallback": fallback,
            "window_days": window_days,
            "half_life_days": half_life_days,
            "target_filter": _json("target-filter", target_filter),
            "exclude_interacted": exclude_interacted,
            "exclude_disliked": exclude_disliked,
            "exclude": exclude,
            "explain": explain,
            "version": version,
            "placement": placement,
            "recommendation_id": recommendation_id,
            "experiment": experiment,
            "output_format": output_format,
        },
    )
    answer = lucid.Workspace().answer(query)
    if answer.unknown_source_ids:
        log.print(f"unknown: {', '.join(answer.unknown_source_ids)}", markup=False, highlight=False)
    if answer.noted and output_format == "csv":
        for what, told in noted_json(answer.noted).items():
            log.print(f"{what}: {told}", markup=False, highlight=False, soft_wrap=True)
    pieces = render(answer, output_format)
    if output is None:
        _print(pieces)
        return
    with telling(output):
        with replacing(output) as new, new.open("wb") as file:
            file.writelines(pieces)
        if context.obj is not None:  # the file is the user's own, so it follows the umask of whoever called
            output.chmod(0o666 & ~context.obj)


@app.command()
def status(model_id: ModelId) -> None:
    """Show the latest training of a model, as JSON."""
    out.print_json(lucid.Workspace().status(model_id).model_dump_json())


@app.command("check")
def check_command(
    model_id: Annotated[str | None, typer.Option("--model-id", help="Only this model.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Let the newest sound version answer; set damaged ones aside.")
    ] = False,
) -> None:
    """Compare all versions with their checksums and read the ends of batches; exit code 1 where one is damaged.

    Changes nothing without --repair, and may be run while the service runs.
    """
    damaged = False
    for finding in lucid.Workspace().check(model_id, repair=repair):
        out.print(str(finding), markup=False, highlight=False, soft_wrap=True)
        damaged |= finding.state == "damaged"
    if damaged:
        raise typer.Exit(1)


@app.command("report")
def show_report(
    model_id: ModelId,
    version: Annotated[int | None, typer.Option(help="The version; by default the one that answers.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Also write what the figures are computed from into this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report, as JSON.")] = False,
) -> None:
    """Show how good a version of a model is, beside simple baselines."""
    workspace = lucid.Workspace()
    report = workspace.report(model_id, version)
    if as_json:
        out.print_json(data=report)
    else:
        out.print(f"model {report['model_id']} version {report['version']}", markup=False)
        out.print(quality_table(report))
    if export is not None:
        workspace.held_out(model_id, export, report["version"])
        log.print(f"{export} holds the held-out pairs; check with: lucid verify {export}", markup=False, soft_wrap=True)


@app.command("verify")
def verify_report(
    held_out: Annotated[Path, typer.Argument(help="What `lucid report --export` wrote.")],
    report: Annotated[Path | None, typer.Argument(help="A report as JSON; else the one in that file.")] = None,
) -> None:
    """Compute every figure of a report again, from its held-out pairs; exit code 1 where one differs."""
    from lucid.verify import say

    if code := say(held_out, report):
        raise typer.Exit(code)


@app.command()
def up(
    api_port: Annotated[int | None, typer.Option(help="Port of the API; default LUCID_API_PORT or 8000.")] = None,
    prefect_port: Annotated[
        int | None, typer.Option(help="Port of Prefect; default LUCID_PREFECT_PORT or 4200.")
    ] = None,
    only: Annotated[
        PartName | None, typer.Option(help="Run this part alone, its log on the terminal, as in a container.")
    ] = None,
) -> None:
    """Start the service: Prefect server, flows and API. Ctrl-C stops all of it."""
    from lucid.service.run import run_service
    from lucid.service.single import become

    ports = {"api_port": api_port, "prefect_port": prefect_port}
    settings = load_settings().model_copy(update={name: port for name, port in ports.items() if port is not None})
    if settings.log_format == "json":
        logs.take_over("json")
        logging.getLogger("lucid").setLevel(logging.INFO)
    say = _log_service if settings.log_format == "json" else _say
    with telling(settings.home):
        if only:
            become(settings, only, say)
        sys.exit(run_service(settings, say))


@app.command()
def ping(part: Annotated[PartName, typer.Argument(help="The part that runs here.")]) -> None:
    """Say whether a part of the service answers; exit code 1 where it does not, for health checks of containers."""
    from lucid.service.single import answers

    is_there = answers(load_settings(), part)
    out.print(f"{part} answers" if is_there else f"{part} does not answer")
    sys.exit(0 if is_there else 1)


@app.command("backup")
def backup_command(
    target: Annotated[Path, typer.Argument(metavar="TO", help="A folder that is new or empty.")],
) -> None:
    """Copy everything under LUCID_HOME into a folder, whether the service runs or not."""
    from lucid.backup import back_up

    with progress_bar() as report:
        made = back_up(load_settings(), target, report)
    _tell_backup(f"backed up to {target}", made)


@app.command("restore")
def restore_command(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A folder that `lucid backup` has made.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Set a home that is there aside, under another name.")
    ] = False,
) -> None:
    """Make LUCID_HOME of a backup, once every file of it has been compared with its checksum."""
    from lucid.backup import restore

    settings = load_settings()
    with progress_bar() as report:
        made = restore(settings, source, report, replace=replace)
    _tell_backup(f"restored to {settings.home}", made)


def _tell_backup(done: str, made: "Backup") -> None:
    counts = f"{made.batches} batches and {made.versions} versions, {made.size:,} bytes"
    _say(f"{done}: {counts}, as all was at {format_time(made.created)}")
    if not made.schedules:
        _say("Schedules of models and past runs are not in it: they are where the Prefect server keeps them.")
    for warning in made.warnings:
        log.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _log_service(line: str) -> None:
    if line.strip():
        logging.getLogger("lucid.service").info(line.strip())


@app.command()
def down() -> None:
    """Stop the service that runs on this LUCID_HOME."""
    from lucid.service.run import stop_service

    left = stop_service(load_settings())
    out.print(f"ended {left} processes that a lost service had left" if left else "stopped")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def prefect(context: typer.Context) -> None:
    """Run the prefect command against the server of this LUCID_HOME, signed in: lucid prefect deployment ls."""
    from lucid.service.run import environment

    os.execve(sys.executable, [sys.executable, "-m", "prefect", *context.args], environment(load_settings()))


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Folder with entities.csv.gz and interactions.csv.gz.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running.")] = False,
) -> None:
    """Show the whole path on generated data, or on your own: upload, train, callback, recommendations."""
    from lucid.demo.run import run_demo

    sys.exit(run_demo(out, data, keep=keep))


@app.command("erase")
def erase_command(ids: Ids) -> None:
    """Erase entities for good: from batches, set-aside rows, models and cached recommendations."""
    workspace = lucid.Workspace()
    with progress_bar() as report:
        counts = workspace.erase(ids, report)
    table = Table("place", Column("erased", justify="right"))
    for place, count in counts.model_dump().items():
        table.add_row(place.replace("_", " "), f"{count:,}")
    out.print(table)


@app.command("disk")
def show_disk() -> None:
    """Show what the home takes of the disk: by kind, and by model and version."""
    use = lucid.Workspace().disk()
    table = Table("what", Column("disk", justify="right"))
    for kind, size in (*use.by_kind.items(), ("all", use.total)):
        table.add_row(kind, in_megabytes(size))
    out.print(table)
    table = Table("model", Column("version", justify="right"), Column("disk", justify="right"))
    for model in use.by_model:
        for version in model.versions:
            table.add_row(escape(model.model_id), str(version.version), in_megabytes(version.bytes))
    if table.row_count:
        out.print(table)


@app.command("maintain")
def maintain_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    keep_history_days: Annotated[
        float | None, typer.Option(help="How long history is kept; by default LUCID_KEEP_HISTORY_DAYS.")
    ] = None,
) -> None:
    """Remove what nothing needs any more, as the service does each day: old versions, half-done files, old history."""
    removed = lucid.Workspace().maintain(keep_history_days, dry_run=dry_run)
    did = "would be removed" if dry_run else "removed"
    table = Table("what", Column(did, justify="right"), Column("disk", justify="right"))
    for what, one in removed.items():
        table.add_row(what, f"{one.count:,}", in_megabytes(one.bytes))
    out.print(table)
    for one in removed.values():
        if one.left:
            log.print(f"left: {one.left}", markup=False, highlight=False, soft_wrap=True)


@batches_app.command("list")
def list_batches(tags: Tags = "") -> None:
    """List batches in upload order; with --tags those that carry all of them."""
    _show_batches(lucid.Workspace().batches(tags=_split(tags) or None))


@batches_app.command("tag")
def tag_batches(ids: Ids, new_tags: Annotated[str, typer.Option("--tags", help="The new tags, by commas.")]) -> None:
    """Give batches other tags, in place of the old ones."""
    _show_batches(lucid.Workspace().update_batches(ids, new_tags=_split(new_tags)))


@batches_app.command("archive")
def archive_batches(ids: Ids, undo: Annotated[bool, typer.Option("--undo", help="Take them back.")] = False) -> None:
    """Keep batches out of all trainings."""
    _show_batches(lucid.Workspace().update_batches(ids, archived=not undo))


@batches_app.command("delete")
def delete_batches(ids: Annotated[list[str] | None, typer.Argument(metavar="ID…")] = None, tags: Tags = "") -> None:
    """Delete batches by their ids, or those that carry all of the tags."""
    _show_batches(lucid.Workspace().delete_batches(ids, _split(tags)))


@batches_app.command("errors")
def show_errors(batch_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Print all rows of a batch that were set aside, as CSV."""
    from lucid.serving.rendering import rejects_csv

    _print(rejects_csv(lucid.Workspace().rejected_rows(batch_id)))


@events_app.command("send")
def send_events(
    file: Annotated[Path, typer.Argument(help="One event a line, as JSON; - reads what comes in on standard input.")],
) -> None:
    """Take events into the home, each as it comes; exit code 1 where one is rejected."""
    workspace = lucid.Workspace()
    lines = sent = accepted = duplicates = 0
    with sys.stdin.buffer if file == Path("-") else file.open("rb") as source:
        for part in _parts_of(source.fileno()):
            events, places = [], []
            for line in part:
                lines += 1
                if line.strip():
                    sent += 1
                    try:
                        events.append(orjson.loads(line))
                        places.append(lines)
                    except orjson.JSONDecodeError as error:
                        log.print(f"line {lines}: not JSON: {error}", markup=False, highlight=False, soft_wrap=True)
            answer = workspace.send_events(events)
            accepted, duplicates = accepted + answer.accepted, duplicates + answer.duplicates
            for wrong in answer.errors:
                place = f"line {places[wrong.index]}" + (f", {wrong.column}" if wrong.column else "")
                log.print(f"{place}: {wrong.message}: {wrong.value!r}", markup=False, highlight=False, soft_wrap=True)
    known = f", {duplicates:,} of them known before" if duplicates else ""
    out.print(f"{accepted:,} events accepted{known}, {sent - accepted:,} rejected", markup=False, highlight=False)
    if accepted < sent:
        raise typer.Exit(1)


@events_app.command("tail")
def tail_events(
    count: Annotated[int, typer.Option("--lines", "-n", min=1, max=1000, help="How many of the last.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come.")] = False,
) -> None:
    """Print the last events that are not in a batch yet, one a line, as JSON."""
    workspace = lucid.Workspace()
    found = workspace.waiting_events(limit=count)
    last = 0
    while True:
        for event in found:
            last = event.number
            print(event.model_dump_json(exclude_none=True), flush=True)
        if not follow:
            return
        if not found:
            time.sleep(_FOLLOW_SECONDS)
        found = workspace.waiting_events(after=last)


@placements_app.command("save")
def save_placement(
    file: Annotated[Path, typer.Argument(help="Rules in YAML, with the name of the placement.")],
    model_id: Annotated[
        str | None, typer.Option("--model-id", help="Refuse rules on what no entity of this model has.")
    ] = None,
) -> None:
    """Save rules as a new version of a placement; answers follow it from now on."""
    saved = lucid.Workspace().save_placement(file, model_id)
    _say(f"Placement {saved.name} has version {saved.version}.")


@placements_app.command("list")
def list_placements() -> None:
    """List placements, each in its last version."""
    _show_placements(lucid.Workspace().placements())


@placements_app.command("versions")
def list_placement_versions(name: PlacementNamed) -> None:
    """List all versions of a placement, the last one first."""
    _show_placements(lucid.Workspace().placement_versions(name))


@placements_app.command("show")
def show_placement(name: PlacementNamed) -> None:
    """Print the rules of a placement as YAML, or those of a version of it: home@3."""
    print(write_yaml(lucid.Workspace().placement(name)), end="")


@placements_app.command("retire")
def retire_placement(name: PlacementNamed) -> None:
    """End a placement: only its versions can be asked for from now on."""
    ended = lucid.Workspace().retire_placement(name)
    _say(f"Placement {ended.name} has ended with version {ended.version}.")


@placements_app.command("preview")
def preview_placements(
    model_id: ModelId,
    source_id: Annotated[list[str], typer.Option(help="One entity; repeat for several.")],
    target_type: Annotated[list[str] | None, typer.Option(help="Type to recommend; repeat for several.")] = None,
    use: Annotated[Use, typer.Option(help="similar: recommend entities of the source's own type.")] = "recommend",
    a: Annotated[
        str | None, typer.Option("-a", metavar="RULES", help="A placement or a file; absent: no rules.")
    ] = None,
    b: Annotated[str | None, typer.Option("-b", metavar="RULES", help="What it is compared with.")] = None,
    max_recommendations: Annotated[int, typer.Option(help="How many for each source.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Compare what two rule sets would show to some sources; nothing is saved."""
    found = lucid.Workspace().preview_placements(
        model_id,
        source_id,
        target_type=target_type,
        use=use,
        a=_rules(a),
        b=_rules(b),
        max_recommendations=max_recommendations,
    )
    if as_json:
        out.print_json(found.model_dump_json())
        return
    for source in found.sources:
        table = Table(
            "rank", f"a: {escape(found.a)}", "rules", f"b: {escape(found.b)}", "rules", title=escape(source.source_id)
        )
        for rank in range(max(len(source.a), len(source.b))):
            table.add_row(str(rank + 1), *_previewed(source.a, rank), *_previewed(source.b, rank))
        out.print(table)
    _say(f"{found.shared:.0%} of the rows stand under both.")


def _rules(given: str | None) -> str | dict[str, Any] | None:
    """A placement by its name, or the rules in a file."""
    if given is None or not (given.endswith((".yaml", ".yml", ".json")) or Path(given).is_file()):
        return given
    return dump(read_rules(given))


def _previewed(rows: Sequence[PreviewRow], place: int) -> tuple[str, str]:
    """A row, with where it stands under the other rules, and what moved it."""
    if place >= len(rows):
        return "", ""
    row = rows[place]
    other = "new" if row.other_rank is None else "" if row.other_rank == row.rank else f"from {row.other_rank}"
    return escape(f"{row.target_id} {row.name}".strip() + (f" ({other})" if other else "")), escape(
        ", ".join(row.rules)
    )


def _show_placements(placements: Iterable[Placement]) -> None:
    table = Table("placement", Column("version", justify="right"), "created", "rules", "note")
    for placement in placements:
        kinds = [kind for kind in PlacementRules.model_fields if kind in placement.model_dump(exclude_defaults=True)]
        rules = "ended" if placement.retired else ", ".join(kinds)
        created = format_time(placement.created)
        table.add_row(escape(placement.name), str(placement.version), created, rules, escape(placement.note))
    out.print(table)


@models_app.command("list")
def list_models() -> None:
    """List models and the versions that are kept."""
    _show_models(lucid.Workspace().models())


@models_app.command("show")
def show_model(model_id: Named) -> None:
    """Show a model with the states and training reports of its versions, as JSON."""
    out.print_json(lucid.Workspace().model(model_id).model_dump_json())


@models_app.command("lineage")
def show_lineage(
    model_id: Named,
    version: Annotated[int | None, typer.Argument(help="The version; by default the one that answers.")] = None,
) -> None:
    """Show what a version was made of and what it gives, from uploaded files to answers."""
    out.print(_lineage_tree(lucid.Workspace().lineage(model_id, version)))


@models_app.command("delete")
def delete_model(model_id: Named) -> None:
    """Delete a model with all its versions."""
    _show_models([lucid.Workspace().delete_model(model_id)])


@models_app.command("rollback")
def roll_back(
    model_id: Named,
    version: Annotated[int | None, typer.Option(help="The version; by default the one before.")] = None,
) -> None:
    """Let a finished version answer again."""
    _show_models([lucid.Workspace().roll_back(model_id, version)])


@app.command()
def promote(model_id: Named, version: NumberOrHeld = None) -> None:
    """Let a version answer that is held, or any other that is finished."""
    _show_versions(lucid.Workspace().promote(model_id, version))


@app.command()
def reject(
    model_id: Named,
    version: NumberOrHeld = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at the version later.")] = "",
) -> None:
    """Decide that a version that is held shall not answer."""
    _show_versions(lucid.Workspace().reject(model_id, version, reason))


@app.command()
def pin(
    model_id: Named,
    version: Annotated[int | None, typer.Argument(help="The version; by default the one that answers.")] = None,
) -> None:
    """Let a version answer until it is unpinned, whatever is trained meanwhile."""
    _show_versions(lucid.Workspace().pin(model_id, version))


@app.command()
def unpin(model_id: Named) -> None:
    """Let the next training answer again."""
    _show_versions(lucid.Workspace().unpin(model_id))


@app.command()
def compare(
    model_id: Named,
    a: Annotated[int | None, typer.Argument(help="A version; by default the one that answers.")] = None,
    b: Annotated[int | None, typer.Argument(help="Another one; by default the newest.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Compare two versions of a model: how good each is, and how their answers differ."""
    found = lucid.Workspace().compare(model_id, a, b)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        _show_comparison(found)


@app.command("gate")
def gate_command(
    model_id: Named,
    off: Annotated[bool, typer.Option("--off", help="Let every training go live.")] = False,
    limits: Annotated[
        str | None, typer.Option("--set", metavar="JSON", help='Limits that are not the default: {"min_overlap": 0.2}.')
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Let the defaults hold again.")] = False,
) -> None:
    """Show what a new training of a model has to hold to go live by itself, or change it."""
    workspace = lucid.Workspace()
    if reset:
        gate = workspace.reset_gate(model_id)
    elif off or limits:
        gate = workspace.set_gate(model_id, **({"enabled": False} if off else {}), **(_json("set", limits) or {}))
    else:
        gate = workspace.gate(model_id)
    table = Table("limit", Column("value", justify="right"), "meaning")
    for name, field in type(gate).model_fields.items():
        if field.description:
            table.add_row(name, str(getattr(gate, name)), field.description)
    out.print(table)


@models_app.command("cancel")
def cancel_training(model_id: Named) -> None:
    """End the running training or refresh of a model; prints its final status as JSON."""
    out.print_json(lucid.Workspace().cancel(model_id).model_dump_json())


@models_app.command("attribution")
def show_attribution(
    model_id: Named,
    from_time: Annotated[
        datetime | None, typer.Option("--from", formats=_MOMENTS, help="Answers shown from then on, in UTC.")
    ] = None,
    to_time: Annotated[
        datetime | None, typer.Option("--to", formats=_MOMENTS, help="Answers shown before then, in UTC.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="Also by version, pair of types or rank.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Show what came of answers that were noted: rows shown, and events that named them."""
    found = lucid.Workspace().attribution(model_id, from_time, to_time, by)
    if as_json:
        out.print_json(found.model_dump_json())
        return
    table = Table(by or "", *(Column(name, justify="right") for name in ("answers", "sources", "rows shown")), "event")
    groups = *found.groups, found.total
    weighs = any(one.weighted for group in groups for one in group.events)
    for name in ("events", "rows", "rate", "95% interval", *(["weighted rate", "95% interval"] if weighs else [])):
        table.add_column(name, justify="right")
    for group in groups:
        pair = f"{group.source_type or 'none'} → {group.target_type}" if group.target_type else None
        name = next((str(one) for one in (group.version, pair, group.rank) if one is not None), "all")
        counts = ("" if one is None else f"{one:,}" for one in (group.answers, group.sources, group.impressions))
        shown = [escape(name), *counts]
        told = [
            (
                *(escape(one.type), f"{one.events:,}", f"{one.rows:,}", *_rates(one)),
                *(_rates(one.weighted) if one.weighted else ()),
            )
            for one in group.events
        ]
        _add_rows(table, shown, told)
    out.print(table)
    for event_type, count in found.not_shown.items():
        told_apart = f"{count:,} events {event_type!r} named an answer, but a target that it did not show"
        out.print(told_apart, markup=False, highlight=False)


def _add_rows(table: Table, shown: Sequence[str], told: Sequence[Sequence[str]]) -> None:
    """A row for each of what is told, what is shown before the first."""
    for number, one in enumerate(told or [()]):
        table.add_row(*(shown if number == 0 else [""] * len(shown)), *one)


def _rates(one: EventRate | WeightedRate | VariantEvents) -> tuple[str, str]:
    return f"{one.rate:.2%}", f"{one.low:.2%} to {one.high:.2%}"


@models_app.command("deliveries")
def list_deliveries(
    model_id: Named, resend: Annotated[str, typer.Option(metavar="EVENT", help="Send this event once more.")] = ""
) -> None:
    """List the callbacks of a model and what became of them, the newest first."""
    workspace = lucid.Workspace()
    deliveries = [workspace.resend(model_id, resend)] if resend else workspace.deliveries(model_id)
    table = Table("event", "version", "to", "attempts", "state", "made", Column("event_id", no_wrap=True))
    for one in deliveries:
        due = f"; again at {format_time(one.next_attempt)}" if one.next_attempt else ""
        state = "delivered" if one.delivered else f"{escape(one.message) or 'not sent yet'}{due}"
        told = (one.event, str(one.version), escape(one.url), str(one.attempts), state, format_time(one.created))
        table.add_row(*told, one.event_id)
    out.print(table)


@app.command("schedule")
def schedule_model(
    model_id: Annotated[str, typer.Option(help="The model.")],
    train: Annotated[bool, typer.Option("--train", help="Train it, as it was trained last.")] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Refresh its recommendations.")] = False,
    cron: Annotated[
        str, typer.Option(help="Minute, hour, day of the month, month and day of the week: '30 2 * * 1'.")
    ] = "",
    timezone: Annotated[str, typer.Option(help="Where that time is meant, such as Europe/Berlin.")] = "UTC",
    delete: Annotated[str, typer.Option(metavar="ID", help="Delete a schedule instead.")] = "",
) -> None:
    """Train or refresh a model by itself while the service runs; without --cron, list what is scheduled."""
    workspace = lucid.Workspace()
    if delete:
        out.print(f"deleted: {_when(workspace.unschedule(model_id, delete))}", highlight=False)
        return
    if cron:
        if train == refresh:
            raise InvalidRequest("say what is to be done then: --train or --refresh")
        workspace.schedule(model_id, "train" if train else "refresh", cron, timezone)
    table = Table("work", "when", "next runs", Column("id", no_wrap=True))
    for one in workspace.schedules(model_id):
        runs = "\n".join(map(format_time, one.next_runs)) if one.active else "paused"
        table.add_row(one.work, _when(one), runs, one.schedule_id)
    out.print(table)


@app.command("auto-train")
def auto_train_model(
    model_id: ModelId,
    quiet: Annotated[
        str, typer.Option(metavar="10m", help="Train once no batch of it came in for so long: 90s, 10m, 6h, 2d.")
    ] = "",
    at_most_every: Annotated[
        str, typer.Option(metavar="6h", help="Begin so long after the latest training at least; one hour if not said.")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Train it after uploads no more.")] = False,
) -> None:
    """Train a model by itself after uploads while the service runs; without options, show how it is."""
    workspace = lucid.Workspace()
    if off:
        auto = workspace.switch_auto_train_off(model_id)
    elif quiet or at_most_every:
        wanted = {"quiet_seconds": quiet, "min_interval_seconds": at_most_every}
        auto = workspace.switch_auto_train_on(
            model_id, **{name: seconds_of(duration) for name, duration in wanted.items() if duration}
        )
    else:
        auto = workspace.auto_train(model_id)
    state = "off" if off else "paused" if not auto.active else f"due {format_time(auto.due)}" if auto.due else "waits"
    table = Table("quiet for", "at most every", "state", Column("automation", no_wrap=True))
    table.add_row(duration_of(auto.quiet_seconds), duration_of(auto.min_interval_seconds), state, auto.automation_id)
    out.print(table)


def _when(one: Schedule) -> str:
    return f"{one.cron} {one.timezone}"


@experiments_app.command("begin")
def begin_experiment(
    name: ExperimentNamed,
    model_id: ModelId,
    variants: Annotated[
        str,
        typer.Option(
            metavar="JSON", help='[{"name": "now", "share": 0.5}, {"name": "new", "share": 0.5, "version": 4}]'
        ),
    ],
) -> None:
    """Answer parts of the sources in different ways, where questions name the experiment."""
    wanted = _json("variants", variants)
    _show_experiments([lucid.Workspace().begin_experiment(name, model_id, wanted)])


@experiments_app.command("list")
def list_experiments() -> None:
    """List experiments, by name."""
    _show_experiments(lucid.Workspace().experiments())


@experiments_app.command("show")
def show_experiment(
    name: ExperimentNamed,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
) -> None:
    """Show what came of an experiment so far, and which variant is better."""
    found = lucid.Workspace().experiment(name)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        _show_experiment(found)


@experiments_app.command("stop")
def stop_experiment(name: ExperimentNamed) -> None:
    """Give everybody the live version again, and show what came of it."""
    _show_experiment(lucid.Workspace().stop_experiment(name))


@experiments_app.command("delete")
def delete_experiment(name: ExperimentNamed) -> None:
    """Delete an experiment; what was shown stays noted."""
    _show_experiments([lucid.Workspace().delete_experiment(name)])


def _show_experiments(experiments: Sequence[Experiment]) -> None:
    table = Table("experiment", "model", "variants", "began", "stopped")
    for one in experiments:
        variants = ", ".join(
            f"{variant.name} {variant.share:.0%}"
            + (f" version {variant.version}" if variant.version else "")
            + (f" placement {variant.placement}" if variant.placement else "")
            for variant in one.variants
        )
        table.add_row(
            escape(one.name),
            escape(one.model_id),
            escape(variants),
            format_time(one.started),
            format_time(one.stopped) if one.stopped else "",
        )
    out.print(table)


def _show_experiment(found: ExperimentReport) -> None:
    table = Table("variant", *(Column(name, justify="right") for name in ("sources", "answers", "rows shown")), "event")
    for name in ("events", "sources with one", "rate", "always-valid 95%"):
        table.add_column(name, justify="right")
    for result in found.results:
        shown = [escape(result.name), *(f"{one:,}" for one in (result.sources, result.answers, result.impressions))]
        told = [(escape(one.type), f"{one.events:,}", f"{one.sources:,}", *_rates(one)) for one in result.events]
        _add_rows(table, shown, told)
    out.print(table)
    for sentence in (*(difference.sentence for difference in found.differences), *found.warnings):
        out.print(f"{sentence}.", markup=False, highlight=False, soft_wrap=True)


@keys_app.command("create")
def create_key_command(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scopes: Annotated[str, typer.Option(help="Scopes, separated by commas; all by default.")] = "",
) -> None:
    """Make an API key and print it, once."""
    from lucid.keys import SCOPES, create_key
    from lucid.store.catalog import Catalog

    _, secret = create_key(Catalog(load_settings().home), name, _split(scopes) or SCOPES)
    out.print(secret, markup=False, highlight=False, soft_wrap=True)


@keys_app.command("list")
def list_keys() -> None:
    """List API keys; times are UTC, and the last use is up to a minute behind while the service runs."""
    from lucid.store.catalog import Catalog

    table = Table("id", "name", "scopes", "created", "last used")
    for key in Catalog(load_settings().home).keys.all():
        used = format_time(key.last_used) if key.last_used else "never"
        table.add_row(key.key_id, escape(key.name), ", ".join(key.scopes), format_time(key.created), used)
    out.print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="As `lucid keys list` shows it.")]) -> None:
    """Revoke an API key; a running service refuses it a few seconds later."""
    from lucid.store.catalog import Catalog

    Catalog(load_settings().home).keys.revoke(key_id)
    out.print(f"revoked {key_id}")


@keys_app.command("callbacks")
def print_callback_secret() -> None:
    """Print the secret that signs callbacks, as libraries of Standard Webhooks take it."""
    from lucid.webhooks.callbacks import standard_secret

    out.print(standard_secret(load_settings()), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar() -> "Iterator[Report]":
    """A progress bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as bar:
        task = bar.add_task("starting", total=100)
        yield lambda percent, doing: bar.update(task, completed=percent, description=escape(doing))


def quality_table(report: dict[str, Any]) -> Table:
    """NDCG@10 of every judged pair beside the simple baselines, with intervals, and what answers."""
    from lucid.evaluation.pair_quality import PairQuality
    from lucid.training.wording import against, figure

    columns = "pair", "sources", "NDCG@10", "popularity", "the model is", "item-kNN", "the model is", "answered by"
    table = Table(*columns, title="on held-out interactions, with 95% intervals")
    for raw in report["pairs"]:
        pair = PairQuality.from_json(raw)
        baselines = [told(pair, who) for who in ("popularity", "item_knn") for told in (figure, against)]
        name = escape(f"{pair.source_type} → {pair.target_type}")
        table.add_row(name, f"{pair.model.sources:,}", figure(pair, "model"), *baselines, pair.answered_by)
    return table


def _show_estimate(estimate: TrainingEstimate) -> None:
    selection = Table("step", "kept", "removed", title="what would be selected")
    for step in estimate.steps:
        selection.add_row(escape(step.step), f"{step.kept:,}", f"{step.removed:,}")
    types, pairs = Table("type", "entities"), Table("pair", "interactions")
    for entity_type, count in estimate.entity_types.items():
        types.add_row(escape(entity_type), f"{count:,}")
    for pair in estimate.pairs:
        pairs.add_row(escape(f"{pair.source_type} → {pair.target_type}"), f"{pair.interactions:,}")
    for table in (selection, types, pairs):
        out.print(table)
    out.print(f"The training would take {estimate.message}.", markup=False, soft_wrap=True)
    out.print(f"Estimated from {estimate.based_on}; nothing was started.", markup=False, soft_wrap=True)


def _print(pieces: Iterable[bytes]) -> None:
    """Write bytes to standard output as they are, at once."""
    sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()


def _parts_of(handle: int) -> Iterator[list[bytes]]:
    """The lines of a file or pipe in parts, each as soon as it is there."""
    rest = b""
    while piece := os.read(handle, _PIECE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _split(values: str) -> list[str]:
    return [value.strip() for value in values.split(",") if value.strip()]


def _json(option: str, text: str | None) -> Any:
    try:
        return json.loads(text) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter(f"--{option} is not JSON ({error}); put it in single quotes: '[{{…}}]'") from None


def _show_versions(model: Model) -> None:
    """The versions of a model, and why some of them do not answer."""
    table = Table("version", "state", "made", "reason", title=model.model_id)
    for one in model.versions:
        state = f"{one.state}, pinned" if one.pinned else one.state
        table.add_row(str(one.version), state, format_time(one.created), escape(one.reason or ""))
    out.print(table)


def _show_comparison(found: Comparison) -> None:
    """Quality and answers of two versions, a line for each pair."""
    quality = Table(
        *("pair", f"NDCG@10 of {found.a}", f"of {found.b}", "difference", "95% interval", "told by"),
        title=f"quality of {found.model_id}, version {found.a} → {found.b}",
    )
    for judged in found.quality:
        figures = ("-" if figure is None else f"{figure:.3f}" for figure in (judged.a, judged.b))
        difference = "-" if judged.difference is None else f"{judged.difference:+.3f}{'*' * judged.significant}"
        interval = "-" if judged.low is None else f"{judged.low:+.3f} to {judged.high:+.3f}"
        on = {"same": "the same", "own": "each its own"}.get(judged.on or "")
        told = f"{judged.sources:,} sources, {on}" if on else judged.reason or ""
        name = escape(f"{judged.source_type} → {judged.target_type}")
        quality.add_row(name, *figures, difference, interval, escape(told))
    out.print(quality)
    answers = Table(
        *("pair", "sources in both", f"only {found.a}", f"only {found.b}", "lists changed", "top 10 kept", "lost"),
        title=f"answers of {found.model_id}, version {found.a} → {found.b}",
    )
    for pair in found.answers:
        counts = (f"{n:,}" for n in (pair.sources_in_both, pair.sources_only_in_a, pair.sources_only_in_b))
        shares = (f"{share:.1%}" for share in (pair.changed, pair.overlap, pair.lost))
        answers.add_row(escape(f"{pair.source_type} → {pair.target_type}"), *counts, *shares)
    out.print(answers)
    for pair in found.answers:
        for what, targets in (("entered", pair.entered), ("left", pair.left)):
            named = ", ".join(f"{target.name or target.id} ({target.lists:,})" for target in targets[:5])
            if named:
                told = f"{pair.source_type} → {pair.target_type}: {what} lists of {pair.looked_at:,} sources: {named}"
                out.print(told, markup=False, highlight=False, soft_wrap=True)
    for version, pairs in ((found.a, found.pairs_only_in_a), (found.b, found.pairs_only_in_b)):
        if pairs:
            named = ", ".join(f"{pair.source_type} → {pair.target_type}" for pair in pairs)
            out.print(f"only version {version} answers ahead: {named}", markup=False, soft_wrap=True)


def _show_models(models: Sequence[Model]) -> None:
    table = Table("model", "live", "versions", "latest training", "began")
    for model in models:
        marked = ("held", "rejected")
        kept = ", ".join(
            f"{one.version} {one.state}" if one.state in marked else f"{one.version}" for one in model.versions
        )
        began = f"{model.training.start_timestamp:%Y-%m-%d %H:%M}"
        table.add_row(model.model_id, str(model.live_version or "none"), kept, model.training.status, began)
    out.print(table)


def _lineage_tree(told: Lineage) -> Tree:
    """A version at the root, and below it all it was made of and what it gives."""
    states = [name for name, holds in (("live", told.live), ("no longer kept", not told.kept)) if holds]
    published = [f"published {format_time(told.published)}"] if told.published else []
    tree = Tree(", ".join([f"{told.model_id} version {told.version}, made by {told.made_by}", *published, *states]))
    for ancestor in told.ancestors:
        tree.add(f"from version {ancestor.version}, made by {ancestor.made_by}, begun {format_time(ancestor.started)}")
    batches = tree.add(f"batches: {len(told.batches):,}")
    for batch in told.batches:
        name = f"{batch.file_name}, " if batch.file_name else ""
        rows = "" if batch.entities is None else f", rows {batch.entities + (batch.interactions or 0):,}"
        tags = f", tags {', '.join(batch.tags)}" if batch.tags else ""
        since = "" if batch.state == "completed" else f", {batch.state} since"
        batches.add(escape(f"{name}{batch.batch_id}{rows}{tags}, {batch.used}{since}"))
    asked = told.selection.model_dump(exclude={"steps"}, exclude_none=True)
    selection = tree.add(escape(f"selection: {json.dumps(asked) if asked else 'all batches'}"))
    for step in told.selection.steps or ():
        selection.add(escape(f"{step.step}: {step.kept:,} kept, {step.removed:,} removed"))
    if told.erased:
        tree.add(f"erased since its training: {told.erased:,} entities")
    for pair in told.pairs or ():
        tree.add(
            escape(f"{pair.source_type} → {pair.target_type}: {pair.recommendations:,} recommendations precomputed")
        )
    if told.files:
        tree.add(f"files: {len(told.files)}, {sum(file.bytes for file in told.files):,} bytes")
    return tree


def _show_batches(batches: Sequence[Batch]) -> None:
    table = Table("file", "entities", "interactions", "rejected", "tags", "status", Column("batch_id", no_wrap=True))
    for batch in batches:
        counts = (f"{count:,}" for count in (batch.entity_count, batch.interaction_count, batch.rejected_count))
        state = "archived" if batch.archived else batch.status
        table.add_row(escape(batch.file_name), *counts, escape(", ".join(batch.tags)), state, batch.batch_id)
    out.print(table)
