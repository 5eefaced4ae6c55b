"""The contract call by call, over HTTP and by the Python client, which does what the workspace does.

What other files of tests ask of the running service is not repeated here.
"""

import csv
import gzip
import inspect
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from lucid import Client, Workspace
from lucid.demo.receiver import Receiver
from lucid.errors import (
    AlreadyTraining,
    InvalidRequest,
    LucidError,
    TrainingFailed,
    Unauthorized,
    Unavailable,
    UnknownBatch,
    UnknownModel,
    UnknownSource,
    UnknownType,
    UnknownVersion,
    UnusableFile,
)
from lucid.verify import verify
from tests.support.checkerboard import NOTHING_LEFT, write_checkerboard
from tests.support.service import SECRET, Service, flow_run_of, free_port, wait_for_training

Scenario = dict[str, Any]


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with service.client(service.first_key()) as http:
        yield http


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{service.api_port}/", apikey=service.first_key()) as client:
        yield client


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The checkerboard with two rows that cannot be used, an entity called NA and one whose name asks for quotes."""
    folder = tmp_path_factory.mktemp("files")
    entities, interactions = write_checkerboard(folder)
    more = 'NA,user,"=cmd ""x"",\n2",,\n,user,,,\ni99,item,,nonsense,\n'
    entities.write_text(entities.read_text() + more)
    interactions.write_text(interactions.read_text() + "likes,NA,i00,,\nlikes,NA,i02,,\n")
    return [entities, interactions]


@pytest.fixture(scope="module")
def by_workspace(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Scenario:
    return play(Workspace(tmp_path_factory.mktemp("workspace") / "home"), files)


@pytest.fixture(scope="module")
def by_client(client: Client, files: list[Path]) -> Scenario:
    return play(client, files)


def play(lucid: Workspace | Client, files: list[Path]) -> Scenario:
    """One after the other what a customer does, and what came of it."""
    steps: list[tuple[float, str]] = []

    def watch(percent: float, doing: str) -> None:
        steps.append((percent, doing))

    imported = lucid.import_files(files, ["board"], progress=watch)
    ids = [batch.batch_id for batch in imported]
    changed = lucid.update_batches(ids[1:], new_tags=["board", "changed"])
    trained = [lucid.train("board", data_tags="board", progress=watch) for _ in range(2)]
    return {
        "imported": [told(batch) for batch in imported],
        "changed": [told(batch) for batch in changed],
        "found": [told(batch) for batch in lucid.batches(tags=["board", "changed"])],
        "none": lucid.batches([]),
        "rejected": [row for block in lucid.rejected_rows(ids[0]) for row in block],
        "trained": [(status.status, status.version, status.progress, status.message) for status in trained],
        "batches of the training": trained[1].data_batch_ids == ids,
        "watched": steps[-1][0] > 0 and all(0 <= percent <= 100 and doing for percent, doing in steps),
        "rolled back": versions(lucid.roll_back("board")),
        "named": versions(lucid.roll_back("board", 2)),
        "listed": [versions(model) for model in lucid.models() if model.model_id == "board"],
        "reports": [one.report["version"] for one in lucid.model("board").versions if one.report],
        "report": lucid.report("board")["pairs"],
        "reports of versions": [lucid.report("board", number)["version"] for number in (1, 2)],
        "held out": held_out(lucid, files[0].parent / "held_out.gz"),
    }


def held_out(lucid: Workspace | Client, target: Path) -> tuple[str, int, list[str]]:
    """The export, and what is found when it is verified."""
    lucid.held_out("board", target, 1)
    return gzip.decompress(target.read_bytes()).decode(), *verify(target)


def told(batch: Any) -> dict[str, Any]:
    """A batch without what is made up for it."""
    told: dict[str, Any] = batch.model_dump(exclude={"batch_id", "timestamp"})
    return told


def versions(model: Any) -> tuple[str, list[tuple[int, bool]]]:
    return model.model_id, [(version.version, version.live) for version in model.versions]


def test_the_client_does_what_the_workspace_does(by_workspace: Scenario, by_client: Scenario) -> None:
    """The same scenario with and without a server: the same batches, versions and reports."""
    assert by_workspace == by_client
    assert [("error" if row.value is None else row.value) for row in by_client["rejected"]] == ["error", "nonsense"]


@pytest.mark.parametrize(
    "asked",
    [
        {"source_type": "user", "target_type": "item"},
        {"source_type": ["user", "colour"], "target_type": ["item", "user"], "max_recommendations": 7},
        {"source_id": "NA", "target_type": "item", "threshold": 20},
        {"source_id": ["u01", "nobody", "NA", "u00"], "target_type": "item", "exclude_interacted": False},
        {"source_id": "i00", "target_type": "user", "version": 1},
        {"source_type": "item", "target_type": "user", "threshold": 100},
    ],
    ids=str,
)
def test_both_recommend_the_same(
    asked: dict[str, Any], by_workspace: Scenario, by_client: Scenario, client: Client, service: Service
) -> None:
    """Row for row, with the same digits, order, names and unknown ids."""
    expected = Workspace(service.home).recommend("board", **asked)
    found = client.recommend("board", **asked)

    assert_frame_equal(expected, found, check_dtype=not expected.empty)
    assert expected.attrs == found.attrs


def mistakes(lucid: Workspace | Client, bad_file: Path) -> dict[type[LucidError], Callable[[], object]]:
    return {
        UnknownModel: lambda: lucid.status("nobody"),
        UnknownBatch: lambda: lucid.delete_batches(["none"]),
        UnknownSource: lambda: lucid.recommend("board", source_id="nobody", target_type="item"),
        UnknownType: lambda: lucid.recommend("board", source_type="user", target_type="book"),
        UnknownVersion: lambda: lucid.roll_back("board", 77),
        InvalidRequest: lambda: lucid.import_files(bad_file.with_name("no.csv")),
        UnusableFile: lambda: lucid.import_files(bad_file),
        TrainingFailed: lambda: lucid.train("nothing", data_filters=NOTHING_LEFT),
    }


def test_both_raise_the_same_errors(
    by_workspace: Scenario, by_client: Scenario, client: Client, service: Service, tmp_path: Path
) -> None:
    """The same type, code and message, whether a problem crossed HTTP or not; nothing of a bad file stays."""
    bad = tmp_path / "bad.csv"
    bad.write_text("id,type\n1,2\n")
    before = client.batches()

    here, there = mistakes(Workspace(service.home), bad), mistakes(client, bad)

    for kind, mistake in here.items():
        with pytest.raises(kind) as expected:
            mistake()
        with pytest.raises(kind) as found:
            there[kind]()
        assert str(expected.value) == str(found.value)
        assert expected.value.code == found.value.code or kind is TrainingFailed
    assert before == client.batches()


def test_both_have_the_same_verbs() -> None:
    """Every public method of the workspace is one of the client, with the same parameters and defaults.

    But for `answer`, of which one gives rows and one bytes, and for what is about the files of a home.
    """
    about_files = {"check", "disk", "maintain", "back_up", "restore"}
    verbs = {name for name in vars(Workspace) if not name.startswith("_")} - {"answer"} - about_files

    assert verbs <= set(vars(Client))
    for verb in sorted(verbs):
        here, there = (inspect.signature(getattr(kind, verb)).parameters for kind in (Workspace, Client))
        assert list(here) == list(there), verb
        assert [one.default for one in here.values()] == [one.default for one in there.values()], verb


def test_a_client_needs_its_key_and_its_service(
    service: Service, by_client: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key and an address where nothing listens are errors that say so."""
    monkeypatch.setattr("lucid.client.AWAY_SECONDS", 0)
    with Client(f"http://127.0.0.1:{service.api_port}", apikey="wrong") as stranger, pytest.raises(Unauthorized):
        stranger.models()
    with (
        Client(f"http://127.0.0.1:{free_port()}", apikey="x") as lost,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        lost.models()


@pytest.mark.parametrize("prefix", ["/v1/recommender", "/recommender"])
@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        ("GET", "/data_batch", {200}),
        ("POST", "/data_batch", {422}),
        ("PATCH", "/data_batch", {422}),
        ("DELETE", "/data_batch", {422}),
        ("GET", "/data_batch/none/errors", {404}),
        ("GET", "/status?model_id=board", {200}),
        ("GET", "/recommended_items?model_id=board&source_id=u01&target_type=item", {200}),
        ("POST", "/recommended_items", {422}),
        ("GET", "/models", {200}),
        ("GET", "/models/board", {200}),
        ("DELETE", "/models/none", {404}),
        ("POST", "/models/board/rollback?version=99", {404}),
        ("POST", "/models/none/cancel", {404}),
        ("DELETE", "/entities", {422}),
    ],
)
def test_every_call_has_its_aliases(
    http: httpx.Client, by_client: Scenario, prefix: str, end: str, method: str, path: str, statuses: set[int]
) -> None:
    """With /v1 and without, with a slash at the end and without: the same call."""
    bare, _, query = path.partition("?")
    url = http.base_url.copy_with(raw_path=f"{prefix}{bare}{end}{'?' if query else ''}{query}".encode())

    assert http.request(method, url).status_code in statuses


