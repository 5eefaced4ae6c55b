"""The API and a Prefect server that is busy, away or does not know a deployment."""

import asyncio
from collections.abc import Callable

import pytest

from lucid.api.runs import TRAIN_MODEL, FlowRun, Job, Runs
from lucid.errors import MachineError, Unavailable
from lucid.settings import Settings
from tests.support.says import Answer, Says

_DEPLOYMENT: Answer = (200, {}, b'{"id":"d"}')
_UNPROTECTED: Answer = (422, {}, b'{"detail":"CSRF protection is disabled."}')
_TOKEN: Answer = (200, {}, b'{"token":"t"}')
_FORBIDDEN: Answer = (403, {}, b'{"detail":"Invalid CSRF token or client identifier."}')
_MADE: Answer = (201, {}, b'{"id":"r"}')
_BUSY: Answer = (503, {}, b"{}")


def create(says: Says) -> tuple[str, str]:
    """Start a run on the Prefect server that the test plays."""
    url = f"http://127.0.0.1:{says.server.server_port}"
    runs = Runs(Settings(prefect_api_url=url, prefect_ui_url="http://ui"))

    async def use() -> tuple[str, str]:
        try:
            return await runs.create(TRAIN_MODEL, {})
        finally:
            await runs.close()

    return asyncio.run(use())


def test_a_busy_prefect_is_asked_longer_than_one_that_is_away(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 503 means that the run will be made when others are through; one that stays busy is unavailability."""
    monkeypatch.setattr("lucid.api.runs._AWAY_SECONDS", 0)
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _BUSY, _BUSY, _BUSY, _MADE]

    assert ("r", "http://ui/runs/flow-run/r") == create(says)
    assert 6 == len(says.asked)

    monkeypatch.setattr("lucid.api.runs._BUSY_SECONDS", 0)
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _BUSY]
    with pytest.raises(Unavailable, match="503"):
        create(says)


def test_an_unknown_deployment_is_not_waited_for_long(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be registered a moment later, as when the service starts; after that it is unavailability."""
    monkeypatch.setattr("lucid.api.runs._AWAY_SECONDS", 0)
    says.answers = [(404, {}, b"{}")]

    with pytest.raises(Unavailable, match="404"):
        create(says)


def test_a_prefect_with_csrf_protection_is_asked_for_a_token(says: Says) -> None:
    """Also for another one, where the first is not known to it any more."""
    says.answers = [_DEPLOYMENT, _TOKEN, _FORBIDDEN, _TOKEN, _MADE]

    assert "r" == create(says)[0]
    assert [] == says.answers


class Entered:
    """A job that is entered, and what becomes of it."""

    def __init__(self, *, all_or_nothing: bool = False, note: Callable[[FlowRun], object] | None = None) -> None:
        self.noted: list[FlowRun] = []
        self.withdrawn: list[BaseException] = []
        note = note or self.noted.append
        self.job = Job(TRAIN_MODEL, {}, note, self.withdrawn.append, all_or_nothing=all_or_nothing)

    def start(self, says: Says) -> FlowRun:
        """Start it on the Prefect server that the test plays."""
        return asyncio.run(self.starting(says))

    async def starting(self, says: Says) -> FlowRun:
        runs = Runs(Settings(prefect_api_url=f"http://127.0.0.1:{says.server.server_port}", prefect_ui_url="http://ui"))
        try:
            return await runs.start(self.job)
        finally:
            await runs.close()


def cannot_note(run: FlowRun) -> None:
    raise MachineError("the disk is full")


def test_a_job_is_told_its_flow_run(says: Says) -> None:
    """Noted once, and nothing is withdrawn."""
    entered = Entered()
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _MADE]

    assert FlowRun("r", "http://ui/runs/flow-run/r") == entered.start(says)
    assert ([FlowRun("r", "http://ui/runs/flow-run/r")], []) == (entered.noted, entered.withdrawn)


@pytest.mark.parametrize("all_or_nothing", [False, True])
def test_a_job_that_gets_no_flow_run_is_withdrawn(
    says: Says, monkeypatch: pytest.MonkeyPatch, all_or_nothing: bool
) -> None:
    """Every job, once, and it is told why."""
    monkeypatch.setattr("lucid.api.runs._BUSY_SECONDS", 0)
    entered = Entered(all_or_nothing=all_or_nothing)
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _BUSY]

    with pytest.raises(Unavailable) as raised:
        entered.start(says)

    assert ([], [raised.value]) == (entered.noted, entered.withdrawn)


def test_a_run_that_is_made_does_the_work_though_nobody_noted_it(says: Says) -> None:
    """A job is not taken away from under a run; only what promises all or nothing is."""
    for all_or_nothing, withdrawn in ((False, []), (True, [MachineError])):
        entered = Entered(all_or_nothing=all_or_nothing, note=cannot_note)
        says.answers = [_DEPLOYMENT, _UNPROTECTED, _MADE]

        with pytest.raises(MachineError):
            entered.start(says)

        assert withdrawn == [type(error) for error in entered.withdrawn]


def test_what_promises_all_or_nothing_is_withdrawn_when_its_client_goes_away(says: Says) -> None:
    """Whatever is cut short while Prefect is asked; any other job may have got its run."""

    async def go_away(entered: Entered) -> None:
        starting = asyncio.create_task(entered.starting(says))
        while not says.asked:
            await asyncio.sleep(0.01)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    for all_or_nothing, withdrawn in ((False, []), (True, [asyncio.CancelledError])):
        says.answers, says.asked[:] = [_BUSY] * 100, []
        entered = Entered(all_or_nothing=all_or_nothing)
        asyncio.run(go_away(entered))

        assert withdrawn == [type(error) for error in entered.withdrawn]
