"""What the parts of the service find in their environment."""

import pytest

from lucid.service.run import environment
from lucid.settings import THREADS_THAT_SLEEP, Settings


def test_threads_that_wait_for_each_other_leave_the_processors_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless whoever starts the service has said otherwise."""
    for name in THREADS_THAT_SLEEP:
        monkeypatch.delenv(name, raising=False)
    assert THREADS_THAT_SLEEP.items() <= environment(settings).items()

    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "ACTIVE" == environment(settings)["OMP_WAIT_POLICY"]
