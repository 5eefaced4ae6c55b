"""Training after uploads: what is asked for, in which words, and that it takes a service."""

from pathlib import Path

import pytest

from lucid.errors import InvalidRequest, Unavailable, UnknownModel
from lucid.schema.auto_train import AutoTrainRequest, duration_of, seconds_of
from lucid.schema.fields import check
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import free_port


@pytest.mark.parametrize(("written", "seconds"), [("90s", 90), ("10m", 600), ("6h", 21_600), ("2d", 172_800)])
def test_durations_are_written_as_they_are_read(written: str, seconds: int) -> None:
    """A number with its unit, the largest that fits."""
    assert (seconds, written) == (seconds_of(written), duration_of(seconds))


@pytest.mark.parametrize("written", ["", "10", "m", "1.5h", "-3m", "10 m", "1w", "١٠m"])
def test_what_is_no_duration_is_told(written: str) -> None:
    """What was found, what was expected."""
    with pytest.raises(InvalidRequest, match="is no duration; expected a number with its unit, as 90s, 10m, 6h or 2d"):
        seconds_of(written)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"quiet_seconds": 9}, "quiet_seconds"),
        ({"quiet_seconds": 700_000}, "quiet_seconds"),
        ({"min_interval_seconds": -1}, "min_interval_seconds"),
        ({"interval": 5}, "interval"),
    ],
)
def test_what_cannot_be_asked_is_told(wanted: dict[str, int], told: str) -> None:
    """Prefect looks every few seconds; so a quiet time has ten at least."""
    with pytest.raises(InvalidRequest, match=told):
        check(AutoTrainRequest, wanted)


def test_without_a_service_nothing_is_switched_on(workspace: Workspace, tmp_path: Path) -> None:
    """The sentence says how to start one; a model that is not there is told first."""
    with pytest.raises(UnknownModel):
        workspace.switch_auto_train_on("board")
    train_checkerboard(workspace, tmp_path)
    alone = Workspace(settings=workspace.settings.model_copy(update={"prefect_port": free_port()}))

    with pytest.raises(Unavailable, match=r"the Prefect server does not answer .*; start it with: lucid up"):
        alone.switch_auto_train_on("board")
