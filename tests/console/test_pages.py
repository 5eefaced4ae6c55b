"""What the pages say and do, over the application without a browser."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lucid.api.console.access import CONSOLE
from lucid.api.console.explore import _origin
from lucid.data.drift import Drift
from lucid.data.event_batches import compact_events
from lucid.data.strengths import StrengthRule
from lucid.keys import create_key
from lucid.models import find_model
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingRequest
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.training import run
from lucid.training.report import read_report, write_report
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.version import Version
from lucid.webhooks.callbacks import make_event
from lucid.workspace import Workspace
from tests.support.browsing import Browser, Elements, use
from tests.support.checkerboard import train_checkerboard
from tests.support.crowds import RISING, forget_activity, interactions, write_crowd
from tests.support.hostile import IDS, LONG

HOSTILE_NAME = "<script>alert(1)</script>\" onerror='x' [a](javascript:b) \u202eevil"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of the model `board`, and an entity with a picture; to be copied, never changed."""
    folder = tmp_path_factory.mktemp("pages")
    workspace = Workspace(settings=Settings(home=folder / "home"))
    more = folder / "more.csv"
    more.write_text(
        "id,type,name,metadata,media_url\n"
        f'u90,user,"{HOSTILE_NAME.replace(chr(34), chr(34) * 2)}","{{""<b>"": ""<i>x</i>""}}",https://pictures.example/1.png\n'
        "u91,user,Bad,,ftp://no\n"
    )
    likes = folder / "likes.csv"
    likes.write_text("type,source_id,target_id,timestamp,metadata\nlikes,u90,i00,,\nlikes,u90,i02,,\n")
    workspace.import_files([more, likes], tags=["<b>tag</b>"])
    train_checkerboard(workspace, folder / "files")
    workspace.train("board")
    return folder / "home"


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Settings:
    """A copy of that home."""
    shutil.copytree(trained, tmp_path / "home")
    return Settings(home=tmp_path / "home")


async def page_of(browser: Browser, path: str) -> Elements:
    answer = await browser.get(CONSOLE + path)
    assert 200 == answer.status_code, answer.text
    return Elements(answer.text)


def test_ids_are_shown_as_text(trained_hostile: Path, tmp_path: Path) -> None:
    """Whatever an id holds, its page has the same elements as that of any other user."""
    shutil.copytree(trained_hostile, tmp_path / "home")
    tags = {"html", "head", "body", "main", "h1", "bdi", "a", "ol", "li", "dl", "dt", "dd", "table", "form", "small"}

    async def look(browser: Browser) -> None:
        for entity_id in IDS:
            where = f"/explore/entity?model_id=board&id={quote(entity_id, safe='')}"
            found = await page_of(browser, where)
            twin = (await browser.get(f"{CONSOLE}/explore/entity.json{where.removeprefix('/explore/entity')}")).json()

            assert entity_id == twin["card"]["entity"]["id"]
            assert "<b>" not in {tag for tag, _ in found.found}
            assert {"b", "img", "i", "iframe"}.isdisjoint(tag for tag, _ in found.found)
            assert tags <= {tag for tag, _ in found.found}
            assert all(attributes.get("src") for tag, attributes in found.found if tag == "script")

    use(Settings(home=tmp_path / "home"), look)


