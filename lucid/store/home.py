"""Every path under `LUCID_HOME`, once."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

MODELS = "models"
LOCK, ERASURE_REQUEST, ERASURE_RESULT = ".lock", ".request", ".done"
"""How the names of these files end."""


@dataclass(frozen=True)
class Home:
    """Where things are in a home; nothing is made or looked for."""

    path: Path

    @property
    def catalog(self) -> Path:
        """Small rows, see `lucid.store.catalog`."""
        return self.path / "catalog.duckdb"

    @property
    def batches_changed(self) -> Path:
        """Empty; its time says when batches changed."""
        return self.path / "batches.changed"

    # Data

    @property
    def batches(self) -> Path:
        return self.path / "batches"

    def batch(self, batch_id: str) -> Path:
        """The immutable files of an uploaded file, see `lucid.data.csv_load`."""
        return self.batches / batch_id

    def staging(self, batch_id: str) -> Path:
        """Where a batch is loaded before all of its upload become visible together."""
        return self.batches / f".staging-{batch_id}"

    @property
    def events(self) -> Path:
        """Events that wait to be compacted into batches, see `lucid.store.event_log`."""
        return self.path / "events.sqlite"

    @property
    def impressions(self) -> Path:
        """What answers have shown, and what came of it, see `lucid.store.impression_log`."""
        return self.path / "impressions.sqlite"

    @property
    def uploads(self) -> Path:
        return self.path / "uploads"

    def upload(self, batch_id: str) -> Path:
        """Where a file that came over HTTP waits for its import."""
        return self.uploads / batch_id

    @property
    def dry_run(self) -> Path:
        """What the training that is only looked at would select, see `lucid.training.dry_run`; soon removed."""
        return self.path / "dry_run"

    # Models

    @property
    def models(self) -> Path:
        return self.path / MODELS

    def model(self, model_id: str) -> Path:
        """The versions of a model, see `lucid.versions.lifecycle`."""
        return self.models / file_name(model_id)

    def version(self, model_id: str, number: int) -> Path:
        """The files of a version, see `lucid.versions.files`."""
        return self.model(model_id) / str(number)

    @property
    def placements(self) -> Path:
        """Rules for what is shown, see `lucid.placements.files`."""
        return self.path / "placements"

    def placement(self, name: str) -> Path:
        """The versions of a placement."""
        return self.placements / file_name(name)

    @property
    def experiments(self) -> Path:
        """Which versions and placements are tried on whom, see `lucid.versions.experiments`."""
        return self.path / "experiments"

    def experiment(self, name: str) -> Path:
        return self.experiments / f"{file_name(name)}.json"

    # The service

    @property
    def erasures(self) -> Path:
        """Requests for erasure and their results, see `lucid.erasure.requests`."""
        return self.path / "erasures"

    def erasure_request(self, request: str) -> Path:
        return self.erasures / f"{request}{ERASURE_REQUEST}"

    def erasure_result(self, request: str) -> Path:
        return self.erasures / f"{request}{ERASURE_RESULT}"

    @property
    def locks(self) -> Path:
        return self.path / "locks"

    def lock(self, name: str) -> Path:
        """The lock of a piece of work, see `lucid.store.locks`."""
        return self.locks / f"{file_name(name)}{LOCK}"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def prefect(self) -> Path:
        """What the Prefect server of `lucid up` stores."""
        return self.path / "prefect"

    @property
    def console_sessions(self) -> Path:
        """Who is signed in to the console, see `lucid.api.console.sessions`."""
        return self.path / "console"

    @property
    def service(self) -> Path:
        """Which service runs on the home, for other commands."""
        return self.path / "service.json"

    @property
    def pulse(self) -> Path:
        """The sign of life of the process that runs flows."""
        return self.path / "flows.pulse"

    @property
    def prefect_auth(self) -> Path:
        """The text with which people and programs sign in to the Prefect server of `lucid up`."""
        return self.path / "prefect_auth_string"

    @property
    def callback_secret(self) -> Path:
        """What signs callbacks, unless the settings have another."""
        return self.path / "callback_secret"


def file_name(text: str) -> str:
    """Encode any text as one file name, reversible and never `.` or `..`; a model id grows by two bytes at most."""
    encoded = quote(text, safe=":")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def text_of(name: str) -> str | None:
    """The text that a file name encodes; None for a name that is not ours."""
    text = unquote(name) if name.isascii() else ""
    return text if text and file_name(text) == name else None
