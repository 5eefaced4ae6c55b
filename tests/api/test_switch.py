"""Switching versions under load, over real HTTP: every call is answered, and by one version."""

import csv
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.settings import Settings
from lucid.training import steps
from tests.support.hostile import IDS
from tests.support.service import Api

ITEMS = f"{BASE}/recommended_items"
ASKED: tuple[dict[str, Any], ...] = (
    {"source_id": "u05", "target_type": "item"},
    {"source_id": ["u01", "nobody", *IDS[:5]], "target_type": "item"},
    {"source_type": "user", "target_type": "item"},
    {"source_id": "u07", "target_type": ["item", "user"]},
    {"source_id": "u08", "target_type": "item", "exclude_interacted": False},
)
"""What was computed ahead and what is scored at once, for one source, several and all of a type."""

PUBLISHED = 3


@pytest.fixture
def api(trained_hostile: Path, tmp_path: Path) -> Iterator[Api]:
    shutil.copytree(trained_hostile, tmp_path / "home")
    with Api(tmp_path / "home").running() as api:
        yield api


def rows_of(response: httpx.Response) -> list[dict[str, str]]:
    """The rows of an answer as texts, whatever its format."""
    assert 200 == response.status_code, response.text
    if response.headers["content-type"].startswith("text/csv"):
        return list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))
    return [{name: str(value) for name, value in row.items()} for row in response.json()["recommendations"]]


class Asking:
    """Threads that ask the same things again and again, and what was wrong with the answers."""

    def __init__(self, api: Api, expected: list[dict[int, list[dict[str, str]]]]) -> None:
        self.wrong: list[str] = []
        self.answered = 0
        self.versions: set[int] = set()
        self._api = api
        self._expected = expected
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number, output_format))
            for number in range(len(ASKED))
            for output_format in ("json", "csv")
        ]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int, output_format: str) -> None:
        with self._api.client(self._api.secret) as client:
            while not self._done.is_set():
                asked = {"model_id": "board", "output_format": output_format, **ASKED[number]}
                try:
                    self._check(number, client.post(ITEMS, json=asked))
                except Exception as error:
                    self.wrong.append(f"{asked}: {error!r}")

    def _check(self, number: int, response: httpx.Response) -> None:
        rows, expected = rows_of(response), self._expected[number]
        named = response.json()["version"] if "json" in response.headers["content-type"] else None
        # A refresh, from 3 on, has the vectors of version 2 and so its answers.
        possible = expected.values() if named is None else [expected[min(named, 2)]]
        if rows not in possible:
            self.wrong.append(f"{ASKED[number]} of version {named} mixes versions")
        if named is not None:
            self.versions.add(named)
        self.answered += 1


def again_and_again(switch: Callable[[int], object], times: int, asking: Asking) -> None:
    """Switch, and let every thread get some answers before the next time."""
    for number in range(times):
        switch(number)
        seen, patience = asking.answered, threading.Event()
        for _ in range(500):
            if asking.answered >= seen + 2 * len(ASKED) or asking.wrong:
                break
            patience.wait(0.02)


def test_no_call_fails_and_no_answer_mixes_versions_while_they_switch(api: Api) -> None:
    """Ten threads ask in JSON and CSV while versions are rolled back and published: each answer is of one version."""
    client = api.own_client
    expected = [
        {
            version: rows_of(client.post(ITEMS, json={"model_id": "board", "version": version, **asked}))
            for version in (1, 2)
        }
        for asked in ASKED
    ]
    assert all(answers[1] != answers[2] for answers in expected)

    def roll_back(number: int) -> None:
        client.post(f"{BASE}/models/board/rollback", json={"version": 1 + number % 2}).raise_for_status()

    def publish(_number: int) -> None:
        steps.refresh(Settings(home=api.home), "board")

    with Asking(api, expected) as asking:
        again_and_again(roll_back, 20, asking)
        again_and_again(publish, PUBLISHED, asking)
        again_and_again(roll_back, 10, asking)

    assert [] == asking.wrong[:3]
    assert {1, 2, *range(3, 3 + PUBLISHED)} == asking.versions
    assert "Traceback" not in api.log.read_text()
