"""The parts of the compose file work together: each started as it says, upload, training and answers through them."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.store.home import Home
from tests.support.checkerboard import USERS, withheld, write_checkerboard
from tests.support.composed import DATABASE, Composed
from tests.support.containers import pod_containers, read_compose
from tests.support.pages import typed
from tests.support.postgres import find_postgres
from tests.support.service import wait_for_training

pytestmark = pytest.mark.skipif(
    not find_postgres(), reason="PostgreSQL is not installed; on Debian: apt-get install postgresql"
)

AUTH_STRING = "lucid:a text with a : and 'quotes'"
SECRETS = {"LUCID_PREFECT_AUTH_STRING": AUTH_STRING, "POSTGRES_PASSWORD": "p@ss/word:%41"}


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("composed")
    with Composed(read_compose(SECRETS), folder).running() as running:
        yield running


@pytest.fixture(scope="module")
def client(composed: Composed) -> Iterator[httpx.Client]:
    """A client with the key that the command of the pages makes in the container of the API."""
    (command,) = [line for line in typed("deployment.md", "docker compose") if "lucid keys create" in line]
    made = composed.execute("api", *shlex.split(command.partition(" exec api ")[2]))
    with composed.client(made.stdout.strip()) as client:
        yield client


@pytest.fixture(scope="module")
def trained(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> httpx.Client:
    """The same, once it has uploaded a checkerboard and had a model trained on it."""
    for file in write_checkerboard(tmp_path_factory.mktemp("files")):
        with file.open("rb") as content:
            (batch,) = client.post("/data_batch", files={"files": content}, data={"wait_seconds": "120"}).json()
        assert "completed" == batch["status"], batch
    client.post("/train", json={"model_id": "board"}).raise_for_status()
    assert "completed" == wait_for_training(client, "board")["status"]
    return client


def recommended(client: httpx.Client, user: int) -> str:
    """The best item for a user of the checkerboard."""
    asked = {"model_id": "board", "source_id": f"u{user:02}", "target_type": "item", "max_recommendations": 1}
    answer = client.post("/recommended_items", json=asked).raise_for_status().json()
    return str(answer["recommendations"][0]["target_id"])


def test_answers_come_through_all_parts(trained: httpx.Client) -> None:
    """What was uploaded to the API is imported and trained by the flows' process, and the API answers from it."""
    assert [f"i{withheld(user):02}" for user in range(USERS)] == [recommended(trained, user) for user in range(USERS)]


def test_each_part_is_healthy_while_it_works(composed: Composed, trained: httpx.Client) -> None:
    """By the health check that the compose file has for it, and by every probe of the manifests."""
    assert dict.fromkeys(composed.compose.services, True) == {
        name: composed.is_healthy(name) for name in composed.compose.services
    }
    for name, container in pod_containers().items():
        for probe in (part for key, part in container.items() if key.endswith("Probe")):
            assert passes(composed, name, container, probe), f"{name}: {probe}"


def passes(composed: Composed, name: str, container: dict[str, Any], probe: dict[str, Any]) -> bool:
    """Whether a container would pass a probe of Kubernetes, which asks by the address of the pod."""
    if "exec" in probe:
        return 0 == composed.execute(name, *probe["exec"]["command"]).returncode
    page = probe["httpGet"]
    (port,) = [str(entry["containerPort"]) for entry in container["ports"] if entry["name"] == page["port"]]
    asked = composed.address(port) + page["path"]
    return httpx.get(asked, headers={"host": f"10.1.2.3:{port}"}, timeout=30, trust_env=False).is_success


def test_prefect_answers_nobody_without_the_auth_string(composed: Composed, trained: httpx.Client) -> None:
    """Nor by another name than its own."""
    api = f"{composed.address('4200')}/api"
    deployment = f"{api}/deployments/name/train_model/train-model"
    with httpx.Client(trust_env=False, timeout=30) as stranger:
        assert 401 == stranger.get(deployment).status_code
        assert 401 == stranger.get(deployment, auth=("lucid", "wrong")).status_code
        assert 401 == stranger.get(deployment, headers={"host": "prefect:4200"}).status_code
        assert 403 == stranger.get(deployment, headers={"host": "evil.example:4200"}).status_code
        assert 403 == stranger.post(f"{api}/flow_runs/filter", json={}).status_code  # for want of a token
    with composed.prefect(AUTH_STRING) as operator:
        assert 200 == operator.get("/deployments/name/train_model/train-model").status_code