def test_lists_are_repeated_or_separated_by_commas(http: httpx.Client, by_client: Scenario) -> None:
    """In queries both forms mean the same, and in bodies a single text is a list of one."""
    ids = [batch["batch_id"] for batch in http.get("/data_batch").json()]
    batches = [http.get("/data_batch", params={"batch_id": form}).json() for form in (ids, ",".join(ids))]
    assert batches[0] == batches[1] == http.get("/data_batch").json()

    asked: dict[str, Any] = {"model_id": "board", "max_recommendations": 2}
    rows = [
        http.get("/recommended_items", params={**asked, "source_id": ids, "target_type": kinds}).json()
        for ids, kinds in ((["u01", "u02"], ["item", "colour"]), ("u01,u02", "item,colour"))
    ]
    body = {**asked, "source_id": ["u01", "u02"], "target_type": ["item", "colour"]}
    assert rows[0] == rows[1] == http.post("/recommended_items", json=body).json()
    one = {**asked, "target_type": "item"}
    assert (
        http.post("/recommended_items", json={**one, "source_id": ["u01"]}).json()
        == http.post("/recommended_items", json={**one, "source_id": "u01"}).json()
        == http.post("/recommended_items", json={**one, "entity_id": "u01"}).json()
        == http.get("/recommended_items", params={**one, "entity_id": "u01"}).json()
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"source_id": "u01", "target_type": "item"},
        {"source_id": ["NA", "u02"], "target_type": ["item", "colour"]},
        {"source_type": "user", "target_type": "item", "max_recommendations": 3},
        {"source_type": ["user", "item"], "target_type": "user", "threshold": 10.5},
        {"source_id": "u03", "target_type": "item", "exclude_interacted": False, "version": 1},
        {"source_id": "u03", "target_type": "item", "threshold": 100},
    ],
    ids=str,
)
def test_csv_and_json_get_and_post_agree(http: httpx.Client, by_client: Scenario, asked: dict[str, Any]) -> None:
    """Row for row, in every form of the question."""
    wanted = {"model_id": "board", **asked}
    as_json = http.post("/recommended_items", json=wanted)
    as_csv = http.post("/recommended_items", json={**wanted, "output_format": "csv"})

    assert ("application/json", "text/csv; charset=utf-8") == tuple(
        answer.headers["content-type"] for answer in (as_json, as_csv)
    )
    rows = as_json.json()["recommendations"]
    assert [{name: str(value) for name, value in row.items()} for row in rows] == list(
        csv.DictReader(io.StringIO(as_csv.text, newline=""))
    )
    assert as_json.text == http.get("/recommended_items", params=wanted).text
    assert as_csv.text == http.get("/recommended_items", params={**wanted, "output_format": "csv"}).text


