"""Experiments: variants of answers for parts of the sources, and what came of them; attribution of a model."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query

from lucid.api.auth import Guarded
from lucid.api.openapi import problems
from lucid.api.services import ServicesDep
from lucid.experiments import lifecycle
from lucid.experiments.attribution import attribution
from lucid.schema.attribution import Attribution, By
from lucid.schema.experiments import Experiment, ExperimentName, ExperimentReport, ExperimentRequest
from lucid.schema.fields import ModelId

router = APIRouter(route_class=Guarded, tags=["experiments"])

Named = Annotated[ExperimentName, Path(description="Name of the experiment.", examples=["deeper"])]
_MOMENT = "ISO 8601; without a zone in UTC."


@router.get("/models/{model_id}/attribution", responses=problems(404))
def show_attribution(
    services: ServicesDep,
    model_id: Annotated[ModelId, Path(description="Name of the model.", examples=["videos"])],
    from_time: Annotated[
        datetime | None, Query(alias="from", description=f"Answers shown from then on; {_MOMENT}")
    ] = None,
    to_time: Annotated[datetime | None, Query(alias="to", description=f"Answers shown before then; {_MOMENT}")] = None,
    by: Annotated[By | None, Query(description="Also by version, pair of types or rank.")] = None,
) -> Attribution:
    """Tell what came of answers that were noted: rows shown, events that named them, rates with intervals."""
    return attribution(services.settings, model_id, from_time, to_time, by)


@router.post("/experiments", status_code=201, responses=problems(404, 409))
def begin_experiment(services: ServicesDep, wanted: ExperimentRequest) -> Experiment:
    """Begin an experiment: questions that name it are answered by the variant of each source.

    Which one that is follows from the experiment's name and the source's id alone. Variants are never changed.
    """
    return lifecycle.begin_experiment(services.settings, wanted)


@router.get("/experiments")
def list_experiments(services: ServicesDep) -> list[Experiment]:
    """List experiments, by name."""
    return lifecycle.list_experiments(services.settings)


@router.get("/experiments/{name}", responses=problems(404))
def show_experiment(services: ServicesDep, name: Named) -> ExperimentReport:
    """Tell what came of an experiment so far. Its intervals hold however often they are looked at."""
    return lifecycle.show_experiment(services.settings, name)


@router.post("/experiments/{name}/stop", responses=problems(404))
def stop_experiment(services: ServicesDep, name: Named) -> ExperimentReport:
    """Stop an experiment: everybody gets the live version, also where questions still name it. Answers what came of it.

    One that was stopped stays as it is.
    """
    return lifecycle.stop_experiment(services.settings, name)


@router.delete("/experiments/{name}", responses=problems(404))
def delete_experiment(services: ServicesDep, name: Named) -> Experiment:
    """Delete an experiment, and answer what it was. Questions that name it are refused from then on."""
    return lifecycle.delete_experiment(services.settings, name)
