"""When models are trained and refreshed by themselves: counted as Prefect counts, told by every way in."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from lucid import schedules
from lucid.errors import InvalidRequest, Unavailable, UnknownModel
from lucid.schema.fields import check
from lucid.schema.schedules import ScheduleRequest
from lucid.workspace import Workspace
from tests.support.checkerboard import train_checkerboard
from tests.support.service import free_port

CRONS = [
    "30 2 * * *",
    "30 1 * * *",
    "0 3 * * *",
    "0 0 * * 0",
    "15 4 1 * *",
    "30 2 29 2 *",
    "*/20 9 * * 1-5",
    "5 0 * 3 MON",
]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
BEFORE_CHANGES = ["2026-10-23", "2027-03-26", "2026-10-30", "2027-03-12", "2026-10-02", "2027-04-02", "2028-02-28"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", CRONS)
def test_next_runs_are_those_of_prefect(cron: str, zone: str) -> None:
    """Also on days on which clocks change."""
    for day in BEFORE_CHANGES:
        start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
        theirs = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(8, start=start + timedelta(seconds=1)))

        ours = list(islice(schedules.next_runs(cron, zone, start + timedelta(seconds=1)), 8))

        assert [moment.astimezone(UTC) for moment in theirs] == ours, day


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_a_time_at_which_clocks_change_comes_once_a_day(zone: str) -> None:
    """Neither left out nor done twice, for two years."""
    runs = islice(schedules.next_runs("30 2 * * *", zone, datetime(2026, 1, 1, tzinfo=UTC)), 730)

    days = [(moment.astimezone(ZoneInfo(zone)) + timedelta(hours=2)).date() for moment in runs]

    assert 730 == len(set(days))
    assert {timedelta(days=1)} == {later - earlier for earlier, later in pairwise(days)}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"cron": "2:30"}, "is no cron expression"),
        ({"cron": "60 2 * * *"}, "is no cron expression"),
        ({"cron": "0 30 2 * * *"}, "has 6 fields, expected five"),
        (
            {"cron": "30 2 * * 1", "timezone": "Europe/Berln"},
            "is no time zone; expected UTC or a name such as Europe/Berlin",
        ),
        ({"cron": "30 2 * * 1", "work": "trian"}, "train"),
    ],
)
def test_what_is_no_schedule_is_told(wanted: dict[str, str], told: str) -> None:
    """What was found, what was expected."""
    with pytest.raises(InvalidRequest, match=told):
        check(ScheduleRequest, {"work": "train", **wanted})


def test_without_a_service_nothing_is_scheduled(workspace: Workspace, tmp_path: Path) -> None:
    """The sentence says how to start one; a model that is not there is told first."""
    with pytest.raises(UnknownModel):
        workspace.schedule("board", "train", "30 2 * * *")
    train_checkerboard(workspace, tmp_path)
    alone = Workspace(settings=workspace.settings.model_copy(update={"prefect_port": free_port()}))

    with pytest.raises(Unavailable, match=r"the Prefect server does not answer .*; start it with: lucid up"):
        alone.schedule("board", "train", "30 2 * * *")