def test_an_answer_is_what_was_asked_for(http: httpx.Client, by_client: Scenario) -> None:
    """Grouped by source, ranks from 1, scores falling from at most 100 to the threshold, and N for each source."""
    wanted = {"model_id": "board", "source_type": "user", "target_type": "item", "max_recommendations": 4}
    answer = http.post("/recommended_items", json={**wanted, "threshold": 5}).json()

    table = pd.DataFrame(answer["recommendations"])
    assert ("board", 2, []) == tuple(answer[name] for name in ("model_id", "version", "unknown_source_ids"))
    assert ["source_id", "target_id", "score", "rank", "probability", "target_type", "name", "served_by"] == list(table)
    assert table["score"].between(5, 100).all()
    assert (table.groupby("source_id", sort=False).cumcount() + 1 == table["rank"]).all()
    assert (table.groupby("source_id")["score"].diff().dropna() <= 0).all()
    assert table["source_id"].nunique() == (table["source_id"] != table["source_id"].shift()).sum()
    full = http.post("/recommended_items", json=wanted).json()["recommendations"]
    assert {4} == set(pd.DataFrame(full).groupby("source_id").size())


def test_unknown_parameters_are_refused_in_every_form(http: httpx.Client, by_client: Scenario) -> None:
    """A misspelt parameter is named instead of ignored."""
    wanted: dict[str, Any] = {"model_id": "board", "source_id": "u01", "target_type": "item", "max_recommendation": 5}

    for refused in (http.get("/recommended_items", params=wanted), http.post("/recommended_items", json=wanted)):
        assert 422 == refused.status_code
        assert ["max_recommendation"] == [field["field"] for field in refused.json()["errors"]]


