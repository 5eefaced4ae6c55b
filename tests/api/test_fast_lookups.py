"""Look-ups that are answered before the framework: the same answers, the same refusals, counted in the same way."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lucid.api.paths import BASE
from lucid.keys import create_key
from lucid.store.catalog import Catalog
from tests.support.hostile import IDS
from tests.support.service import Api

ITEMS = f"{BASE}/recommended_items"
LIVE = 2
"""Named in a question, it is asked in the framework's way; without it, it is answered at once where it can be."""


@pytest.fixture(scope="module")
def api(trained_hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("lookups") / "home"
    shutil.copytree(trained_hostile, home)
    with Api(home).running() as api:
        api.own_client.get(ITEMS, params=asked("u01"))  # opens the version
        yield api


def asked(source: str, **more: Any) -> dict[str, Any]:
    return {"model_id": "board", "source_id": source, "target_type": "item", **more}


@pytest.mark.parametrize("source", ["u05", "i04", "u%2F", "who?", *IDS], ids=repr)
def test_both_ways_give_the_same_answer(api: Api, source: str) -> None:
    """Byte for byte, in both formats and by both methods, unknown ids included."""
    for more in ({}, {"output_format": "csv"}, {"max_recommendations": 3, "threshold": 1.5}):
        question = asked(source, **more)
        quick = api.own_client.post(ITEMS, json=question)
        slow = api.own_client.post(ITEMS, json={**question, "version": LIVE})
        assert (slow.status_code, slow.content) == (quick.status_code, quick.content)
        assert slow.headers["content-type"] == quick.headers["content-type"]
        assert "nosniff" == quick.headers["x-content-type-options"]
        if "," not in source and source == source.strip():  # which queries cannot hold
            assert quick.content == api.own_client.get(ITEMS, params=question).content


@pytest.mark.parametrize(
    "query",
    [
        "source_id=u05&source_id=u06",
        "source_id=u05,u06",
        "source%5Fid=u06&source_id=u05",
        "source_id=u05&source_id=",
        "entity_id=u05",
        "source_id=u05&entity_id=u05",
        "source_id=u05&max_recommendations=2&max_recommendations=3",
        "source_id=u05&target_type=user",
        "source_id=+u05+",
        "source_id=u05&threshold=nan",
        "source_id=u05&explain=true",
        "source_id=u05&surprise=1",
        "source_id=",
        "source_id",
        "",
        "use=popular",
        "use=trending&output_format=csv",
        "use=trending&window_days=3",
        "use=similar",
        "use=popular&source_id=u05",
        "use=popular&explain=true",
        "use=popular&max_recommendations=3&threshold=50",
        "use=popular&target_type=user",
        "use=popular&target_type=nothing",
        "source_id=u05&fallback=trending",
        "source_id=nobody&fallback=popular",
        "source_id=nobody&fallback=popular&half_life_days=2",
        "fallback=popular",
    ],
)
def test_queries_are_read_in_the_same_way(api: Api, query: str) -> None:
    """Whatever a query string holds."""
    common = f"{ITEMS}?model_id=board&target_type=item&"
    quick, slow = (api.own_client.get(f"{common}{query}{more}") for more in ("", f"&version={LIVE}"))

    assert (slow.status_code, slow.content) == (quick.status_code, quick.content)


@pytest.mark.parametrize(
    "path", [ITEMS, f"{ITEMS}/", "/recommender/recommended_items", "/recommender/recommended_items/"]
)
def test_keys_are_asked_for_on_every_path(api: Api, path: str) -> None:
    """No key and a wrong one 401, one without the scope 403."""
    _, reader = create_key(Catalog(api.home), scopes=["data:read"])

    for key, status in ((None, 401), ("wrong", 401), (reader, 403), (api.secret, 200)):
        with api.client(key) as client:
            assert status == client.get(path, params=asked("u05")).status_code


def test_the_process_is_without_what_look_ups_do_not_need(api: Api) -> None:
    """Also after it asked the catalog: DuckDB loads pandas with the first parameter of a query, where it finds it."""
    loaded = {Path(part.path).parent.name for part in api.process.memory_maps()}

    assert "orjson" in loaded
    assert set() == {"pandas", "pyarrow", "torch", "_libs"} & loaded


def test_look_ups_are_counted_like_all_calls(api: Api) -> None:
    """By route and status, with their rows and what they came from."""

    def figures() -> dict[str, float]:
        lines = httpx.get(f"{api.base}/metrics", trust_env=False).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if "#" not in name}

    before = figures()
    api.own_client.get(ITEMS, params=asked("u05", max_recommendations=3))
    after = figures()

    calls = f'lucid_call_seconds_count{{method="GET",route="{ITEMS}",status="200"}}'
    counted = (calls, "lucid_recommendations_total", 'lucid_sources_answered_total{served_by="cache"}')
    assert [1, 3, 1] == [after[name] - before.get(name, 0) for name in counted]


def test_a_look_up_counts_once_against_the_limit(trained_hostile: Path, tmp_path: Path) -> None:
    """Also where it goes on to the framework."""
    shutil.copytree(trained_hostile, tmp_path / "home")
    with Api(tmp_path / "home", LUCID_RATE_LIMIT="4/minute").running() as api:
        answers = [api.own_client.get(ITEMS, params=asked(source)) for source in ("u01", "u02", "nobody", "u03", "u04")]

    assert [200, 200, 404, 200, 429] == [answer.status_code for answer in answers]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
