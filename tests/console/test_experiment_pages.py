"""Experiments in the console: begun, looked at, stopped and deleted; and what came of all answers of a model."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lucid.api.console.access import CONSOLE
from lucid.schema.attribution import By
from lucid.settings import Settings
from lucid.versions.experiments import variant_of
from lucid.workspace import Workspace
from tests.console.pages import FRONT, TRIED
from tests.support.browsing import ORIGIN, Browser, Elements, use
from tests.support.checkerboard import USERS, train_checkerboard

HERE = f"{CONSOLE}/experiments"
HOSTILE = "<b>x</b> \u202eevil"
FORM = {"name": "second", "model_id": "board", "name.0": "now", "share.0": "0.5", "name.1": "new", "share.1": "0.25"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the experiment `front`, of which something came; to be copied, never changed."""
    folder = tmp_path_factory.mktemp("experiments")
    workspace = train_checkerboard(Workspace(folder / "home"), folder / "files")
    workspace.save_placement(FRONT)
    workspace.begin_experiment(**TRIED)
    for user in range(USERS):
        shown = workspace.recommend("board", source_id=f"u{user:02}", target_type="item", experiment="front")
        noted, row = shown.attrs["noted"]["recommendation_id"], shown.iloc[0]
        event = {"source_id": row["source_id"], "target_id": row["target_id"], "recommendation_id": noted}
        workspace.send_events([{"type": "clicked", **event}] + [{"type": HOSTILE, **event}] * (user == 0))
    return folder / "home"


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Settings:
    """A copy of that home."""
    shutil.copytree(trained, tmp_path / "home")
    return Settings(home=tmp_path / "home")


def test_what_came_of_an_experiment_is_shown(home: Settings) -> None:
    """The figures and sentences of the report, by type of events, which are text."""
    report = Workspace(settings=home).experiment("front")

    async def look(browser: Browser) -> None:
        page = (await browser.get(f"{HERE}/front/results.json")).json()
        assert report.model_dump(mode="json") == page["report"]
        by_type = {one["type"]: one for one in page["by_type"]}
        assert {"clicked", HOSTILE} == by_type.keys()
        rates = {name: one and one["rate"] for name, one in by_type["clicked"]["variants"]}
        assert {"now": 1.0, "new": 1.0} == rates
        assert 1 == by_type["clicked"]["most"]
        (difference,) = by_type["clicked"]["differences"]
        assert by_type["clicked"]["furthest"] == max(abs(difference["low"]), abs(difference["high"])) > 0
        text = Elements((await browser.get(f"{HERE}/front/results")).text)
        assert {"b", "img"}.isdisjoint(tag for tag, _ in text.found)
        assert all(one.sentence in text.text for one in report.differences)
        assert 404 == (await browser.get(f"{HERE}/none/results")).status_code

    use(home, look)


def test_an_experiment_is_begun_by_a_form(home: Settings) -> None:
    """Rows without a name are no variants; what is wrong is said beside the form, and nothing begins."""
    by_htmx = {"HX-Request": "true", "Origin": ORIGIN}

    async def begin(browser: Browser, **changed: Any) -> tuple[int, str, str | None]:
        form = {**FORM, "version.0": "1", "placement.1": "front", "name.2": "", "share.2": "0.3", **changed}
        answer = await browser.client.post(HERE, data=form, headers={**by_htmx, "X-CSRF-Token": browser.csrf})
        return answer.status_code, answer.text, answer.headers.get("hx-redirect")

    async def look(browser: Browser) -> None:
        for changed, status, said in (
            ({"share.1": "0.7"}, 422, "the shares are 1.2 together"),
            ({"name.1": ""}, 422, "variants"),
            ({"share.0": "much"}, 422, "variants.0.share"),
            ({"version.0": "9"}, 404, "version 9"),
            ({"placement.1": "none"}, 404, "placement"),
            ({"model_id": "none"}, 404, "none"),
            ({"name": "front"}, 409, "already"),
        ):
            found, text, _ = await begin(browser, **changed)
            assert (status, True) == (found, said in text), text
        assert ["front"] == [one["name"] for one in (await browser.get(f"{HERE}.json")).json()["experiments"]]

        assert (204, "", f"{HERE}/second/results") == await begin(browser)
        begun = Workspace(settings=home).experiment("second")
        assert [("now", 0.5, 1, None), ("new", 0.25, None, "front")] == [
            (one.name, one.share, one.version, one.placement) for one in begun.variants
        ]
        assert "Nothing has come of it yet" in (await browser.get(f"{HERE}/second/results")).text

    use(home, look)


