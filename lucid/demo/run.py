"""The demo: starts the service and uses it over HTTP as a customer would, from CSV files to recommendations."""

import csv
import gzip
import io
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from lucid.demo.catalogue import Catalogue, favourites_found, generate, recommend_popular
from lucid.demo.receiver import Receiver
from lucid.errors import LucidError, Unavailable
from lucid.keys import create_key
from lucid.service.run import auth_file, environment, read_service
from lucid.service.supervisor import STOP_SECONDS
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.files import make_folder
from lucid.store.home import Home

MODEL = "demo"
SHOWN = 5
_NO_FLOW_YET = "waiting for the flow to begin"
Row = dict[str, Any]


@dataclass(frozen=True)
class _Story:
    """What to ask for, found in the data: pairs of types, sources of each type, and what sources interacted with."""

    pairs: list[tuple[str, str]]
    sources: dict[str, list[str]]
    names: dict[str, str]
    interacted: dict[str, list[str]]
    planted: Catalogue | None = None


@dataclass
class _Clock:
    """Seconds of each stage, as a customer who waits sees them."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds.append((stage, time.monotonic() - start))


def run_demo(out: Console, data: Path | None, *, keep: bool) -> int:
    """Run the demo and return 0; `data` None means a generated catalogue. Raises LucidError where a part fails."""
    folder = Path(tempfile.mkdtemp(prefix="lucid-demo-"))
    settings = load_settings().model_copy(
        update={
            "home": folder / "home",
            "api_port": _free_port(),
            "prefect_port": _free_port(),
            "callback_secret": secrets.token_hex(16),
            "callback_allow_private": True,
        }
    )
    make_folder(settings.home)
    secret = create_key(Catalog(settings.home), "demo")[1]
    clock = _Clock()
    out.print(f"[bold]Lucid demo[/] on {data or 'a generated video catalogue with planted tastes'}")
    with clock.timed("start the service"), _telling(out, "Starting the service …") as tell:
        service = _start(settings, tell)
    finished = False
    try:
        receiver = Receiver(settings.callback_secret or "")
        with _client(settings, secret) as client, receiver.running():
            _show(out, client, receiver, folder, data, clock)
        _say_timings(out, clock)
        _say_addresses(out, settings, secret if keep else None)
        finished = True
    finally:
        if not (keep and finished):
            with _telling(out, "Stopping the service …"):
                _stop(service)
            shutil.rmtree(folder, ignore_errors=True)
    if keep:
        out.print(f"The service stays up. Stop it with: LUCID_HOME={settings.home} {sys.executable} -m lucid down")
    else:
        out.print("Everything is stopped and removed again; KEEP=1 (or --keep) would leave it running.")
    return 0


def _show(
    out: Console, client: httpx.Client, receiver: Receiver, folder: Path, data: Path | None, clock: _Clock
) -> None:
    files, story = _prepare(folder, data)
    size = sum(file.stat().st_size for file in files) / 1e6
    names = " and ".join(file.name for file in files)
    with clock.timed("upload and import"), _telling(out, f"Uploading {names} ({size:.1f} MB), and importing …"):
        batches = _upload(client, files)
    _say_batches(out, batches)
    _train(out, client, receiver.url, clock)
    with clock.timed("wait for the callback"), _telling(out, "Waiting for the callback …"):
        event = _wait_for_callback(receiver)
    out.print(f"Callback received, signature verified: {event['event']} of {event['model_id']}, {event['status']}")
    for source_type, target_type in story.pairs:
        _ask(out, client, story, source_type, target_type, clock)
    if story.planted:
        _say_planted(out, client, story.planted)


def _prepare(folder: Path, data: Path | None) -> tuple[list[Path], _Story]:
    """The files to upload and what to ask for."""
    if data is None:
        catalogue = generate(folder)
        story = _read_story([catalogue.entities], catalogue.interactions, catalogue)
        return [catalogue.entities, catalogue.interactions], story
    files = [data / "entities.csv.gz", data / "interactions.csv.gz"]
    for file in files:
        if not file.is_file():
            raise LucidError(f"{file}: no such file; the folder must hold entities.csv.gz and interactions.csv.gz")
    return files, _read_story(files[:1], files[1], None)


def _read_story(entities: Sequence[Path], interactions: Path, planted: Catalogue | None) -> _Story:
    types: dict[str, str] = {}
    names: dict[str, str] = {}
    for row in (row for path in entities for row in _read_csv(path)):
        types[row["id"]], names[row["id"]] = row["type"], row["name"]
    pairs: Counter[tuple[str, str]] = Counter()
    interacted: dict[str, list[str]] = {}
    for row in _read_csv(interactions):
        if row["source_id"] in types and row["target_id"] in types:
            pairs[types[row["source_id"]], types[row["target_id"]]] += 1
            interacted.setdefault(row["source_id"], []).append(row["target_id"])
    sources: dict[str, list[str]] = {}
    for source in interacted:
        sources.setdefault(types[source], []).append(source)
    wanted = [("user", "video"), ("user", "writer")] if planted else [pair for pair, _ in pairs.most_common(3)]
    return _Story(wanted, sources, names, interacted, planted)


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


# The service


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _telling(out: Console, what: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done; gives what says the next. In a file each is a line, on a terminal it goes afterwards."""
    if out.is_terminal:
        with out.status(escape(what)) as status:
            yield lambda next_one: status.update(escape(next_one))
        return
    told = {what}
    out.print(what, markup=False)

    def tell(next_one: str) -> None:
        if next_one not in told:
            told.add(next_one)
            out.print(next_one, markup=False)

    yield tell


