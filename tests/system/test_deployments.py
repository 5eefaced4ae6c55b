"""Deployments on a work pool, without `lucid up`: what an operator does, and what the Prefect UI's buttons do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lucid import dead_runs
from lucid.flows.automations import DEAD_RUNS
from lucid.keys import create_key
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.tables.trainings import TrainingRow
from tests.support.checkerboard import write_checkerboard
from tests.support.service import free_port, prefect_client, wait_for_training, wait_until

ROOT = Path(__file__).parent.parent.parent


class Operator:
    """A Prefect server, a process worker and the API, each started by hand on one home."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder
        prefect_port, self.api_port = free_port(), free_port()
        self.prefect_url = f"http://127.0.0.1:{prefect_port}/api"
        self.environment = {
            **os.environ,
            "LUCID_HOME": str(self.home),
            "LUCID_PREFECT_API_URL": self.prefect_url,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.prefect_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
        }
        self._started: list[subprocess.Popen[bytes]] = []
        self.start("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port))
        wait_until(lambda: self.answers(f"{self.prefect_url}/health"), 90, "the Prefect server")

    def start(self, module: str, *arguments: str) -> None:
        with (self.folder / f"{module}-{len(self._started)}.log").open("wb") as log:
            command = [sys.executable, "-m", module, *arguments]
            self._started.append(
                subprocess.Popen(
                    command, env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def prefect(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    def answers(self, url: str) -> bool:
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def deployment(self, name: str) -> dict[str, Any]:
        with prefect_client(self.prefect_url) as client:
            found: dict[str, Any] = client.get(f"/deployments/name/{name}").raise_for_status().json()
            return found

    def change(self, method: str, path: str, body: Any = None) -> None:
        with prefect_client(self.prefect_url) as client:
            client.request(method, f"/deployments/{path}", json=body).raise_for_status()

    def kill(self, word: str) -> None:
        """Kill -9 what was started with this word on its command line, and all that it started."""
        found = [psutil.Process(process.pid) for process in self._started if word in str(process.args)]
        for one in [each for process in found for each in (process, *process.children(recursive=True))]:
            one.kill()

    def stop(self) -> None:
        for process in reversed(self._started):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:  # a worker that was started with SIGINT ignored outlives SIGTERM
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    started = Operator(tmp_path_factory.mktemp("operator"))
    try:
        started.prefect("work-pool", "create", "--type", "process", "lucid")
        started.prefect("deploy", "--all")
        started.start("prefect", "worker", "start", "--pool", "lucid")
        yield started
    finally:
        started.stop()


def test_deploying_all_registers_every_deployment(operator: Operator) -> None:
    """The six deployments stand on the work pool, the refresh and the maintenance with their schedules."""
    names = (
        "import_data/import-data",
        "train_model/train-model",
        "refresh_recommendations/refresh-recommendations",
        "erase_entity/erase-entity",
        "maintain_home/maintain-home",
        "auto_train/auto-train",
    )

    found = [operator.deployment(name) for name in names]

    assert ["lucid"] * len(names) == [deployment["work_pool_name"] for deployment in found]
    assert ["0 3 * * *"] == [entry["schedule"]["cron"] for entry in found[2]["schedules"]]
    assert ["0 4 * * *"] == [entry["schedule"]["cron"] for entry in found[4]["schedules"]]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (
            "import_data/import-data",
            {
                "files": "array",
                "tags": "array",
                "on_error": "string",
                "source_type": "string",
                "target_type": "string",
                "namespace": "boolean",
            },
        ),
        (
            "train_model/train-model",
            {
                "model_id": "string",
                "maximum_interaction_age_days": "integer",
                "data_tags": "array",
                "callback_url": "string",
                "precompute": "array",
                "data_filters": "object",
                "metadata_rules": "object",
                "interaction_rules": "object",
                "allow_type_changes": "boolean",
                "max_minutes": "number",
            },
        ),
        ("refresh_recommendations/refresh-recommendations", {"model_id": "string"}),
        ("erase_entity/erase-entity", {"request": "string"}),
        ("maintain_home/maintain-home", {"dry_run": "boolean", "keep_history_days": "number"}),
        ("auto_train/auto-train", {"model_id": "string", "min_interval_seconds": "integer"}),
        ("approve_version/approve-version", {"model_id": "string", "version": "integer"}),
    ],
)
def test_forms_show_typed_and_described_parameters(operator: Operator, name: str, types: dict[str, str]) -> None:
    """Every parameter of a deployment's form has a type and a sentence that explains it."""
    properties = operator.deployment(name)["parameter_openapi_schema"]["properties"]

    assert types == {key: kind_of(value) for key, value in properties.items()}
    assert [] == [key for key, value in properties.items() if len(value.get("description", "")) < 20]


def kind_of(schema: dict[str, Any]) -> str:
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    # A pydantic model stands as a reference to its own schema.
    return str(choices[0].get("type", "object"))


def test_runs_started_from_prefect_import_train_and_answer(operator: Operator, tmp_path: Path) -> None:
    """What the UI's button starts imports a file and trains a model, from which the API answers."""
    files = [str(file) for file in write_checkerboard(tmp_path)]
    operator.prefect(
        "deployment", "run", "import_data/import-data", "-p", f"files={json.dumps(files)}", "-p", 'tags=["a"]'
    )
    catalog = Catalog(operator.home)
    wait_until(lambda: ["completed"] * 2 == [batch.status for batch in catalog.batches.find()], 60, "the import")

    operator.prefect("deployment", "run", "train_model/train-model", "-p", 'model_id="board"', "-p", 'data_tags=["a"]')
    _, key = create_key(catalog)
    operator.start("uvicorn", "lucid.api.app:create_service", "--factory", "--port", str(operator.api_port))
    wait_until(lambda: operator.answers(f"http://127.0.0.1:{operator.api_port}/health"), 30, "the API")

    base = f"http://127.0.0.1:{operator.api_port}/v1/recommender"
    with httpx.Client(base_url=base, headers={"apikey": key}, trust_env=False) as client:
        wait_until(lambda: client.get("/status", params={"model_id": "board"}).status_code == 200, 60, "the training")
        status = wait_for_training(client, "board")
        wanted = {"model_id": "board", "source_id": "u00", "target_type": "item", "max_recommendations": 1}
        rows = client.post("/recommended_items", json=wanted).json()["recommendations"]

    assert "completed" == status["status"], status["message"]
    with prefect_client(operator.prefect_url) as prefect:
        logs = prefect.post("/logs/filter", json={}).raise_for_status().json()
    assert "lucid" in {line["name"] for line in logs}  # what our loggers say stands on the pages of the runs
    assert status["flow_run_url"].startswith(operator.prefect_url.removesuffix("/api"))
    assert ["i00"] == [row["target_id"] for row in rows]


def test_deploying_again_keeps_what_people_changed(operator: Operator) -> None:
    """Schedules, a pause, a limit and tags; the code is that of prefect.yaml again, and nobody runs another."""
    names = ("train_model/train-model", "refresh_recommendations/refresh-recommendations")
    train, refresh = (operator.deployment(name) for name in names)
    moved = {"schedule": {"cron": "30 5 * * 1", "timezone": "Europe/Berlin"}}
    added = {"schedule": {"interval": 86400.0}, "parameters": {"model_id": "board", "data_tags": ["a"]}}
    operator.change("PATCH", f"{refresh['id']}/schedules/{refresh['schedules'][0]['id']}", moved)
    operator.change("POST", f"{refresh['id']}/pause_deployment")
    operator.change("POST", f"{train['id']}/schedules", [added])
    operator.change("PATCH", train["id"], {"concurrency_limit": 1, "tags": ["ours"], "entrypoint": "evil.py:train"})
    changed = [people_s(operator.deployment(name)) for name in names]

    operator.prefect("deploy", "--all")

    assert changed == [people_s(operator.deployment(name)) for name in names]
    assert train["entrypoint"] == operator.deployment(names[0])["entrypoint"]


def test_a_run_whose_worker_is_killed_is_ended_by_itself(operator: Operator) -> None:
    """In the catalog as soon as the API looks, in Prefect once the run shows no sign of life."""
    with prefect_client(operator.prefect_url) as prefect:
        ours = prefect.post("/automations/filter", json={}).raise_for_status().json()
        dead = next(one for one in ours if one["name"] == DEAD_RUNS.name)
        kept = ("name", "description", "enabled", "trigger", "actions")
        sooner = {key: dead[key] for key in kept} | {"trigger": {**dead["trigger"], "within": 40}}
        prefect.put(f"/automations/{dead['id']}", json=sooner).raise_for_status()
        catalog = Catalog(operator.home)
        before = catalog.trainings.get("board").status.version
        operator.prefect("deployment", "run", "train_model/train-model", "-p", 'model_id="board"')

        def begun() -> TrainingRow | None:
            latest = catalog.trainings.get("board")
            return latest if latest.status.version > before and latest.flow_run_id else None

        row = wait_until(begun, 120, "the training")
        operator.kill("worker")

        wait_until(lambda: catalog.trainings.get("board").status.status != "running", 60, "the catalog to say so")

        def state() -> dict[str, Any]:
            found: dict[str, Any] = prefect.get(f"/flow_runs/{row.flow_run_id}").raise_for_status().json()["state"]
            return found

        wait_until(lambda: state()["type"] == "CRASHED", 120, "Prefect to say so")
        assert "no sign of life" in state()["message"]
    assert "the training process ended before it was done; train again" == catalog.trainings.get("board").status.message


def test_a_refresh_whose_worker_is_killed_is_done_again(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that no process has begun for long."""
    operator.start("prefect", "worker", "start", "--pool", "lucid")
    with prefect_client(operator.prefect_url) as prefect:
        deployment = operator.deployment("refresh_recommendations/refresh-recommendations")["id"]

        def create(**more: Any) -> str:
            body = {"parameters": {"model_id": "board"}, "state": {"type": "SCHEDULED"}} | more
            return str(prefect.post(f"/deployments/{deployment}/create_flow_run", json=body).json()["id"])

        def is_now(run_id: str, state: str) -> bool:
            return bool(state == prefect.get(f"/flow_runs/{run_id}").raise_for_status().json()["state_type"])

        run_id = create()
        wait_until(lambda: is_now(run_id, "RUNNING"), 120, "the refresh")
        operator.kill("worker")
        prefect.post(f"/flow_runs/{run_id}/set_state", json={"state": {"type": "CRASHED"}, "force": True})
        unbegun = create(state={"type": "PENDING"})
        monkeypatch.setattr(dead_runs, "_UNBEGUN", timedelta(0))
        dead_runs.repeat(Settings(home=operator.home, prefect_api_url=operator.prefect_url))
        operator.start("prefect", "worker", "start", "--pool", "lucid")

        for one in (run_id, unbegun):
            wait_until(partial(is_now, one, "COMPLETED"), 180, "the second try")


def people_s(deployment: dict[str, Any]) -> dict[str, Any]:
    """What people may change of a deployment."""
    schedules = [(one["id"], one["schedule"], one["active"], one["parameters"]) for one in deployment["schedules"]]
    kept = {name: deployment[name] for name in ("id", "paused", "tags", "description")}
    return {**kept, "limit": deployment["global_concurrency_limit"]["limit"], "schedules": schedules}
