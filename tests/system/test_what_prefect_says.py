"""What Prefect says of a run, and Lucid of what was done to it there: a cancelled training is cancelled."""

from typing import Any

import httpx
import pytest

from lucid.demo.catalogue import generate
from tests.support.service import Service, flow_run_of, wait_for_training, wait_until


@pytest.fixture(scope="module")
def uploaded(client: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Data on which a training takes a while."""
    catalogue = generate(tmp_path_factory.mktemp("catalogue"))
    files = [("files", (file.name, file.read_bytes())) for file in (catalogue.entities, catalogue.interactions)]
    client.post("/data_batch", files=files, data={"wait_seconds": "120"}).raise_for_status()


def cancel(service: Service, flow_run_id: str) -> None:
    """Press the button of the Prefect UI."""
    with service.prefect_client() as prefect:
        body = {"state": {"type": "CANCELLING"}}
        prefect.post(f"/flow_runs/{flow_run_id}/set_state", json=body).raise_for_status()


def flow_run(service: Service, flow_run_id: str) -> dict[str, Any]:
    with service.prefect_client() as prefect:
        found: dict[str, Any] = prefect.get(f"/flow_runs/{flow_run_id}").raise_for_status().json()
        return found


def train(client: httpx.Client, model_id: str) -> str:
    """Start a training; returns the id of its flow run."""
    client.post("/train", json={"model_id": model_id}).raise_for_status()
    return flow_run_of(client, model_id)


def is_fitting(client: httpx.Client, model_id: str) -> bool:
    status = client.get("/status", params={"model_id": model_id})
    return status.is_success and status.json()["stage"] in ("build", "fit")


def test_a_training_that_is_cancelled_in_prefect_says_so(
    service: Service, client: httpx.Client, uploaded: None
) -> None:
    """Whoever started it; one that waits for its turn has no run there yet, and is cancelled by the API at once."""
    runs = {model_id: train(client, model_id) for model_id in ("a", "b")}
    wait_until(lambda: all(is_fitting(client, model_id) for model_id in runs), 120, "the trainings")
    client.post("/train", json={"model_id": "waiting"}).raise_for_status()
    client.post("/models/waiting/cancel", params={"wait_seconds": 0}).raise_for_status()

    for run_id in reversed(runs.values()):
        cancel(service, run_id)

    ended = [wait_for_training(client, model_id) for model_id in (*runs, "waiting")]
    assert [("error", "cancelled")] * 3 == [(status["status"], status["message"]) for status in ended]
    for run_id in runs.values():
        wait_until(lambda run_id=run_id: flow_run(service, run_id)["state_type"] == "CANCELLED", 60, "its state")  # type: ignore[misc]


def test_a_training_that_prefect_started_and_cancelled_says_so(
    service: Service, client: httpx.Client, uploaded: None
) -> None:
    """As the buttons of the Prefect UI do both."""
    deployment = "/deployments/name/train_model/train-model"
    with service.prefect_client() as prefect:
        deployment_id = prefect.get(deployment).json()["id"]
        body = {"parameters": {"model_id": "by-hand"}, "state": {"type": "SCHEDULED"}}
        run_id = (
            prefect.post(f"/deployments/{deployment_id}/create_flow_run", json=body).raise_for_status().json()["id"]
        )
    wait_until(lambda: is_fitting(client, "by-hand"), 120, "the training")

    cancel(service, run_id)

    status = wait_for_training(client, "by-hand")
    assert ("error", "cancelled") == (status["status"], status["message"])


def test_prefect_refuses_what_the_form_does_not_allow(service: Service) -> None:
    """Before a run is made, with the reason."""
    with service.prefect_client() as prefect:
        deployment_id = prefect.get("/deployments/name/train_model/train-model").json()["id"]
        refused = [
            prefect.post(f"/deployments/{deployment_id}/create_flow_run", json={"parameters": parameters})
            for parameters in ({"maximum_interaction_age_days": 0}, {"model_id": "a b"}, {"callback_url": "ftp://x"})
        ]

    assert [409] * 3 == [answer.status_code for answer in refused]
    assert "maximum_interaction_age_days" in refused[0].text


def test_a_mistake_leaves_no_traceback_in_prefect_s_log(service: Service) -> None:
    """One sentence is the state of the run, and its page tells no more than that."""
    with service.prefect_client() as prefect:
        deployment_id = prefect.get("/deployments/name/import_data/import-data").json()["id"]
        body = {"parameters": {"files": ["/nowhere/none.csv"]}, "state": {"type": "SCHEDULED"}}
        run_id = (
            prefect.post(f"/deployments/{deployment_id}/create_flow_run", json=body).raise_for_status().json()["id"]
        )
    wait_until(lambda: flow_run(service, run_id)["state_type"] == "FAILED", 60, "the run")

    message = flow_run(service, run_id)["state"]["message"]
    logs = service.prefect("/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}})

    assert message.startswith("/nowhere/none.csv: ")
    assert [] == [line["message"] for line in logs if "Traceback" in line["message"]]
    assert "Traceback" not in (service.home / "logs" / "flows.log").read_text()
