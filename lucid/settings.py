"""Settings: read once from the environment (`LUCID_…`) at the edge, then passed down."""

import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from lucid import logs
from lucid.errors import InvalidRequest
from lucid.schema.fields import Device, check_zone, describe
from lucid.schema.names import nearest

_log = logging.getLogger("lucid")

THREADS_THAT_SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}
"""Environment in which threads of torch and numpy sleep while they wait for each other, instead of keeping a processor
busy; to be set before these are loaded. Measured beside a test suite on two cores: a fit of 100,000 ratings took half
the time, and 40% of the processors'."""


class Settings(BaseSettings):
    """All settings with their defaults; each is set by the environment variable `LUCID_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="LUCID_", frozen=True, extra="forbid")

    home: Path = Field(Path(".lucid"), description="Folder that holds everything Lucid stores.")
    host: str = Field("127.0.0.1", description="Address that the API and the Prefect server listen on.")
    allowed_hosts: str = Field(
        "", description="Further names by which the API and the Prefect server may be asked, separated by commas."
    )
    api_port: int = Field(8000, ge=1, le=65535)
    api_url: str | None = Field(None, description="Where people reach the API; default: the host and the port.")
    prefect_port: int = Field(4200, ge=1, le=65535)
    prefect_api_url: str | None = Field(
        None, description="Prefect API that runs the flows; default: the one that `lucid up` starts."
    )
    prefect_ui_url: str | None = Field(
        None, description="Where people open the Prefect UI; default: the API's address without /api."
    )
    prefect_auth_string: str | None = Field(None, description="user:password of the Prefect API, if it asks.")
    max_file_bytes: int = Field(1_000_000_000, ge=1, description="Largest accepted file, unpacked, in bytes.")
    max_file_rows: int = Field(10_000_000, ge=1, description="Largest accepted number of rows in a file.")
    max_file_columns: int = Field(1_000, ge=5, description="Largest accepted number of columns in a file.")
    # Empty lines are no rows, and so not limited as such; but they take as much time to read.
    max_empty_lines: int = Field(10_000_000, ge=0, description="Largest accepted number of empty lines in a file.")
    max_misfits: int = Field(
        1_000_000, ge=0, description="Cells that rows of a file may lack, and rows that are bad as a whole."
    )
    # DuckDB reads with buffers of sixteen rows of this size; 2 GB are more than it takes.
    max_row_bytes: int = Field(4_000_000, ge=1_000, le=100_000_000, description="Largest accepted row, in bytes.")
    max_metadata_characters: int = Field(100_000, ge=1, le=1_000_000, description="Longest accepted metadata of a row.")
    rate_limit: str | None = Field(
        None,
        pattern="^[1-9][0-9]*/(second|minute|hour|day)$",
        description="Calls that each API key may make, like 100/minute; without one there is no limit.",
    )
    callback_secret: str | None = Field(
        None, description="Signs callbacks; default: made once and kept in LUCID_HOME/callback_secret."
    )
    callback_allow_private: bool = Field(False, description="Allow callbacks to private and loopback addresses.")
    callback_allow_ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], NoDecode] = Field(
        (), description="Ports below 1024, besides 80 and 443, to which callbacks may go: 81,591 or as JSON."
    )
    callback_timeout_seconds: float = Field(
        10.0, gt=0, le=3600, description="Time for one call of a receiver, all in all."
    )
    keep_versions: int = Field(3, ge=1, description="Finished versions kept of each model.")
    keep_runs_days: int = Field(
        30, ge=1, le=3650, description="How long Prefect keeps a run that has ended, with its logs and artifacts."
    )
    keep_history_days: float = Field(
        90,
        gt=0,
        le=3650,
        description="How long it is kept how trainings, refreshes, callbacks and failed imports ended that nothing "
        "needs any more, and logs that were put aside.",
    )
    keep_impressions_days: int = Field(
        90, ge=1, le=3650, description="How long it is kept what answers have shown, and what came of it."
    )
    flow_niceness: int = Field(
        10, ge=0, le=19, description="How far flows stand back behind look-ups where both want the processor."
    )
    refresh_time: str = Field(
        "03:00",
        description="When all models are refreshed each day, as 03:00, or off; a schedule changed in Prefect stays.",
    )
    maintenance_time: str = Field(
        "04:00",
        description="When the home is maintained each day, as 04:00, or off; a schedule changed in Prefect stays.",
    )
    refresh_timezone: str = Field(
        "UTC", description="Time zone of these two times: UTC or a name such as Europe/Berlin."
    )
    log_format: Literal["human", "json"] = Field(
        "human", description="What the processes of the service write into their logs: lines for people, or of JSON."
    )
    seed: int = Field(0, ge=0, description="Seed of everything random in a training.")
    training_memory: str | None = Field(
        None,
        pattern=r"^([1-9][0-9]*(\.[0-9]+)?(MB|GB)|off)$",
        description="Memory for all trainings of a machine together, as 8GB, or off; default: what is available.",
    )
    device: Device = Field("auto", description="Where vectors are computed: a GPU if there is one, or as said.")
    task_runner: Literal["threads", "dask"] = Field("threads", description="What runs the mapped tasks of flows.")
    dask_address: str | None = Field(
        None, description="Scheduler of a Dask cluster on the same file system; default: a local one for each run."
    )
    partition_scores: int = Field(
        200_000_000, ge=1, description="Scores (sources times targets) that one task of a precomputation finds."
    )

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if set("*?[") & set(str(home.expanduser().absolute())):
            raise ValueError("must not hold * ? or [, which DuckDB reads as a pattern")
        return _expect_folder(home.expanduser().absolute())

    @field_validator("api_port", "prefect_port", mode="before")
    @classmethod
    def _not_an_address(cls, port: object, info: ValidationInfo) -> object:
        """Kubernetes sets `LUCID_API_PORT=tcp://…` beside a service that is called lucid-api: that is not ours."""
        is_address = isinstance(port, str) and _ADDRESS.match(port)
        return cls.model_fields[str(info.field_name)].default if is_address else port

    @field_validator("callback_allow_ports", mode="before")
    @classmethod
    def _listed(cls, ports: object) -> object:
        """A list as people write it, or as `service.environment` passes it on."""
        if not isinstance(ports, str):
            return ports
        if ports.strip().startswith("["):
            return json.loads(ports)
        return [part for part in ports.split(",") if part.strip()]

    @field_validator("refresh_time", "maintenance_time")
    @classmethod
    def _time_of_day(cls, value: str) -> str:
        if value != "off" and not re.fullmatch("([01]?[0-9]|2[0-3]):[0-5][0-9]", value):
            raise ValueError(f"{value!r} is no time of day; expected hours and minutes as 03:00, or off")
        return value if value == "off" else value.zfill(5)

    @field_validator("task_runner")
    @classmethod
    def _installed(cls, name: str) -> str:
        if name == "dask" and find_spec("prefect_dask") is None:
            raise ValueError(
                "dask is not installed; install it with pip install 'lucid-recommender[dask]', or say threads"
            )
        return name

    @field_validator("refresh_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return check_zone(name)

    @property
    def refresh_time_of_day(self) -> time | None:
        """When all models are refreshed each day, in `refresh_timezone`; None where they are not."""
        return _time_or_off(self.refresh_time)

    @property
    def maintenance_time_of_day(self) -> time | None:
        """When the home is maintained each day, in `refresh_timezone`; None where it is not."""
        return _time_or_off(self.maintenance_time)

    @property
    def training_memory_bytes(self) -> int | None:
        """What all trainings of a machine may hold together; None where `training_memory` gives no number."""
        if self.training_memory is None or self.training_memory == "off":
            return None
        return int(float(self.training_memory[:-2]) * {"MB": 1e6, "GB": 1e9}[self.training_memory[-2:]])

    @property
    def own_hosts(self) -> list[str]:
        """The names of `allowed_hosts`, in lower case."""
        return [name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip()]

    @property
    def prefect_api(self) -> str:
        """Base URL of the Prefect API, without a trailing slash."""
        return (self.prefect_api_url or f"http://{self.reachable_host}:{self.prefect_port}/api").rstrip("/")

    @property
    def api(self) -> str:
        """Base URL under which people reach the API and its pages, without a trailing slash."""
        return (self.api_url or f"http://{self.reachable_host}:{self.api_port}").rstrip("/")

    @property
    def reachable_host(self) -> str:
        """Where this machine reaches what listens on `host`."""
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104

    @property
    def prefect_ui(self) -> str:
        """Base URL of the Prefect UI, without a trailing slash."""
        return (self.prefect_ui_url or self.prefect_api.removesuffix("/api")).rstrip("/")


def _time_or_off(text: str) -> time | None:
    return None if text == "off" else time.fromisoformat(text)


def _expect_folder(home: Path) -> Path:
    """The path, which is a folder or can become one; raises ValueError where it or one above it is a file."""
    with suppress(OSError):  # where nothing may be looked at, whoever opens it says so
        there = next(path for path in (home, *home.parents) if path.exists())
        if not there.is_dir():
            raise ValueError(f"{there} is no folder; LUCID_HOME names a folder, which is made where there is none")
    return home


def variables(settings: Settings) -> dict[str, str]:
    """The environment in which another process has the same settings."""
    return {
        f"LUCID_{name.upper()}": str(value)
        for name, value in settings.model_dump(mode="json").items()
        if value is not None
    }


_INJECTED = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP|SCTP)|_ENV_")
"""Names that Kubernetes and Docker give containers beside a service or a container that is called lucid."""
_ADDRESS = re.compile("(tcp|udp|sctp)://")
"""How the value of their `…_PORT` begins."""


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """A sentence for every variable that is no setting but is called nearly like one."""
    known = {f"LUCID_{name.upper()}" for name in Settings.model_fields}
    foreign = sorted(
        name
        for name, value in environment.items()
        if name.upper().startswith("LUCID_")
        and name not in known
        and not _INJECTED.search(name)
        and not _ADDRESS.match(value)
    )
    meant = {name: nearest(name[6:], (one[6:] for one in known)) for name in foreign}
    return [
        f"{name} in the environment is no setting and changes nothing; did you mean LUCID_{like}?"
        for name, like in meant.items()
        if like
    ]


@cache
def _warn_once(told: str) -> None:
    _log.warning(told)


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises InvalidRequest for a bad value. A `LUCID_…` variable that no setting has is somebody else's, and stops
    nothing; one that looks like a misspelt setting is logged, once in a process.
    """
    for told in misspelt(os.environ):
        _warn_once(told)
    try:
        settings = Settings()
    except ValidationError as error:
        raise InvalidRequest(f"bad setting (LUCID_…) {describe(error, Settings)}", code="invalid_setting") from error
    logs.hide(settings.callback_secret, settings.prefect_auth_string)
    return settings