def _start(settings: Settings, tell: Callable[[str], None]) -> subprocess.Popen[bytes]:
    log = Home(settings.home).logs / "service.log"
    make_folder(log.parent)
    with log.open("wb") as output:
        service = subprocess.Popen(
            [sys.executable, "-m", "lucid", "up"],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while not ((running := read_service(settings)) and running.ready):
        if service.poll() is not None:  # it gives each of its parts a time to start in
            raise Unavailable(f"the service did not start:\n{log.read_text(errors='replace')}")
        for line in log.read_text(errors="replace").splitlines():
            if line.startswith("Starting"):  # each part that it waits for
                tell(line)
        time.sleep(0.1)
    return service


def _stop(service: subprocess.Popen[bytes]) -> None:
    if service.poll() is None:
        service.terminate()  # not Ctrl-C, which what a script starts in the background ignores
        service.wait(STOP_SECONDS + 10)


def _client(settings: Settings, secret: str) -> httpx.Client:
    base = f"http://{settings.host}:{settings.api_port}/v1/recommender"
    return httpx.Client(base_url=base, headers={"apikey": secret}, timeout=120, trust_env=False)


def _checked(response: httpx.Response) -> Any:
    if response.is_error:
        raise LucidError(f"{response.request.method} {response.request.url.path}: {response.json().get('detail')}")
    return response.json()


# What a customer does


def _upload(client: httpx.Client, files: Sequence[Path]) -> list[Row]:
    with_names = [("files", (file.name, file.read_bytes(), "text/csv")) for file in files]
    batches: list[Row] = _checked(
        client.post("/data_batch", files=with_names, data={"tags": "demo", "wait_seconds": "120"})
    )
    return batches


def _train(out: Console, client: httpx.Client, callback_url: str, clock: _Clock) -> None:
    """Start a training and follow it until it is done: with a progress bar, or in a file with a line now and then."""
    _checked(client.post("/train", json={"model_id": MODEL, "data_tags": ["demo"], "callback_url": callback_url}))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    stage, since = "queued", time.monotonic()
    told = _Told(out)
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(_NO_FLOW_YET, total=100)
        while True:
            status = _checked(client.get("/status", params={"model_id": MODEL}))
            if status["stage"] != stage:
                clock.seconds.append((f"train: {stage}", time.monotonic() - since))
                stage, since = status["stage"], time.monotonic()
            doing = status["message"] or (_NO_FLOW_YET if status["stage"] == "queued" else status["stage"])
            bar.update(task, completed=status["progress"], description=escape(doing))
            told.tell(status["stage"], status["progress"], doing)
            if status["status"] != "running":
                break
            time.sleep(0.2)
    if status["status"] == "error":
        raise LucidError(f"the training ended in error: {status['message']}")
    out.print(f"Model [bold]{MODEL}[/] version {status['version']} is live. Flow run: {status['flow_run_url']}")


@dataclass
class _Told:
    """Says in a file how far a training has come: at each stage, and every ten percent."""

    out: Console
    _last: tuple[str, int] = ("", 0)

    def tell(self, stage: str, percent: float, doing: str) -> None:
        now = stage, int(percent // 10)
        if not self.out.is_terminal and now != self._last:
            self._last = now
            self.out.print(f"Training: {percent:3.0f}%  {doing}", markup=False, highlight=False)


def _wait_for_callback(receiver: Receiver) -> Row:
    try:
        return receiver.events.get(timeout=30)
    except Empty:
        raise LucidError(f"no callback with a right signature came within 30 s ({receiver.refused} refused)") from None


def _recommend(client: httpx.Client, **wanted: Any) -> list[Row]:
    rows: list[Row] = _checked(client.post("/recommended_items", json={"model_id": MODEL, **wanted}))["recommendations"]
    return rows


def _ask(out: Console, client: httpx.Client, story: _Story, source_type: str, target_type: str, clock: _Clock) -> None:
    """Ask for one source, for several and for all as CSV; show the first and count the others."""
    known = story.sources.get(source_type, [])
    one = _recommend(client, source_id=known[0], target_type=target_type, max_recommendations=SHOWN)
    several = _recommend(client, source_id=known[:20], target_type=target_type, max_recommendations=SHOWN)
    with clock.timed(f"ask: all {source_type} → {target_type}, CSV"):
        wanted = {"model_id": MODEL, "source_type": source_type, "target_type": target_type, "output_format": "csv"}
        size = rows = 0
        with client.stream("POST", "/recommended_items", json=wanted) as response:
            for line in response.iter_lines():
                size, rows = size + len(line) + 1, rows + 1
    if not one or not several or rows < 2:
        raise LucidError(f"no recommendations for {source_type} → {target_type}")
    table = Table("score", target_type, "id", title=f"{source_type} → {target_type} for {_called(story, known[0])}")
    for row in one:
        table.add_row(f"{row['score']:.1f}", row["name"] or row["target_id"], row["target_id"])
    out.print(table)
    before = [_called(story, target) for target in dict.fromkeys(story.interacted[known[0]])][:SHOWN]
    out.print(f"  It interacted with, for example: {', '.join(before)}", markup=False)
    answers = len({row["source_id"] for row in several})
    out.print(
        f"  Asked for {answers} at once: {len(several)} rows. All as CSV: {rows - 1:,} rows, {size / 1e6:.1f} MB."
    )


def _called(story: _Story, entity: str) -> str:
    return story.names.get(entity) or entity


def _say_batches(out: Console, batches: Sequence[Row]) -> None:
    table = Table("file", "entities", "interactions", "rejected", title="Imported")
    for batch in batches:
        counts = (batch["entity_count"], batch["interaction_count"], batch["rejected_count"])
        table.add_row(batch["file_name"], *(f"{count:,}" for count in counts))
    out.print(table)
    for batch in batches:
        for warning in batch["warnings"]:
            out.print(f"{batch['file_name']}: warning: {warning}", markup=False)


def _say_planted(out: Console, client: httpx.Client, catalogue: Catalogue) -> None:
    """How many withheld favourites stand among the first ten, next to popularity."""
    text = client.post(
        "/recommended_items",
        json={
            "model_id": MODEL,
            "source_type": "user",
            "target_type": "video",
            "max_recommendations": 10,
            "output_format": "csv",
        },
    ).text
    recommended: dict[str, list[str]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        recommended.setdefault(row["source_id"], []).append(row["target_id"])
    ours = favourites_found(recommended, catalogue.favourites)
    popular = favourites_found(recommend_popular(catalogue.watched), catalogue.favourites)
    out.print(
        f"\nPlanted favourites, withheld from the data, among the first 10: [bold]{ours:.1%}[/] "
        f"of {len(catalogue.favourites)} users; popularity finds {popular:.1%}."
    )


def _say_timings(out: Console, clock: _Clock) -> None:
    table = Table("stage", "seconds", title="Time")
    for stage, seconds in clock.seconds:
        table.add_row(stage, f"{seconds:.1f}")
    table.add_row("total", f"{sum(seconds for _, seconds in clock.seconds):.1f}", style="bold")
    out.print(table)


def _say_addresses(out: Console, settings: Settings, secret: str | None) -> None:
    out.print(f"Console     http://{settings.host}:{settings.api_port}/console")
    out.print(f"API docs    http://{settings.host}:{settings.api_port}/docs")
    out.print(f"Prefect UI  {settings.prefect_ui}")
    if secret:
        out.print(f"            sign in with the text in {auth_file(settings)}", markup=False)
        out.print(f"API key     {secret}", markup=False)
