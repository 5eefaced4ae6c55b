"""What Prefect shows of a model's work beside states and logs: progress, quality, where to ask, and tags to find it.

Each artifact has one key per model, so the UI keeps a history of it: `progress-…` and `refresh-…`, `report-…` (all that
a training chose, in Markdown), `quality-…` (a table), `chart-…` (a picture) and `api-…` (a link).
"""

import hashlib
import logging
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect import runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectException
from prefect.flows import Flow

from lucid.errors import NothingToRefresh
from lucid.service.prefect_api import OUR_TAG
from lucid.settings import Settings
from lucid.training.markdown import escaped
from lucid.training.quality_chart import quality_chart
from lucid.training.report import TrainingReport, read_report
from lucid.training.report_page import as_markdown
from lucid.training.run import Training, customer_message
from lucid.training.wording import against, against_before, figure
from lucid.typing import INTERACTION, Progress

_log = logging.getLogger(__name__)
_COMPLETED, _FAILED, _CANCELLED = "completed", "failed", "cancelled"
_ENDS = (_COMPLETED, _FAILED, _CANCELLED, "crashed")
"""How the description of a progress that has ended begins; that of a step never does."""


def key(kind: str, model_id: str) -> str:
    """The key of a model's artifact: small letters, digits and dashes, and no other model's.

    An id that holds anything else gets a short digest, so that `a.b`, `a-b` and `A-B` have a history each.
    """
    plain = re.sub("[^a-z0-9]+", "-", model_id.lower())
    digest = f"-{hashlib.sha256(model_id.encode()).hexdigest()[:8]}" if plain != model_id else ""
    return f"{kind}-{plain}{digest}"


@contextmanager
def progress_bar(kind: Literal["progress", "refresh"], model_id: str) -> Iterator[str]:
    """Show a progress bar on the flow run's page while the work goes on, and then how it has ended.

    Gives its id, by which `progress_on` moves it from any process.
    """
    made = create_progress_artifact(progress=0.0, key=key(kind, model_id), description="starting")
    assert isinstance(made, UUID)
    ended = ArtifactUpdate(data=100.0, description=_COMPLETED)
    try:
        yield str(made)
    except NothingToRefresh as error:
        ended = ArtifactUpdate(data=100.0, description=f"{_COMPLETED}: {escaped(error.message)}")
        raise
    except BaseException as error:  # the bar stays where it was
        told = customer_message(error)
        ended = ArtifactUpdate(description=told if told == _CANCELLED else f"{_FAILED}: {escaped(told)}")
        raise
    finally:
        with _only_shown(), get_client(sync_client=True) as client:
            client.update_artifact(made, ended)


def progress_on(progress_id: str) -> Progress:
    """Moves a progress bar."""

    def move(percent: float, doing: str) -> None:
        with _only_shown():
            # Prefect shows descriptions as Markdown, and this one may name types and models of customers.
            update_progress_artifact(UUID(progress_id), progress=round(percent, 1), description=escaped(doing))

    return move


def end_progress(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """When a run has ended that could not say so itself, as its process was killed: say it on its progress bars."""
    del flow
    end_progress_of(flow_run.id, state)


def end_progress_of(flow_run_id: UUID, state: State[Any]) -> None:
    """Say on the progress bars of a run in which state it has ended, where they do not say that yet."""
    with _only_shown(), get_client(sync_client=True) as client:
        of_run = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]), type=ArtifactFilterType(any_=["progress"])
        )
        for found in client.read_artifacts(artifact_filter=of_run):
            if not (found.description or "").startswith(_ENDS):
                said = f"{state.type.value.lower()}: {escaped(state.message or '')}".removesuffix(": ")
                client.update_artifact(found.id, ArtifactUpdate(description=said))


def show_quality(training: Training) -> None:
    """Show what a training has reached: the report, and each pair beside the baselines as a table and as a picture."""
    report = read_report(training.folder)
    title = f"Model {escaped(report.model_id)}, version {report.version}"
    with _only_shown():
        create_markdown_artifact(as_markdown(report), key=key("report", report.model_id), description=title)
        if report.pairs:
            told = f"{title}: the first 10 recommendations, on held-out interactions, with 95% intervals"
            create_table_artifact(quality_table(report), key=key("quality", report.model_id), description=told)
            calibrations = {pair: model.calibration for pair, model in training.made.config.pairs.items()}
            chart = b64encode(quality_chart(report.pairs, calibrations).encode()).decode()
            # The browser of the UI has no API key, and fetches nothing from elsewhere; so the picture is in the link.
            picture = f"data:image/svg+xml;base64,{chart}"
            create_image_artifact(picture, key=key("chart", report.model_id), description=title)


def quality_table(report: TrainingReport) -> list[dict[str, Any]]:
    """A row for each pair that was judged: figures of what answers and of the baselines, and what they rest on.

    Names of customers are escaped, as Prefect shows cells as Markdown.
    """
    rows = []
    for pair in report.pairs:
        ends = {pair.source_type, pair.target_type}
        counts = (
            edge.count
            for edge in report.graph.edges
            if edge.relation.startswith(INTERACTION) and {edge.source_type, edge.target_type} == ends
        )
        rows.append(
            {
                "pair": f"{escaped(pair.source_type)} → {escaped(pair.target_type)}",
                "interactions": sum(counts),
                "test sources": pair.model.sources,
                "NDCG@10": figure(pair, "model"),
                "of popularity": figure(pair, "popularity"),
                "than popularity": against(pair, "popularity"),
                "of item-kNN": figure(pair, "item_knn"),
                "than item-kNN": against(pair, "item_knn"),
                "than before": against_before(pair),
                "Recall@10": figure(pair, "model", "recall@10"),
                "cold NDCG@10": round(pair.cold.ndcg, 4) if pair.cold else "",
                "calibration error": round(pair.calibration_error, 4),
                "answered by": pair.answered_by,
            }
        )
    return rows


def link_api(settings: Settings, model_id: str) -> None:
    """Link the model from a run's page: where the console shows it, and what a program asks for this model."""
    asked = f"{settings.api}/v1/recommender"
    told = (
        "That page of the console shows it to who signs in with a key. For programs, with the header `apikey`:\n\n"
        f"- how far it is: `GET {asked}/status?model_id={model_id}`\n"
        f"- its versions and their reports: `GET {asked}/models/{model_id}`\n"
        f"- what it recommends: `GET {asked}/recommended_items?model_id={model_id}&source_id=…&target_type=…`"
    )
    with _only_shown():
        page = f"{settings.api}/console/models/{model_id}/report"
        create_link_artifact(
            page, f"Model {escaped(model_id)} in the console", key=key("api", model_id), description=told
        )


def tag_run(*tags: str) -> None:
    """Let people find this flow run by tags; those that it has stay."""
    run_id = runtime.flow_run.id
    with _only_shown(), get_client(sync_client=True) as client:
        has = client.read_flow_run(UUID(run_id)).tags
        wanted = dict.fromkeys([*has, OUR_TAG, *tags])
        if len(wanted) > len(has):
            client.update_flow_run(UUID(run_id), tags=[*wanted])


@contextmanager
def _only_shown() -> Iterator[None]:
    """Prefect only shows the work; where it cannot, the work goes on without it."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("Prefect does not show this: %s", error)