def test_what_prefect_knows_is_in_the_database(composed: Composed, trained: httpx.Client) -> None:
    """And in no file of a volume."""
    query = ["psql", "--host", "127.0.0.1", "--username", "prefect", "--tuples-only", "--command"]
    environment = composed.compose.services[DATABASE].environment
    asked = ["env", f"PGPASSWORD={environment['POSTGRES_PASSWORD']}", *query, "select count(*) from flow_run"]

    found = composed.execute(DATABASE, *asked)

    assert int(found.stdout) >= 3, found.stderr
    assert [] == list(composed.folder.glob("*/home/prefect/*.db"))


def test_commands_work_in_the_containers(composed: Composed, trained: httpx.Client) -> None:
    """Those of the home beside the API, and those of Prefect, signed in."""
    assert "board" in composed.execute("api", "lucid", "models", "list").stdout
    assert "train-model" in composed.execute("flows", "lucid", "prefect", "deployment", "ls").stdout


def test_foreign_variables_are_no_mistakes(composed: Composed, trained: httpx.Client) -> None:
    """What Kubernetes puts beside the settings is told nowhere."""
    assert [] == [name for name in composed.ours if "changes nothing" in composed.said(name)]


def test_secrets_stand_in_no_log(composed: Composed, trained: httpx.Client) -> None:
    """Neither the auth string nor the database's password."""
    logs = [file.read_text(errors="replace") for file in composed.folder.rglob("*.log")]

    assert logs
    assert [] == [log for log in logs for secret in SECRETS.values() if secret in log]


def test_a_home_of_a_volume_is_its_owner_s(composed: Composed, trained: httpx.Client) -> None:
    """It is made below the root of the volume, which may be somebody else's and hold more."""
    assert 0o700 == (composed.folder / "lucid" / "home").stat().st_mode & 0o777
    assert ["home"] == [path.name for path in (composed.folder / "lucid").iterdir()]
    assert Home(composed.folder / "lucid" / "home").pulse.exists()


def test_a_worker_of_a_pool_takes_the_place_of_the_flows(
    composed: Composed, trained: httpx.Client, tmp_path: Path
) -> None:
    """With the second compose file laid over the first: deployed as the page says, it does what is asked for."""
    composed.stop("flows")
    composed.compose = read_compose(SECRETS, with_pool=True)
    composed.start("flows")
    composed.wait_for("flows")
    deployed = composed.execute("flows", "lucid", "prefect", "deploy", "--all")
    assert 0 == deployed.returncode, deployed.stdout + deployed.stderr

    entities, _ = write_checkerboard(tmp_path)
    with entities.open("rb") as content:
        (batch,) = trained.post("/data_batch", files={"files": content}, data={"wait_seconds": "120"}).json()

    assert ("completed", "lucid") == (batch["status"], pool_of_latest_import(composed))


def pool_of_latest_import(composed: Composed) -> str:
    asked = {"flows": {"name": {"any_": ["import_data"]}}, "sort": "START_TIME_DESC", "limit": 1}
    with composed.prefect(AUTH_STRING) as operator:
        (run,) = operator.post("/flow_runs/filter", json=asked).raise_for_status().json()
    return str(run["work_pool_name"])


def test_every_part_stops_when_asked_and_look_ups_need_the_api_only(composed: Composed, trained: httpx.Client) -> None:
    """Within its grace, in any order."""
    composed.stop("prefect")
    assert not composed.is_listening("4200")
    assert f"i{withheld(0):02}" == recommended(trained, 0)
    composed.stop("flows")
    composed.stop("api")
    assert not composed.is_listening("8000")
