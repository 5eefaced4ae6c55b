"""What Prefect shows of a model's work: how it has ended, how good the model is, where to ask, and by which tags."""

import base64
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import httpx
import pytest
from prefect import flow, runtime
from prefect.artifacts import create_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.states import Cancelled, Crashed, Failed

from lucid.errors import LucidError
from lucid.flows import artifacts
from lucid.flows.artifacts import end_progress, key, progress_bar, progress_on, quality_table
from lucid.flows.import_data import import_data
from lucid.flows.refresh_recommendations import refresh_recommendations
from lucid.flows.sentences import Cancelled as CancelledByPerson
from lucid.flows.train_model import train_model
from lucid.schema.filters import DataFilters
from lucid.settings import Settings
from lucid.training.report import read_report
from lucid.typing import INTERACTION
from lucid.versions.lifecycle import ModelVersions
from lucid.workspace import Workspace
from tests.support.checkerboard import NOTHING_LEFT, train_checkerboard, write_checkerboard


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `board`, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    return train_checkerboard(Workspace(folder / "home"), folder).settings.home


@pytest.fixture
def home(trained: Path, settings: Settings) -> Path:
    shutil.copytree(trained, settings.home)
    return settings.home


def of_run(run_id: UUID) -> dict[str, Artifact]:
    """What a flow run left on its page, by key."""
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        return {str(one.key): one for one in client.read_artifacts(artifact_filter=wanted)}


def left(state: State[Any]) -> dict[str, Artifact]:
    run_id = state.state_details.flow_run_id
    assert run_id
    return of_run(run_id)


def tags(state: State[Any]) -> set[str]:
    run_id = state.state_details.flow_run_id
    assert run_id
    with get_client(sync_client=True) as client:
        return {*client.read_flow_run(run_id).tags}


def test_models_share_no_history() -> None:
    """Ids that differ in case or punctuation only have keys of their own, which Prefect takes."""
    ids = ["a.b", "a-b", "A-B", "a:b", "a_b", "a--b", "refresh-a", "a", "A", ".", "-", "z" * 128, "Z" * 128]

    keys = {key(kind, model_id) for kind in ("progress", "refresh", "report") for model_id in ids}

    assert 3 * len(ids) == len(keys)
    assert all(set(one) <= {*"abcdefghijklmnopqrstuvwxyz0123456789-"} for one in keys)
    assert "report-a-b" == key("report", "a-b")


def test_a_training_shows_its_end_its_quality_and_where_to_ask(home: Path, settings: Settings) -> None:
    """The table and the picture hold the report's figures; the progress is done; people find the run by its tags."""
    state = train_model("board", return_state=True)

    found = left(state)
    assert {"progress-board", "report-board", "quality-board", "chart-board", "api-board"} == {*found}
    assert (100, "completed") == (float(found["progress-board"].data), found["progress-board"].description)  # type: ignore[arg-type]
    report = read_report(ModelVersions(home, "board").live().folder)
    rows = json.loads(str(found["quality-board"].data))
    assert json.loads(json.dumps(quality_table(report))) == rows
    assert f"{report.pairs[0].model.ndcg:.3f}" in picture(found["chart-board"])
    assert f"({settings.api}/console/models/board/report)" in str(found["api-board"].data)
    assert f"{settings.api}/v1/recommender/status?model_id=board" in str(found["api-board"].description)
    assert {"lucid", "model:board"} <= tags(state)


