"""Settings that a restart forgets: with `lucid up` itself, what an operator changed in Prefect is there again."""

from pathlib import Path
from typing import Any

from tests.support.service import Service

NAMES = (
    "import_data/import-data",
    "train_model/train-model",
    "refresh_recommendations/refresh-recommendations",
    "erase_entity/erase-entity",
)
IMPORT, TRAIN, REFRESH, ERASE = NAMES
MONDAYS = {"cron": "30 5 * * 1", "timezone": "Europe/Berlin"}


def deployments(service: Service) -> dict[str, dict[str, Any]]:
    """What people may change, of each deployment."""
    with service.prefect_client() as client:
        found = {name: client.get(f"/deployments/name/{name}").raise_for_status().json() for name in NAMES}
    for one in found.values():
        for schedule in one["schedules"]:
            schedule.pop("updated")
    limits = {name: one["global_concurrency_limit"] for name, one in found.items()}
    return {
        name: {"limit": limits[name]["limit"], **{key: one[key] for key in ("id", "paused", "tags", "schedules")}}
        for name, one in found.items()
    }


def ask(service: Service, method: str, path: str, body: Any = None) -> None:
    with service.prefect_client() as client:
        client.request(method, f"/deployments/{path}", json=body).raise_for_status()


def test_what_an_operator_changed_is_there_after_a_restart(service: Service) -> None:
    """The refresh moved, a deployment paused, models trained again by themselves, fewer trainings at once."""
    fresh = deployments(service)
    ids = {name: fresh[name]["id"] for name in NAMES}
    (nightly,) = fresh[REFRESH]["schedules"]
    assert ("0 3 * * *", "UTC") == (nightly["schedule"]["cron"], nightly["schedule"]["timezone"])
    assert [[], [], []] == [fresh[name]["schedules"] for name in (IMPORT, TRAIN, ERASE)]
    of_each = [
        {"schedule": MONDAYS, "parameters": {"model_id": model_id, "data_tags": ["2026"]}} for model_id in ("a", "b")
    ]
    ask(service, "PATCH", f"{ids[REFRESH]}/schedules/{nightly['id']}", {"schedule": MONDAYS})
    ask(service, "POST", f"{ids[TRAIN]}/schedules", of_each)
    ask(service, "PATCH", ids[TRAIN], {"concurrency_limit": 1, "tags": ["lucid", "ours"]})
    ask(service, "POST", f"{ids[IMPORT]}/pause_deployment")
    changed = deployments(service)

    service.stop()
    service.environment["LUCID_REFRESH_TIME"] = "04:00"  # what people changed does not follow it
    service.start()

    assert changed == deployments(service)

    ask(service, "PATCH", f"{ids[REFRESH]}/schedules/{nightly['id']}", {"active": False})
    ask(service, "DELETE", f"{ids[TRAIN]}/schedules/{changed[TRAIN]['schedules'][0]['id']}")
    ask(service, "POST", f"{ids[IMPORT]}/resume_deployment")
    changed = deployments(service)
    service.stop()
    service.start()

    assert changed == deployments(service)


def test_a_fresh_home_has_the_refresh_at_the_time_of_its_settings(tmp_path: Path, prefect_database: Path) -> None:
    """In its time zone, which the schedule keeps."""
    service = Service(tmp_path / "home", prefect_database)
    service.environment |= {"LUCID_REFRESH_TIME": "22:15", "LUCID_REFRESH_TIMEZONE": "Europe/Berlin"}
    try:
        service.start()
        (daily,) = deployments(service)[REFRESH]["schedules"]
    finally:
        service.stop()

    assert ("15 22 * * *", "Europe/Berlin", True) == (
        daily["schedule"]["cron"],
        daily["schedule"]["timezone"],
        daily["active"],
    )
