"""The files by which Lucid runs in containers, taken apart: the Dockerfile, the compose file, the manifests.

What is read here is all that these files may say: another field of the compose file is an error, until it is known what
it means to a test that starts the same as plain processes.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from dockerfile_parse import DockerfileParser
from pydantic import BaseModel, ConfigDict, Field

from tests.support.service import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE, KUBERNETES = DEPLOY / "Dockerfile", DEPLOY / "kubernetes"
COMPOSE, POOL = DEPLOY / "compose.yaml", DEPLOY / "compose.pool.yaml"

Duration = Annotated[str, Field(pattern="^[0-9]+s$")]
Text = Annotated[str, Field(min_length=1)]


class _Known(BaseModel):
    """Part of a compose file, with no field but those below."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Build(_Known):
    context: str
    dockerfile: str
    args: tuple[str, ...]


class Healthcheck(_Known):
    test: tuple[Text, ...]
    interval: Duration
    timeout: Duration
    retries: int
    start_period: Duration
    start_interval: Duration


class EnvFile(_Known):
    path: str
    required: Literal[False]


class Condition(_Known):
    condition: Literal["service_healthy"]


class Container(_Known):
    """A service of the compose file."""

    image: Text
    build: Build | None = None
    command: tuple[Text, ...]
    environment: dict[str, str]
    ports: tuple[Annotated[str, Field(pattern=r"^127\.0\.0\.1:\d+:\d+$")], ...] = ()
    volumes: tuple[Annotated[str, Field(pattern=r"^\w+:/[\w/]+$")], ...]
    networks: tuple[str, ...] = ("default",)
    depends_on: dict[str, Condition] = {}
    healthcheck: Healthcheck
    init: bool = False
    restart: Literal["unless-stopped"]
    stop_grace_period: Duration
    shm_size: str | None = None
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    cap_drop: tuple[Literal["ALL"], ...] = ()
    security_opt: tuple[Literal["no-new-privileges:true"], ...]
    env_file: tuple[EnvFile, ...] = ()

    @property
    def is_ours(self) -> bool:
        return self.build is not None


class Network(_Known):
    internal: Literal[True]


class Compose(_Known):
    """The compose file, its variables filled in."""

    name: str
    services: dict[str, Container]
    volumes: dict[str, None]
    networks: dict[str, Network]


def read_compose(variables: Mapping[str, str], *, with_pool: bool = False) -> Compose:
    """The compose file as an engine reads it, the one for a work pool laid over it or not.

    Raises KeyError for a variable that is not given.
    """
    filled = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: variables[found[1]], COMPOSE.read_text())
    content = {name: part for name, part in yaml.safe_load(filled).items() if not name.startswith("x-")}
    return Compose.model_validate(_laid_over(content, yaml.safe_load(POOL.read_text())) if with_pool else content)


def _laid_over(below: Any, above: Any) -> Any:
    """What an engine makes of a part that stands in both files; lists take the place of lists, as commands do."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: _laid_over(below.get(name), part) for name, part in above.items()}}


def required_variables() -> set[str]:
    """What an engine asks for before it starts anything."""
    return set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))


def dockerfile() -> DockerfileParser:
    return DockerfileParser(fileobj=BytesIO(DOCKERFILE.read_bytes()))


def instructions(name: str) -> list[str]:
    """What follows an instruction, wherever the Dockerfile has it, in order."""
    return [one["value"] for one in dockerfile().structure if one["instruction"] == name]


def dockerfile_argument(name: str) -> str | None:
    """What an argument of the build is where nobody gives it."""
    (given,) = [value for value in instructions("ARG") if value.partition("=")[0] == name]
    return given.partition("=")[2] or None


def image_environment() -> dict[str, str]:
    """What every container of our image finds, `PATH` apart."""
    return {name: value for name, value in dockerfile().envs.items() if name != "PATH"}


def kustomization() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return found


def manifests() -> list[dict[str, Any]]:
    """All objects that `kubectl apply --kustomize` makes."""
    return [one for name in kustomization()["resources"] for one in objects(KUBERNETES / name)]


def objects(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests() if one["kind"] == kind]


def pods() -> dict[str, dict[str, Any]]:
    """The specification of each pod, by the name of its set."""
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in of_kind("StatefulSet")}


def pod_containers() -> dict[str, dict[str, Any]]:
    """The containers of all pods, by their names, which differ."""
    return {one["name"]: one for pod in pods().values() for one in pod["containers"]}


def service_links() -> dict[str, str]:
    """What Kubernetes puts into the environment of every pod that does not refuse it, as these services are called."""
    found: dict[str, str] = {}
    for service in of_kind("Service"):
        name = service["metadata"]["name"].upper().replace("-", "_")
        for port in (entry["port"] for entry in service["spec"]["ports"]):
            address = f"tcp://10.0.0.1:{port}"
            found |= {f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_SERVICE_PORT": str(port), f"{name}_PORT": address}
            found |= {f"{name}_PORT_{port}_TCP": address, f"{name}_PORT_{port}_TCP_ADDR": "10.0.0.1"}
            found |= {f"{name}_PORT_{port}_TCP_PORT": str(port), f"{name}_PORT_{port}_TCP_PROTO": "tcp"}
    return found