def picture(chart: Artifact) -> list[str]:
    """The texts of an image artifact, which holds it all itself."""
    begin, _, encoded = str(chart.data).partition(",")
    assert "data:image/svg+xml;base64" == begin
    svg = ElementTree.fromstring(base64.b64decode(encoded))
    return [element.text or "" for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_a_row_counts_what_the_figures_rest_on(home: Path) -> None:
    """Interactions in either direction, and test sources; a name that is Markdown is shown and does nothing."""
    report = read_report(ModelVersions(home, "board").live().folder)
    strange = "[x](http://a.example)"
    pair = replace(report.pairs[0], source_type=strange)
    edges = [replace(edge, source_type=strange) for edge in report.graph.edges if edge.relation.startswith(INTERACTION)]

    (row,) = quality_table(replace(report, pairs=[pair], graph=replace(report.graph, edges=edges)))

    assert sum(edge.count for edge in edges) == row["interactions"] > 0
    assert pair.model.sources == row["test sources"]
    assert "](" not in row["pair"]
    assert "http:" not in row["pair"]


def test_a_training_that_fails_says_so_on_its_progress(home: Path) -> None:
    """With the reason, and as far as it had come."""
    state = train_model("board", data_filters=DataFilters.model_validate(NOTHING_LEFT), return_state=True)

    progress = left(state)["progress-board"]
    assert str(progress.description).startswith("failed: no interactions are left")
    assert float(progress.data) < 100  # type: ignore[arg-type]


def test_a_refresh_has_a_progress_of_its_own(home: Path) -> None:
    """The history of trainings is not mixed with that of refreshes; the run is found by its model."""
    state = refresh_recommendations(return_state=True)

    progress = left(state)["refresh-board"]
    assert (100, "completed") == (float(progress.data), progress.description)  # type: ignore[arg-type]
    assert {"lucid", "model:board"} <= tags(state)


def test_a_refresh_that_finds_nothing_says_so(home: Path) -> None:
    """It has ended well."""
    workspace = Workspace(home)
    workspace.delete_batches([batch.batch_id for batch in workspace.batches()])

    progress = left(refresh_recommendations(return_state=True))["refresh-board"]

    assert str(progress.description).startswith("completed: nothing to refresh")


def test_an_import_is_found_by_its_batches(tmp_path: Path) -> None:
    """Also one that was started in Prefect."""
    files = [str(file) for file in write_checkerboard(tmp_path)]

    state = import_data(files, return_state=True)

    assert {"lucid", *(f"batch:{batch['batch_id']}" for batch in state.result())} <= tags(state)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CancelledByPerson(15), "cancelled"),
        (LucidError("a_b is full"), "failed: a\\_b is full"),
        (ZeroDivisionError("division"), "failed: the training failed unexpectedly \\(ZeroDivisionError\\)"),
    ],
)
def test_a_progress_ends_as_its_work_does(error: BaseException, said: str) -> None:
    """It stays where it was, and says why."""

    @flow
    def working() -> UUID:
        with suppress(type(error)), progress_bar("progress", "m") as progress_id:
            progress_on(progress_id)(40.0, "fitting")
            raise error
        return UUID(runtime.flow_run.id)

    progress = of_run(working())["progress-m"]

    assert 40 == float(progress.data)  # type: ignore[arg-type]
    assert str(progress.description).startswith(said)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Crashed(message="its process ended (-9)"), "crashed: its process ended \\(\\-9\\)"),
        (Cancelled(), "cancelled"),
        (Failed(message="no_data"), "failed: no\\_data"),
    ],
)
def test_a_run_that_was_killed_leaves_no_progress_under_way(state: State[None], said: str) -> None:
    """What the process could not say any more is said for it; a bar that had ended stays as it was."""

    @flow
    def killed() -> UUID:
        with progress_bar("refresh", "done"):
            pass
        create_progress_artifact(40.0, key="progress-m", description="fitting")
        return UUID(runtime.flow_run.id)

    run_id = killed()
    with get_client(sync_client=True) as client:
        end_progress(killed, client.read_flow_run(run_id), state)

    found = of_run(run_id)
    assert (40, said) == (float(found["progress-m"].data), found["progress-m"].description)  # type: ignore[arg-type]
    assert (100, "completed") == (float(found["refresh-done"].data), found["refresh-done"].description)  # type: ignore[arg-type]


def test_every_flow_with_a_progress_ends_it_for_a_killed_run() -> None:
    """However a run ends whose process does not."""
    for one in (train_model, refresh_recommendations):
        for hooks in (one.on_failure_hooks, one.on_crashed_hooks, one.on_cancellation_hooks):
            assert end_progress in hooks, one.name


def test_work_goes_on_where_prefect_shows_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After hours of training, an artifact that is refused is a warning."""

    def refused(*_arguments: object, **_named: object) -> None:
        raise httpx.ConnectError("Prefect is away")

    for name in (
        "create_markdown_artifact",
        "create_table_artifact",
        "create_link_artifact",
        "update_progress_artifact",
    ):
        monkeypatch.setattr(artifacts, name, refused)

    state = train_model("board", return_state=True)

    assert state.is_completed()
    assert {"progress-board"} == {*left(state)}
