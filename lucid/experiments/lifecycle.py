"""Experiments as their owner begins, looks at, stops and deletes them."""

from lucid.experiments.report import report_of
from lucid.models import find_model
from lucid.placements.files import Placements
from lucid.schema.experiments import Experiment, ExperimentReport, ExperimentRequest
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.versions.experiments import Experiments
from lucid.versions.lifecycle import ModelVersions


def begin_experiment(settings: Settings, wanted: ExperimentRequest) -> Experiment:
    """Begin an experiment; its variants are never changed, as that would give sources another one.

    Versions that it names are kept as long as it runs. Raises UnknownModel, ModelNotReady, UnknownVersion,
    UnknownPlacement, InvalidRequest for what names no placement, ExperimentExists.
    """
    find_model(settings, wanted.model_id)
    for variant in wanted.variants:
        if variant.version is not None:
            ModelVersions(settings.home, wanted.model_id).named(variant.version)
        if variant.placement is not None:
            Placements(settings.home).find(variant.placement)
    experiment = Experiment(**wanted.model_dump(), started=utc_now())
    Experiments(settings.home).add(experiment)
    return experiment


def list_experiments(settings: Settings) -> list[Experiment]:
    """All experiments, by name."""
    return Experiments(settings.home).all()


def show_experiment(settings: Settings, name: str) -> ExperimentReport:
    """An experiment and what came of it so far; raises UnknownExperiment."""
    return report_of(settings, Experiments(settings.home).get(name))


def stop_experiment(settings: Settings, name: str) -> ExperimentReport:
    """Give everybody the live version again, and return what came of it; one that was stopped stays as it is.

    Raises UnknownExperiment.
    """
    experiments = Experiments(settings.home)
    experiment = experiments.get(name)
    if experiment.stopped is None:
        experiment = experiment.model_copy(update={"stopped": utc_now()})
        experiments.replace(experiment)
    return report_of(settings, experiment)


def delete_experiment(settings: Settings, name: str) -> Experiment:
    """Delete an experiment, whether it runs or not, and return what it was; what was shown stays noted.

    Queries that name it are refused from then on. Raises UnknownExperiment.
    """
    experiments = Experiments(settings.home)
    experiment = experiments.get(name)
    experiments.delete(name)
    return experiment