def test_names_metadata_tags_and_values_are_shown_as_text(home: Settings) -> None:
    """On every page where they stand: found, explored, uploaded, set aside, chosen for a training."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        for where in (
            "/explore?model_id=board&q=alert",
            "/explore/entity?model_id=board&id=u90",
            "/data",
            f"/data/{batch.batch_id}/rows",
            "/train",
            "/models/board/lineage",
            "/models/board/report",
            "/models/board/graph",
        ):
            found = await page_of(browser, where)
            assert {"b", "i", "img"}.isdisjoint(tag for tag, _ in found.found), where
            assert not any(name.startswith("on") for _, attributes in found.found for name in attributes), where
        entity = await page_of(browser, "/explore/entity?model_id=board&id=u90")
        assert HOSTILE_NAME in entity.text

    use(home, look)


def test_pictures_are_fetched_from_nowhere_unless_a_person_asks(home: Settings) -> None:
    """The page says where they would come from; asked for, it may fetch from there and from nowhere else."""

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/explore/entity?model_id=board&id=u90"
        without, shown = await browser.get(where), await browser.get(f"{where}&pictures=true")

        assert "<img" not in without.text
        assert "https://pictures.example" in without.text
        assert "img-src 'self' data:;" in without.headers["content-security-policy"]
        assert '<img class="card-picture" src="https://pictures.example/1.png"' in shown.text
        assert 'referrerpolicy="no-referrer"' in shown.text
        assert "img-src 'self' data: https://pictures.example;" in shown.headers["content-security-policy"]

    use(home, look)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://pictures.example/a.png", "https://pictures.example"),
        ("HTTP://Pictures.example:8080/a", "http://pictures.example:8080"),
        ("https://user:password@pictures.example/a", "https://pictures.example"),
        ("https://bücher.example/a", "https://xn--bcher-kva.example"),
        ("https://*/a", None),
        ("https://a.example;script-src/x", None),
        ("https://a.example:port/x", None),
        ("https://[::1", None),
        ("https://[::1]/a", None),
        ("", None),
    ],
)
def test_a_policy_names_nothing_but_origins(url: str, origin: str | None) -> None:
    """What an address holds besides, or what is none, never becomes part of it."""
    assert origin == _origin(url)


def test_the_first_page_tells_how_answers_came_about(home: Settings) -> None:
    """By model, of all that asked the API; whoever looks here is not counted."""
    _, secret = create_key(Catalog(home.home))

    async def look(browser: Browser) -> None:
        await page_of(browser, "/explore/entity?model_id=board&id=u01")
        (line,) = (await browser.get(f"{CONSOLE}/home.json")).json()["models"]
        assert [] == line["served"]
        for source in ("u01", "u02", "u03"):
            asked = f"/v1/recommender/recommended_items?model_id=board&source_id={source}&target_type=item"
            assert 200 == (await browser.get(asked, headers={"apikey": secret})).status_code
        (line,) = (await browser.get(f"{CONSOLE}/home.json")).json()["models"]
        assert [{"served_by": "cache", "sources": 3, "share": 1.0}] == line["served"]

    use(home, look)


def test_finding_is_by_name_and_by_type(home: Settings) -> None:
    """The part of the page that is sent while somebody types has no frame around it."""

    async def look(browser: Browser) -> None:
        asked = f"{CONSOLE}/explore/found?model_id=board&q=item%201&entity_type=item"
        part = await browser.get(asked, headers={"HX-Request": "true"})
        twin = (await browser.get(asked.replace("found", "found.json", 1))).json()

        assert "<html" not in part.text
        names = [one["name"] for one in twin["found"]]
        assert sorted(["Item 1", *(f"Item {number}" for number in range(10, 20))]) == sorted(names)
        nobody = (await browser.get(f"{CONSOLE}/explore/found.json?model_id=board&q=item&entity_type=user")).json()
        assert [] == nobody["found"]
        assert 422 == (await browser.get(f"{CONSOLE}/explore/found?model_id=board&q=x&entity_type=none")).status_code

    use(home, look)


def test_an_entity_has_its_answers_and_their_reasons(home: Settings) -> None:
    """As the API gives them; what it interacted with, what its metadata says, what is popular and what is like it."""
    asked = Workspace(settings=home).recommend("board", source_id="u01", target_type="item", max_recommendations=10)

    async def look(browser: Browser) -> None:
        page = (await browser.get(f"{CONSOLE}/explore/entity.json?model_id=board&id=u01&target_type=item")).json()
        beside = (await browser.get(f"{CONSOLE}/explore/beside.json?model_id=board&id=u01&target_type=item")).json()

        assert list(asked["target_id"]) == [one["entity"]["id"] for one in page["suggestions"]]
        assert all(one["explanation"] for one in page["suggestions"][:1])
        assert 9 == page["card"]["interaction_count"]
        assert {"likes"} == {edge["relation"] for edge in page["card"]["edges"] if edge["kind"] == "interaction"}
        popular, trending = beside["for_all"]
        assert ("popular", 10, 10) == (popular["way"], len(popular["suggestions"]), len(beside["similar"]))
        assert ("trending", []) == (trending["way"], trending["suggestions"])  # nothing has a time
        none = f"{CONSOLE}/explore/beside?model_id=board&id=u01&target_type=none"
        assert 422 == (await browser.get(none)).status_code
        item = (await browser.get(f"{CONSOLE}/explore/entity.json?model_id=board&id=i01")).json()
        assert [["colour", "white"]] == item["card"]["metadata"]
        assert 404 == (await browser.get(f"{CONSOLE}/explore/entity?model_id=board&id=nobody")).status_code

    use(home, look)


def test_what_is_the_same_for_all_stands_beside(tmp_path: Path) -> None:
    """What is popular and what is trending, as the API gives them to the entity, which may be new, with what counts in
    them; a version that has counted nothing says what to do."""
    workspace = Workspace(tmp_path / "home")
    workspace.import_files(write_crowd(tmp_path, interactions()))
    workspace.train("crowd")
    workspace.send_events([{"id": "new", "type": "user"}, {"type": "view", "source_id": "new", "target_id": RISING}])
    standings = Version(workspace.settings.home, "crowd", 1).standings
    assert standings is not None
    page = f"{CONSOLE}/explore/beside{{}}?model_id=crowd&id={{}}&target_type=item"

    async def look(browser: Browser) -> None:
        for source in ("u01", "new"):
            beside = (await browser.get(page.format(".json", source))).json()
            assert ["popular", "trending"] == [one["way"] for one in beside["for_all"]]
            for one in beside["for_all"]:
                asked = workspace.recommend(
                    "crowd", source_id=source, target_type="item", use=one["way"], max_recommendations=10
                )
                assert list(asked["target_id"]) == [each["entity"]["id"] for each in one["suggestions"]]
                span = standings.spans["item", one["way"]]
                assert (span.window, span.half_life) == (one["window_days"], one["half_life_days"])
        names = [each["entity"]["name"] for each in beside["for_all"][0]["suggestions"]]
        text = Elements((await browser.get(page.format("", "new"))).text).text
        assert all(said in text for said in ("What is popular", "What is trending", *names))
        window = standings.spans["item", "trending"].window
        assert f"The latest {window} day" in text

    async def look_again(browser: Browser) -> None:
        assert None is (await browser.get(page.format(".json", "u01"))).json()["for_all"]
        assert "This version has not counted it" in (await browser.get(page.format("", "u01"))).text

    use(workspace.settings, look)
    forget_activity(Version(workspace.settings.home, "crowd", 1))
    use(workspace.settings, look_again)


def test_a_mix_adds_and_takes_away(home: Settings) -> None:
    """Even and odd users together get both kinds; with the odd one taken away, only what even ones like."""

    async def look(browser: Browser) -> None:
        mixed = f"{CONSOLE}/explore/mix.json?model_id=board&plus=u02&minus=u01&target_type=item"
        page = (await browser.get(mixed)).json()

        assert (["u02"], ["u01"]) == tuple([one["id"] for one in page[side]] for side in ("plus", "minus"))
        assert 0 == int(page["suggestions"][0]["entity"]["id"].removeprefix("i")) % 2
        assert 422 == (await browser.get(f"{CONSOLE}/explore/mix?model_id=board&minus=u01")).status_code
        assert 422 == (await browser.get(f"{CONSOLE}/explore/mix?model_id=board&plus=u01&plus=i01")).status_code

    use(home, look)


def test_bad_rows_are_shown_with_their_line(home: Settings) -> None:
    """What is wrong, in which line and column, and what stood there."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        page = await page_of(browser, f"/data/{batch.batch_id}/rows")
        twin = (await browser.get(f"{CONSOLE}/data/{batch.batch_id}/rows.json")).json()

        assert [(3, "media_url", "ftp://no")] == [(row["line"], row["column"], row["value"]) for row in twin["rows"]]
        assert all(text in page.text for text in ("media_url", "ftp://no", twin["rows"][0]["message"]))
        assert 404 == (await browser.get(f"{CONSOLE}/data/{'0' * 32}/rows")).status_code

    use(home, look)


