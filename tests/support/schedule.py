"""Which tests take long, and in what order two workers run them best."""

from collections.abc import Iterable
from types import ModuleType

import pytest
from xdist.scheduler import LoadScopeScheduling

SECONDS = {
    "tests/system/test_repeat.py": 210,
    "tests/system/test_service.py": 195,
    "tests/store/test_machine.py": 170,
    "tests/system/test_service_kills.py": 165,
    "tests/system/test_auto_train.py": 210,
    "tests/system/test_console.py": 160,
    "tests/docs/test_commands.py": 170,
    "tests/system/test_approvals.py": 150,
    "tests/system/test_contract.py": 115,
    "tests/system/test_limits_of_runs.py": 115,
    "tests/system/test_compose.py": 100,
    "tests/system/test_events.py": 115,
    "tests/flows": 110,
    "tests/system/test_dask.py": 60,
    "tests/system/test_deployments.py": 60,
    "tests/data/test_import_property.py": 60,
    "tests/training/test_sweeps.py": 60,
    "tests/data/test_events.py": 60,
    "tests/versions/test_recent.py": 50,
    "tests/system/test_stranger.py": 55,
    "tests/system/test_keys.py": 55,
    "tests/test_cli.py": 50,
    "tests/versions/test_damage.py": 50,
    "tests/training/test_bad_trainings.py": 50,
    "tests/test_gate.py": 45,
    "tests/system/test_demo.py": 45,
    "tests/system/test_wheel.py": 35,
    "tests/store/test_private.py": 35,
    "tests/experiments/test_noted.py": 60,
    "tests/experiments/test_intervals.py": 35,
    "tests/api/test_experiments_api.py": 25,
    "tests/console/test_access.py": 30,
    "tests/api/test_hostile.py": 30,
    "tests/api/test_events_api.py": 30,
    "tests/training/test_training.py": 25,
    "tests/training/test_parallel.py": 25,
    "tests/versions/test_uploads.py": 25,
    "tests/console/test_pages.py": 35,
    "tests/console/test_experiment_pages.py": 15,
    "tests/console/test_placement_pages.py": 15,
    "tests/api/test_switch.py": 25,
    "tests/test_demo_catalogue.py": 25,
    "tests/erasure/test_erase.py": 25,
    "tests/placements/test_rules.py": 45,
    "tests/api/test_damage_api.py": 25,
    "tests/data/test_conditions.py": 15,
    "tests/test_models.py": 15,
    "tests/api/test_chosen_versions.py": 15,
    "tests/versions/test_derive.py": 15,
    "tests/api/test_slow_clients.py": 15,
    "tests/data/test_batches.py": 15,
    "tests/webhooks/test_sender.py": 10,
    "tests/webhooks/test_posting.py": 10,
    "tests/api/test_limits.py": 10,
    "tests/api/test_problems.py": 10,
    "tests/service/test_supervisor.py": 10,
    "tests/data/test_import_fuzz.py": 10,
    "tests/api/test_fast_lookups.py": 10,
    "tests/test_workspace.py": 5,
    "tests/data/test_links.py": 5,
    "tests/training/test_scores.py": 10,
    "tests/serving/test_sessions.py": 35,
    "tests/training/test_order.py": 20,
    "tests/training/test_learned_dislikes.py": 20,
    "tests/api/test_sessions.py": 10,
    "tests/serving/test_query.py": 5,
    "tests/test_architecture.py": 5,
}
"""Modules, and folders that share what takes long to start, with the seconds that they take about, services included.

What is not listed takes less than those that are. `pytest --durations=0` tells when an entry is due.
"""

QUICK = (
    "tests/test_cli.py::test_a_setting_with_a_bad_value_is_one_line",
    "tests/test_cli.py::test_keys_are_stored_as_hashes_only",
    "tests/test_models.py::test_rolling_back_lets_the_version_before_answer",
    "tests/test_models.py::test_there_must_be_a_version_to_roll_back_to",
    "tests/training/test_training.py::test_a_second_training_of_a_model_is_refused_while_one_runs",
)
"""Tests of these modules that are not slow, for packages that would have none."""

WITH_SERVICE = "tests/system/", "tests/flows/"
STARTERS = "Api", "faults", "subprocess"
"""What test modules import to start processes."""


class LongestFirst(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A module stays with one worker, as its service does, and so does a folder that shares one; the longest begin."""

    def _split_scope(self, nodeid: str) -> str:
        return entry(nodeid) or nodeid.split("::")[0]


def entry(nodeid: str) -> str | None:
    """The entry of `SECONDS` that a test belongs to, None for a quick one."""
    module = nodeid.split("::")[0]
    folder = module.rpartition("/")[0]
    return next((listed for listed in (module, folder) if listed in SECONDS), None)


def is_slow_as_a_whole(path: str) -> bool:
    """Whether all tests of a module or folder, by its path in the repository, are slow."""
    return entry(path) is not None and not any(test.startswith(path) for test in QUICK)


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark tests by where they stand, what they ask for and what their module imports: `service`, `process`, `slow`."""
    for item in items:
        module: ModuleType | None = getattr(item, "module", None)
        if item.nodeid.startswith(WITH_SERVICE) or "service" in getattr(item, "fixturenames", ()):
            item.add_marker("service")
        if any(hasattr(module, name) for name in STARTERS):
            item.add_marker("process")
        if entry(item.nodeid) and not item.nodeid.startswith(QUICK):
            item.add_marker("slow")


def order(items: list[pytest.Item]) -> None:
    """Put the longest modules first, so that no worker begins one when the other is done."""
    items.sort(key=lambda item: -SECONDS.get(entry(item.nodeid) or "", 0))
