"""The API and a Prefect server that is busy, away or does not know a deployment."""

import asyncio

import pytest

from api.runs import TRAIN_MODEL, Runs
from lucid.errors import Unavailable
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
    monkeypatch.setattr("api.runs._AWAY_SECONDS", 0)
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _BUSY, _BUSY, _BUSY, _MADE]

    assert ("r", "http://ui/runs/flow-run/r") == create(says)
    assert 6 == len(says.asked)

    monkeypatch.setattr("api.runs._BUSY_SECONDS", 0)
    says.answers = [_DEPLOYMENT, _UNPROTECTED, _BUSY]
    with pytest.raises(Unavailable, match="503"):
        create(says)


def test_an_unknown_deployment_is_not_waited_for_long(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be registered a moment later, as when the service starts; after that it is unavailability."""
    monkeypatch.setattr("api.runs._AWAY_SECONDS", 0)
    says.answers = [(404, {}, b"{}")]

    with pytest.raises(Unavailable, match="404"):
        create(says)


def test_a_prefect_with_csrf_protection_is_asked_for_a_token(says: Says) -> None:
    """Also for another one, where the first is not known to it any more."""
    says.answers = [_DEPLOYMENT, _TOKEN, _FORBIDDEN, _TOKEN, _MADE]

    assert "r" == create(says)[0]
    assert [] == says.answers