def test_events_that_wait_are_counted_and_shown(home: Settings) -> None:
    """The latest first, as text; once they are compacted none waits, and the batch is named that they became."""
    workspace, name = Workspace(settings=home), "<b>new</b>"
    workspace.send_events([{"type": "likes", "source_id": f"u{user:02}", "target_id": "i01"} for user in range(12)])
    workspace.send_events({"id": name, "type": "user", "name": name})

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/data/events"
        page = (await browser.get(f"{where}.json")).json()
        assert (13, 10, None) == (page["waiting"], len(page["latest"]), page["compacted"])
        assert [name, "u11"] == [page["latest"][0]["id"], page["latest"][1]["source_id"]]
        shown = await page_of(browser, "/data/events")
        assert ("b" in {tag for tag, _ in shown.found}, name in shown.text) == (False, True)

        made = compact_events(home, browser.services.catalog)
        page = (await browser.get(f"{where}.json")).json()
        assert (0, [], made[-1].batch_id) == (page["waiting"], page["latest"], page["compacted"]["batch_id"])
        assert made[-1].file_name in (await page_of(browser, "/data/events")).text

    use(home, look)


def test_batches_are_tagged_archived_and_deleted(home: Settings) -> None:
    """To delete one, the name of its file is typed."""

    async def look(browser: Browser) -> None:
        (batch, *others) = browser.services.catalog.batches.find()
        here = f"{CONSOLE}/data/{batch.batch_id}"

        assert 303 == (await browser.post(f"{here}/tags", tags="2026, new ,")).status_code
        assert 303 == (await browser.post(f"{here}/archive", archived="true")).status_code
        (changed, *_) = browser.services.catalog.batches.find()
        assert (["2026", "new"], True) == (changed.tags, changed.archived)
        assert "archived" in (await page_of(browser, "/data?tag=new")).text

        assert 422 == (await browser.post(f"{here}/delete", typed="other.csv")).status_code
        assert len(others) + 1 == len(browser.services.catalog.batches.find())
        assert 303 == (await browser.post(f"{here}/delete", typed=batch.file_name)).status_code
        assert others == browser.services.catalog.batches.find()

    use(home, look)