def test_an_experiment_is_stopped_and_deleted(home: Settings) -> None:
    """To delete it, its name is typed."""

    async def look(browser: Browser) -> None:
        assert "Stop this experiment" in (await browser.get(f"{HERE}/front/results")).text
        assert 303 == (await browser.post(f"{HERE}/front/stop")).status_code
        stopped = await browser.get(f"{HERE}/front/results")
        assert ("everybody gets the live version" in stopped.text, "Stop this experiment" in stopped.text) == (
            True,
            False,
        )
        assert Workspace(settings=home).experiment("front").stopped is not None
        assert 422 == (await browser.post(f"{HERE}/front/delete", typed="frond")).status_code
        assert 303 == (await browser.post(f"{HERE}/front/delete", typed="front")).status_code
        assert [] == (await browser.get(f"{HERE}.json")).json()["experiments"]
        assert "There is none yet" in (await browser.get(HERE)).text

    use(home, look)


def test_a_warning_is_shown(home: Settings) -> None:
    """Where a variant has lost its sources, nothing else of it counts."""
    workspace = Workspace(settings=home)
    variants = [{"name": "now", "share": 0.5}, {"name": "new", "share": 0.5}]
    experiment = workspace.begin_experiment("broken", "board", variants)
    sources = [f"u{user:02}" for user in range(USERS)]
    reached = [source for source in sources if (mine := variant_of(experiment, source)) and mine.name == "now"]
    workspace.recommend("board", source_id=reached, target_type="item", experiment="broken")

    async def look(browser: Browser) -> None:
        assert "something keeps sources out of a variant" in (await browser.get(f"{HERE}/broken/results")).text

    use(home, look)


@pytest.mark.parametrize("by", [None, "version", "pair", "rank"])
def test_what_came_of_a_model_is_shown(home: Settings, by: By | None) -> None:
    """As the API tells it, in all or in groups; of another time, that there is nothing."""
    expected = Workspace(settings=home).attribution("board", by=by)

    async def look(browser: Browser) -> None:
        where, asked = f"{CONSOLE}/models/board/attribution", f"by={by or ''}"
        page = (await browser.get(f"{where}.json?from=&to=&{asked}")).json()
        assert expected.model_dump(mode="json") == page["attribution"]
        rows = {one["type"]: [rate["rows"] for _, rate in one["groups"] if rate] for one in page["by_type"]}
        assert {"clicked": USERS, HOSTILE: 1} == {event_type: sum(counts) for event_type, counts in rows.items()}
        text = Elements((await browser.get(f"{where}?{asked}")).text)
        assert "b" not in {tag for tag, _ in text.found}
        assert f"{expected.total.impressions:,} rows" in text.text

        assert "No answer was noted" in (await browser.get(f"{where}?to=2020-01-01&{asked}")).text
        later = (await browser.get(f"{where}.json?from=2020-01-01&{asked}")).json()
        assert ("2020-01-01T00:00:00.000Z", page["by_type"]) == (later["attribution"]["from_time"], later["by_type"])

    use(home, look)


def test_a_time_that_is_none_is_refused(home: Settings) -> None:
    """On the page, with what was expected; a model that is not there, too."""

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/models/board/attribution"
        for asked in ("?from=soon", "?by=nobody", "?from=2026-02-01&to=2026-01-01"):
            assert 422 == (await browser.get(where + asked)).status_code
        assert 404 == (await browser.get(f"{CONSOLE}/models/none/attribution")).status_code

    use(home, look)