def test_a_model_without_a_finished_version_says_how_far_it_is(http: httpx.Client, by_client: Scenario) -> None:
    """409 with the status of its training; another training of it is refused meanwhile, and so is its deletion."""
    http.post("/train", json={"model_id": "young", "data_tags": "board"}).raise_for_status()

    early = http.get("/recommended_items", params={"model_id": "young", "source_id": "u01", "target_type": "item"})

    assert (409, "model_not_ready") == (early.status_code, early.json()["code"])
    assert ("young", "running") == (early.json()["training"]["model_id"], early.json()["training"]["status"])
    assert "already_training" == http.delete("/models/young").json()["code"]
    with pytest.raises(AlreadyTraining):
        raise_for(http.post("/train", json={"model_id": "young"}))
    assert "completed" == wait_for_training(http, "young")["status"]
    assert [1] == [version["version"] for version in http.delete("/models/young").json()["versions"]]
    assert 404 == http.get("/status", params={"model_id": "young"}).status_code


def raise_for(response: httpx.Response) -> None:
    """Raise what a problem means."""
    from lucid.errors import error_of

    raise error_of(response.json()["code"], response.json()["detail"])


def test_a_training_without_a_body_uses_everything(http: httpx.Client, by_client: Scenario) -> None:
    """The name is made up, and all batches that are not archived take part."""
    started = http.post("/train")

    assert 202 == started.status_code, started.text
    status = wait_for_training(http, started.json()["model_id"])
    everything = [batch["batch_id"] for batch in http.get("/data_batch").json() if not batch["archived"]]
    assert ("completed", everything) == (status["status"], status["data_batch_ids"])
    http.delete(f"/models/{status['model_id']}").raise_for_status()


def test_a_cancelled_training_ends_everywhere(
    http: httpx.Client, client: Client, service: Service, by_client: Scenario
) -> None:
    """Its flow run is cancelled in Prefect, status and callback say so, and the model answers as before."""
    with Receiver(SECRET).running() as receiver:
        started = http.post("/train", json={"model_id": "board", "callback_url": receiver.url}).json()
        run_id = flow_run_of(http, "board")

        status = client.cancel("board")

        assert ("error", "cancelled", started["version"]) == (status.status, status.message, status.version)
        event = receiver.events.get(timeout=30)
    assert ("training.error", "cancelled") == (event["event"], event["message"])
    (run,) = service.prefect("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
    assert run["state"]["type"] in ("CANCELLING", "CANCELLED")
    assert (409, "not_training") == (
        (late := http.post("/models/board/cancel")).status_code,
        late.json()["code"],
    )
    assert 2 == client.model("board").live_version


def test_erasing_by_the_client_counts_what_went(client: Client, by_client: Scenario) -> None:
    """An id with commas and spaces goes as it is; erased again, it counts zero."""
    counts = client.erase(["u29", "nobody, really"])

    assert (1, 9, 1) == (counts.entities, counts.interactions, counts.vectors)
    assert {0} == set(client.erase("u29").model_dump().values())
    assert [] == [row for row in client.models() if row.model_id == "nobody"]