def test_versions_are_rolled_back_pinned_rejected_and_promoted(home: Settings) -> None:
    """As the API does it; and two of them are compared."""

    async def look(browser: Browser) -> None:
        here = f"{CONSOLE}/models/board"

        async def done(action: str, **fields: str) -> tuple[int | None, dict[int, tuple[str, bool]]]:
            assert 303 == (await browser.post(f"{here}/{action}", **fields)).status_code
            model = find_model(home, "board")
            return model.live_version, {one.version: (one.state, one.pinned) for one in model.versions}

        assert (1, {1: ("live", False), 2: ("kept", False)}) == await done("rollback", version="1")
        assert (1, {1: ("live", True), 2: ("kept", False)}) == await done("pin", version="1")
        assert (1, {1: ("live", False), 2: ("kept", False)}) == await done("unpin")
        assert (1, {1: ("live", False), 2: ("rejected", False)}) == await done(
            "reject", version="2", reason="<b>no</b>"
        )
        page = await page_of(browser, "/models/board/versions")
        assert "<b>no</b>" in page.text
        assert (2, {1: ("kept", False), 2: ("live", False)}) == await done("promote", version="2")
        compared = (await browser.get(f"{here}/compare.json?a=1&b=2")).json()["comparison"]
        assert (1, 2) == (compared["a"], compared["b"])
        assert 422 == (await browser.post(f"{here}/rollback", version="x")).status_code
        assert 404 == (await browser.post(f"{here}/rollback", version="9")).status_code

    use(home, look)


