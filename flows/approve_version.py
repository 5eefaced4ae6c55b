"""The flow that waits in Prefect's UI for somebody to decide of a version that the gate has held back."""

from typing import Literal, cast

from prefect import flow, runtime
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.states import Completed
from pydantic import Field, ValidationError

from lucid import approvals
from lucid.flows.logs import say_steps
from lucid.flows.names import run_name
from lucid.flows.sentences import in_a_sentence
from lucid.schema.fields import ModelId
from lucid.settings import load_settings


class Decision(RunInput):
    """What whoever resumes the run is asked."""

    decision: Literal["promote", "reject"] = Field(
        description="promote: the version answers from now on; reject: it does not, and the live one answers on."
    )
    reason: str = Field("", max_length=500, description="For whoever looks at a rejected version later.")


@flow(
    name="approve_version",
    flow_run_name=lambda: run_name(
        f"approve version {runtime.flow_run.parameters['version']} of", runtime.flow_run.parameters["model_id"]
    ),
    log_prints=True,
    on_running=[say_steps],
)
@in_a_sentence
def approve_version(model_id: ModelId, version: int) -> str:
    """Wait, suspended, for a person who promotes or rejects a version, and do that.

    Press Resume on the page of the run. Meanwhile it has neither a process nor a place of its deployment; where the
    version is decided elsewhere, the service ends it.

    Args:
        model_id: The model that the version belongs to.
        version: The version that is held.
    """
    settings = load_settings()
    if not (reason := approvals.why_held(settings, model_id, version)):
        return cast(str, Completed(message=approvals.ALREADY_DECIDED))  # Prefect takes a state for a result
    print(f"version {version} is held: {reason}")
    asked = _ask(approvals.question(model_id, version, reason))
    said = approvals.decide(settings, model_id, version, asked.decision, asked.reason)
    return cast(str, Completed(message=said, data=said))


def _ask(question: str) -> Decision:
    """Suspend the run until somebody decides; one that was set going again without a decision asks once more."""
    while True:
        try:
            return suspend_flow_run(wait_for_input=Decision.with_initial_data(description=question), timeout=None)
        except ValidationError:  # what it was resumed with is empty; each time has a key of its own
            print("nobody has decided yet")
