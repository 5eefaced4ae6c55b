"""What operators watch: figures of work and of live versions, and a front door."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lucid.api.metrics import Metrics
from lucid.api.paths import BASE
from lucid.errors import LucidError
from lucid.schema.fields import utc_now
from lucid.store.tables.database import Ended
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, write_checkerboard
from tests.support.service import Api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("work") / "home").running() as api:
        yield api


def figures(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Samples of a figure by the values of their labels, in the order of these names."""
    families = text_string_to_metric_families(text)
    found = (sample for family in families for sample in family.samples if sample.name == name)
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def test_work_is_counted_by_how_it_ended(api: Api, tmp_path: Path) -> None:
    """Whoever does it: files of an import, a training that ends well, one that does not; each once, with its time."""
    before = figures(api.own_client.get("/metrics").text, "lucid_work_seconds_count")
    workspace = Workspace(api.home)
    workspace.import_files(write_checkerboard(tmp_path))
    workspace.train("board")
    with pytest.raises(LucidError):
        workspace.train("board", data_filters=NOTHING_LEFT)

    for _ in range(2):
        text = api.own_client.get("/metrics").text

    assert {} == before
    counts = {("completed", "import"): 2, ("completed", "training"): 1, ("error", "training"): 1}
    assert counts == figures(text, "lucid_work_seconds_count")
    assert figures(text, "lucid_work_seconds_sum")["completed", "training"] > 0
    assert [("board",)] == list(figures(text, "lucid_live_version_age_seconds"))


def test_the_age_of_a_live_version_is_shown_while_there_is_one() -> None:
    """It counts from its publication, and goes with the model."""
    metrics, now = Metrics(), utc_now()
    metrics.work.show_ages({"a": now - timedelta(hours=1), "b": now}, now)
    shown = figures(metrics.text().decode(), "lucid_live_version_age_seconds")
    metrics.work.show_ages({"b": now}, now)

    assert {("a",): 3600, ("b",): 0} == shown
    assert {("b",): 0} == figures(metrics.text().decode(), "lucid_live_version_age_seconds")


def test_what_is_told_twice_is_counted_once() -> None:
    """Looks overlap, as what ended may be written down late; the same version of another model is another training."""
    metrics, now = Metrics(), utc_now()
    ended = [Ended("training", name, "cancelled", now - timedelta(seconds=3), now) for name in ("a 1", "b 1")]
    metrics.work.count(ended)
    metrics.work.count(ended)

    text = metrics.text().decode()
    assert {("cancelled", "training"): 2} == figures(text, "lucid_work_seconds_count")
    assert {("cancelled", "training"): 6} == figures(text, "lucid_work_seconds_sum")


def test_the_bare_address_leads_to_the_pages(api: Api) -> None:
    """Without a key, as the pages themselves."""
    answer = api.own_client.get("/", headers={"apikey": ""})

    assert (307, "/console") == (answer.status_code, answer.headers["location"])


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("GET", "/data_batch?tag=2026", "tags"),
        ("DELETE", "/data_batch?batchid=x", "batch_id"),
        ("GET", "/status?modelid=board", "model_id"),
        ("POST", "/train?modelid=board", ""),
        ("DELETE", "/entities?id=u1&wait_second=1", "wait_seconds"),
        ("GET", "/recommended_items?model_id=board&source_id=u1&targettype=item", "target_type"),
        ("POST", "/models/board/rollback?versoin=1", "version"),
    ],
)
def test_a_parameter_that_no_call_takes_is_not_passed_over(api: Api, method: str, path: str, meant: str) -> None:
    """A misspelt condition would list, or delete, something else; the name that was meant is told."""
    refused = api.own_client.request(method, BASE + path)

    assert 422 == refused.status_code
    assert (f"did you mean '{meant}'?" if meant else "known: none") in refused.json()["detail"]