def test_the_gate_is_set_and_reset(home: Settings) -> None:
    """A switch that is not sent is off, as forms have it."""

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/models/board/gate"
        gate = (await browser.get(f"{where}.json")).json()["gate"]
        bounds = {name: value for name, value in gate.items() if isinstance(value, float)}

        assert 303 == (await browser.post(where, **{**bounds, "min_overlap": "0.5"})).status_code
        changed = (await browser.get(f"{where}.json")).json()["gate"]
        assert {**gate, "min_overlap": 0.5, "enabled": False, "is_default": False} == changed
        assert 422 == (await browser.post(where, **{**bounds, "min_overlap": "2"})).status_code
        assert 303 == (await browser.post(f"{where}/reset")).status_code
        assert gate == (await browser.get(f"{where}.json")).json()["gate"]

    use(home, look)


def test_keys_are_made_and_revoked(home: Settings) -> None:
    """The secret is shown once; a key makes none that may do more than it."""

    async def look(browser: Browser) -> None:
        made = await browser.post(f"{CONSOLE}/keys", name="<b>shop</b>", scopes=["recommend", "admin"])
        (secret,) = re.findall(r"lucid_[\w-]{43}", made.text)
        (key,) = [one for one in browser.services.catalog.keys.all() if one.name == "<b>shop</b>"]
        page = await browser.get(f"{CONSOLE}/keys")

        assert ("recommend", "admin") == key.scopes
        assert secret not in page.text
        assert key.hash not in page.text + (await browser.get(f"{CONSOLE}/keys.json")).text
        assert 403 == (await browser.post(f"{CONSOLE}/keys", name="more", scopes=["train"])).status_code
        assert 422 == (await browser.post(f"{CONSOLE}/keys", name="none")).status_code
        assert 422 == (await browser.post(f"{CONSOLE}/keys/{key.key_id}/revoke", typed="x")).status_code
        assert 303 == (await browser.post(f"{CONSOLE}/keys/{key.key_id}/revoke", typed=key.key_id)).status_code
        assert key.key_id not in {one.key_id for one in browser.services.catalog.keys.all()}

    use(home, look, ("recommend", "admin"))


def test_what_a_training_is_asked_is_checked_before_it_begins(home: Settings) -> None:
    """The place that is wrong is named; the form has what the latest training of the model was asked."""

    async def look(browser: Browser) -> None:
        for fields, named in (
            ({"model_id": "a b"}, "model_id"),
            ({"data_filters": "{"}, "data_filters"),
            ({"precompute": '[{"source_type": "user"}]'}, "precompute"),
            ({"max_minutes": "-1"}, "max_minutes"),
        ):
            for action in ("/train", "/train/dry-run"):
                answer = await browser.post(CONSOLE + action, **fields)
                assert (422, True) == (answer.status_code, named in answer.text)
        assert 'value="board"' in (await browser.get(f"{CONSOLE}/train?model_id=board")).text
        assert 404 == (await browser.get(f"{CONSOLE}/train?model_id=none")).status_code

    use(home, look)


def test_a_model_is_deleted_once_its_name_was_typed(home: Settings) -> None:
    """And not before."""

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/models/board/delete"
        assert 422 == (await browser.post(where, typed="bord")).status_code
        assert 200 == (await browser.get(f"{CONSOLE}/models/board/versions")).status_code
        assert 303 == (await browser.post(where, typed="board")).status_code
        assert 404 == (await browser.get(f"{CONSOLE}/models/board/versions")).status_code

    use(home, look)


