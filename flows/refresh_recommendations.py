"""The flow that precomputes recommendations again, so that new interactions are left out of them."""

from prefect import flow, runtime

from flows import steps
from flows.names import run_name
from lucid.errors import AlreadyTraining, LucidError, ModelNotReady
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.training.run import refreshing


@flow(
    name="refresh_recommendations",
    flow_run_name=lambda: run_name("refresh", runtime.flow_run.parameters.get("model_id") or "all models"),
    log_prints=True,
)
def refresh_recommendations(model_id: str | None = None) -> list[str]:
    """Precompute the recommendations of live versions again, with the interactions that have come in since.

    Vectors stay as they were trained; the result is a version of its own, and the old one answers until it is ready.

    Args:
        model_id: The model to refresh; empty means all.
    """
    settings = load_settings()
    refreshed, failed = [], []
    for name in [model_id] if model_id else Catalog(settings.home).models():
        try:
            refresh(settings, name)
            refreshed.append(name)
        except (AlreadyTraining, ModelNotReady) as reason:
            if model_id:
                raise
            print(f"left out: {reason.message}")
        except LucidError as error:  # the other models are refreshed all the same
            failed.append(f"{name}: {error.message}")
    if failed:
        raise LucidError("; ".join(failed))
    return refreshed


def refresh(settings: Settings, model_id: str) -> None:
    """Make and publish a refreshed version of one model."""
    with refreshing(settings, model_id, steps.progress_artifact(f"refresh {model_id}")) as training:
        steps.link_flow_run(training)
        steps.select_data(training)
        steps.take_over(training)
        recommendations = steps.precompute(training)
        steps.publish(training)
    print(f"{model_id}: version {training.version} refreshes {training.refresh_of}, {recommendations:,} rows")