def test_a_model_without_a_version_has_its_pages(settings: Settings) -> None:
    """Nothing answers, and each page says so."""
    Catalog(settings.home)

    async def look(browser: Browser) -> None:
        run.enter(settings, TrainingRequest(model_id="young"), "queued")
        for where in ("report", "versions", "compare", "progress", "gate"):
            await page_of(browser, f"/models/young/{where}")
        for where in ("/explore?model_id=young", "/home", "/runs"):
            assert "young" in (await page_of(browser, where)).text
        assert 409 == (await browser.get(f"{CONSOLE}/models/young/graph")).status_code

    use(settings, look)


def test_an_empty_home_has_its_pages(settings: Settings) -> None:
    """The first page says what to do first."""

    async def look(browser: Browser) -> None:
        for where in ("/home", "/explore", "/data", "/train", "/runs", "/deliveries", "/disk", "/erasures", "/keys"):
            await page_of(browser, where)
        assert "Upload data" in (await page_of(browser, "/home")).text

    use(settings, look)


def test_a_fault_of_ours_is_told_on_a_page_and_in_the_log(home: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Programs are told as the API tells them; neither says more than the log."""
    catalog = Catalog(home.home)
    with catalog._database.transaction() as connection:  # what no release of ours writes
        connection.execute("UPDATE batches SET errors = '4711'")

    async def look(browser: Browser) -> None:
        page, twin = (await browser.get(f"{CONSOLE}/data"), await browser.get(f"{CONSOLE}/data.json"))
        assert (500, 500) == (page.status_code, twin.status_code)
        assert page.headers["content-type"].startswith("text/html")
        assert "something went wrong on our side" in Elements(page.text).text
        assert "internal_error" == twin.json()["code"]
        assert not any("4711" in text for text in (page.text, twin.text))

    use(home, look)
    assert "4711" in caplog.text


def test_very_long_texts_break_no_page(trained_hostile: Path, tmp_path: Path) -> None:
    """An id of ten thousand letters is found and shown."""
    shutil.copytree(trained_hostile, tmp_path / "home")

    async def look(browser: Browser) -> None:
        found = (await browser.get(f"{CONSOLE}/explore/found.json?model_id=board&q={LONG[:2000]}")).json()
        assert LONG in [one["id"] for one in found["found"]]
        assert 422 == (await browser.get(f"{CONSOLE}/explore/found?model_id=board&q={LONG}x")).status_code

    use(Settings(home=tmp_path / "home"), look)


def test_twins_hold_plain_json(home: Settings) -> None:
    """Times as everywhere in the API, and no NaN, which is no JSON."""

    async def look(browser: Browser) -> None:
        text = (await browser.get(f"{CONSOLE}/models/board/report.json")).text
        json.loads(text, parse_constant=lambda found: pytest.fail(found))
        assert re.search(r'"created":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', text)

    use(home, look)


def test_a_pair_is_shown_with_all_its_figures(home: Settings) -> None:
    """Those of the report, intervals and differences included; a pair that was not judged is told."""
    report = Workspace(settings=home).report("board")

    async def look(browser: Browser) -> None:
        where = f"{CONSOLE}/models/board/pair"
        page = (await browser.get(f"{where}.json?source_type=user&target_type=item")).json()
        (expected,) = [pair for pair in report["pairs"] if pair["target_type"] == "item"]

        assert json.loads(json.dumps(expected)) == page["pair"]["quality"]
        assert 422 == (await browser.get(f"{where}?source_type=user&target_type=none")).status_code

    use(home, look)


def test_callbacks_are_shown_and_sent_again(home: Settings) -> None:
    """The newest first, with what became of them; the address of a receiver is text."""
    catalog, now = Catalog(home.home), utc_now()
    status = catalog.trainings.get("board").status
    for number, failure in enumerate((None, "<b>no</b>")):
        event = make_event(status, f"https://receiver.example/?<i>{number}", f"event-{number}", now)
        catalog.deliveries.record(event, failure, now, lambda _attempts: None)

    async def look(browser: Browser) -> None:
        page = await page_of(browser, "/deliveries")
        assert {"b", "i"}.isdisjoint(tag for tag, _ in page.found)
        assert all(text in page.text for text in ("arrived", "given up", "<b>no</b>", "https://receiver.example/?<i>1"))
        assert 303 == (await browser.post(f"{CONSOLE}/deliveries/board/event-1/resend")).status_code
        assert 404 == (await browser.post(f"{CONSOLE}/deliveries/board/event-9/resend")).status_code
        again = {line["delivery"]["event_id"]: line["delivery"] for line in await deliveries(browser)}
        assert again["event-1"]["next_attempt"]
        assert again["event-0"]["delivered"]

    async def deliveries(browser: Browser) -> list[Any]:
        found: list[Any] = (await browser.get(f"{CONSOLE}/deliveries.json")).json()["deliveries"]
        return found

    use(home, look)


def test_runs_are_shown_with_the_time_of_their_steps(home: Settings) -> None:
    """The latest first; what each was asked, and the seconds of its stages."""

    async def look(browser: Browser) -> None:
        runs = (await browser.get(f"{CONSOLE}/runs.json")).json()["runs"]
        assert [2, 1] == [run["status"]["version"] for run in runs]
        assert all(run["timings"].keys() >= {"select", "fit", "precompute"} for run in runs)
        lineage = (await browser.get(f"{CONSOLE}/models/board/lineage.json?version=1")).json()
        assert runs[1]["timings"] == lineage["timings"]
        assert {"more.csv", "likes.csv"} <= {batch["file_name"] for batch in lineage["lineage"]["batches"]}

    use(home, look)


def test_what_interactions_say_is_told_in_words(home: Settings) -> None:
    """By type: the key with its numbers, what is liked and disliked, and what it weighs; and what all of it changes."""
    key = "<i>stars</i>"
    rules = [
        StrengthRule("rated", "rating", f"{key}: <b>all</b>", key, 1, 5, 3, 4, 2, values=90, interactions=100),
        StrengthRule(
            "bought", "amount", "quantity: numbers", "quantity", 0, 9, 2, weight=3.0, values=7, interactions=7
        ),
        StrengthRule("returned", "dislike", "its name tells of dislike", interactions=5),
        StrengthRule("seen", "plain", "nothing tells how much was liked what", weight=0.0, interactions=4),
    ]

    async def look(browser: Browser) -> None:
        live = ModelVersions(home.home, "board").live()
        report = read_report(live.folder)
        before = await page_of(browser, "/models/board/report")
        write_report(live.folder, replace(report, strengths=rules))
        live.complete(None, utc_now())
        page = await page_of(browser, "/models/board/report")

        assert "That it happened, and nothing more." in before.text
        assert "All count alike in the end" not in before.text
        assert {"b", "i"}.isdisjoint(tag for tag, _ in page.found)
        words = " ".join(page.text.split())
        for said in (
            f"{key} from 1 to 5: liked from 4 up, disliked from 2 down.",
            "The more quantity the better, half of them are above 2; below 0 it is a dislike.",
            "Each is a dislike.",
            "left out, as asked",
            "All count alike in the end",
        ):
            assert said in words

    use(home, look)


def test_what_a_training_found_odd_stands_with_the_data(home: Settings) -> None:
    """With the batch that it is about, and as a list."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        live = ModelVersions(home.home, "board").live()
        report = read_report(live.folder)
        odd = Drift("new_type", batch.batch_id, "3 rows have the type '<b>'", {}, ["<i>u90</i>"])
        write_report(live.folder, replace(report, drift=[odd]))
        live.complete(None, utc_now())

        for where in ("/data/drift", f"/data/{batch.batch_id}/rows", "/models/board/report"):
            page = await page_of(browser, where)
            assert {"b", "i"}.isdisjoint(tag for tag, _ in page.found)
            assert all(text in page.text for text in ("3 rows have the type '<b>'", "<i>u90</i>")), where

    use(home, look)
