"""Who sees and does what: the one table, over all pages, twins and actions; and what keeps strangers out."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts

from lucid.api.app import create_app
from lucid.api.console import sessions
from lucid.api.console.access import ACCESS, CONSOLE, OPEN
from lucid.api.console.guard import COOKIE, Screen
from lucid.keys import SCOPES, create_key
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.workspace import Workspace
from tests.console.pages import ACTIONS, FRONT, NEEDS_PREFECT, PAGES, TRIED, address
from tests.support.browsing import ORIGIN, OWN, Browser, browsing, use
from tests.support.checkerboard import train_checkerboard


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `board` and what its pages show, which the tests of this module leave as it is."""
    folder = tmp_path_factory.mktemp("console")
    workspace = train_checkerboard(Workspace(settings=Settings(home=folder / "home")), folder / "files")
    workspace.save_placement(FRONT)
    workspace.begin_experiment(**TRIED)
    return folder / "home"


def test_the_table_names_scopes_and_every_route_stands_in_it(settings: Settings) -> None:
    """Each page has its twin; what is in the table is there, and an application with anything else does not start."""
    app = create_app(settings)
    served = {
        (method, context.path)
        for context in iter_route_contexts(app.routes)
        if (context.path or "").startswith(f"{CONSOLE}/") and context.path not in OPEN
        for method in context.methods or ()
    }
    expected = {(method, CONSOLE + path) for method, path in ACCESS}
    expected |= {("GET", f"{CONSOLE}{path}.json") for method, path in ACCESS if method == "GET"}

    assert expected == served
    assert {scope for scope in ACCESS.values() if scope} <= set(SCOPES)


def test_a_page_outside_the_table_is_an_error_when_it_is_made() -> None:
    """So that none is there by mistake."""
    with pytest.raises(LookupError, match=r"GET /console/secret is not in lucid\.api\.console\.access\.ACCESS"):
        APIRouter(route_class=Screen).add_api_route("/console/secret", lambda: None)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_sees_and_does_only_what_its_scope_allows(home: Path, scope: str) -> None:
    """All pages, twins and actions, with a key of one scope: the others answer 403 and nothing of the data."""

    async def look(browser: Browser) -> None:
        for (method, path), needed in ACCESS.items():
            if needed in (None, scope):
                continue
            for suffix in ("", ".json") if method == "GET" else ("",):
                where = address(path, suffix=suffix)
                answer = await (browser.get(where) if method == "GET" else browser.post(where, typed="x"))

                assert (where, 403) == (where, answer.status_code)
                assert "board" not in answer.text.replace(where, "")

    use(Settings(home=home), look, (scope,))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_sees_all_pages_of_its_scope(home: Path, scope: str) -> None:
    """And the first page shows links to no other."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        for path in PAGES:
            if ACCESS["GET", path] in (None, scope) and path not in NEEDS_PREFECT:
                answer = await browser.get(address(path, batch.batch_id))
                assert (path, 200) == (path, answer.status_code), answer.text
        first = (await browser.get(f"{CONSOLE}/home")).text
        linked = {path for path in PAGES if f'href="{CONSOLE}{path}"' in first}
        assert linked <= {path for path in PAGES if ACCESS["GET", path] in (None, scope)}

    use(Settings(home=home), look, (scope,))


def test_without_a_session_there_is_only_the_door(home: Path) -> None:
    """Pages lead to it, twins say 401, and actions do nothing."""

    async def look(browser: Browser) -> None:
        for path in PAGES:
            page, twin = await browser.get(address(path)), await browser.get(address(path, suffix=".json"))
            assert (303, 401) == (page.status_code, twin.status_code)
            assert page.headers["location"].startswith(f"{CONSOLE}/sign-in?back=")
        for path in ACTIONS:
            assert 303 == (await browser.post(address(path))).status_code
        part = await browser.get(f"{CONSOLE}/tonight", headers={"HX-Request": "true"})
        assert (401, f"{CONSOLE}/sign-in") == (part.status_code, part.headers["hx-redirect"])

    use(Settings(home=home), look, None)


def test_actions_without_the_token_of_the_session_do_nothing(home: Path) -> None:
    """Neither none, nor a wrong one, nor that of another session."""

    async def look(browser: Browser) -> None:
        async with browsing(browser.services.settings) as other:
            for path in ACTIONS:
                for csrf in ("", "wrong", other.csrf):
                    answer = await browser.client.post(address(path), data={"csrf": csrf}, headers=OWN)
                    assert (path, 403) == (path, answer.status_code)
                in_header = {**OWN, "X-CSRF-Token": other.csrf}
                assert 403 == (await browser.client.post(address(path), headers=in_header)).status_code

    use(Settings(home=home), look)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://test:4200"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
        {},
    ],
)
def test_pages_of_other_origins_can_do_nothing(home: Path, headers: dict[str, str]) -> None:
    """Another site, another port of this machine, a page without an origin: even with the cookie and the token."""

    async def look(browser: Browser) -> None:
        for path in ACTIONS:
            answer = await browser.client.post(address(path), data={"csrf": browser.csrf}, headers=headers)
            assert (path, 403) == (path, answer.status_code)
        door = await browser.client.post(f"{CONSOLE}/sign-in", data={"key": "x"}, headers=headers)
        assert 403 == door.status_code
        twin = await browser.get(f"{CONSOLE}/home.json", headers={**headers, "Sec-Fetch-Mode": "no-cors"})
        assert headers == {} or 403 == twin.status_code

    use(Settings(home=home), look)


def test_forms_come_from_the_address_that_people_see(settings: Settings) -> None:
    """Behind a proxy that asks by another name, too; and from no other."""
    behind = settings.model_copy(update={"api_url": "http://lucid.example"})

    async def look(browser: Browser) -> None:
        for origin, status in (("http://other.example", 403), ("http://lucid.example", 303)):
            answer = await browser.client.post(
                f"{CONSOLE}/sign-out",
                data={"csrf": browser.csrf},
                headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"},
            )
            assert status == answer.status_code

    use(behind, look)


def test_a_person_may_come_from_anywhere(home: Path) -> None:
    """A link that leads here from another page opens; what it may be put into is not this page's affair."""

    async def look(browser: Browser) -> None:
        opened = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert 200 == (await browser.get(f"{CONSOLE}/home", headers=opened)).status_code
        answer = await browser.get(f"{CONSOLE}/home")
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]

    use(Settings(home=home), look)


def test_every_answer_keeps_strangers_away(home: Path) -> None:
    """No script or style within the page, nothing from elsewhere, no cache, no frame; errors and the door too."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        asked = [address(path, batch.batch_id, suffix) for path in PAGES for suffix in ("", ".json")]
        for where in [*asked, f"{CONSOLE}/sign-in", f"{CONSOLE}/models/none/report", f"{CONSOLE}/explore/entity"]:
            answer = await browser.get(where)
            policy = dict(
                part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";")
            )
            assert "'none'" == policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"]
            assert "'self'" == policy["script-src"] == policy["style-src"] == policy["connect-src"]
            assert "'self'" == policy["form-action"]
            assert "'self' data:" == policy["img-src"]
            assert "no-store" == answer.headers["cache-control"]
            assert "nosniff" == answer.headers["x-content-type-options"]
            assert not re.search(r"<script(?! src=\"/console/static/)|<style|\sstyle=|\son\w+=", answer.text), where
            assert not re.search(r"(?:src|href|action)=\"(?!/console|/docs|#|data:,\")[^\"]", answer.text), where

    use(Settings(home=home), look)


def test_a_session_is_a_cookie_that_only_the_console_sees(settings: Settings) -> None:
    """Not a script, not another page, not another path; the key stands neither in it nor in the home."""
    secret = create_key(Catalog(settings.home))[1]

    async def look(browser: Browser) -> None:
        answer = await browser.sign_in(secret)
        (cookie,) = answer.headers.get_list("set-cookie")
        token = cookie.partition("=")[2].partition(";")[0]

        assert {"HttpOnly", "Path=/console", "SameSite=strict"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        kept = b"".join(path.read_bytes() + path.name.encode() for path in (settings.home / "console").iterdir())
        assert secret.encode() not in kept
        assert token.encode() not in kept
        assert secret not in cookie

    use(settings, look, None)


def test_over_https_the_cookie_never_goes_in_the_open(settings: Settings) -> None:
    """As the address of the service says, whatever stands before it."""
    behind = settings.model_copy(update={"api_url": "https://lucid.example"})
    secret = create_key(Catalog(settings.home))[1]

    async def look(browser: Browser) -> None:
        answer = await browser.client.post("/console/sign-in", data={"key": secret}, headers=OWN)
        assert "Secure" in answer.headers["set-cookie"]

    use(behind, look, None)


def test_a_session_ends_with_its_key_its_time_and_by_signing_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it outlives the process that began it."""
    catalog = Catalog(settings.home)

    async def is_in(browser: Browser) -> bool:
        return (await browser.get(f"{CONSOLE}/home.json")).status_code == 200

    async def look() -> None:
        async with browsing(settings) as first, browsing(settings, None) as after_a_restart:
            assert await is_in(first)
            after_a_restart.client.cookies.set(COOKIE, first.client.cookies[COOKIE])
            await after_a_restart.services.keys.refresh()
            assert await is_in(after_a_restart)
            await first.post(f"{CONSOLE}/sign-out")
            assert not await is_in(after_a_restart)
        async with browsing(settings) as revoked:
            for key in catalog.keys.all():
                catalog.keys.revoke(key.key_id)
            await revoked.services.keys.refresh()
            assert not await is_in(revoked)
        monkeypatch.setattr(sessions, "LIFE", timedelta(seconds=-1))
        key, secret = create_key(catalog)
        async with browsing(settings, None) as late:
            await late.client.post("/console/sign-in", data={"key": secret}, headers=OWN)
            assert not await is_in(late)
        monkeypatch.undo()
        async with browsing(settings) as again:
            assert await is_in(again)
            assert 1 == len([*(settings.home / "console").iterdir()]) - 1  # that of the revoked key, not yet run out

    asyncio.run(look())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key_id": "x"}', '{"key_id": "x", "ends": "2999-01-01"}'])
def test_a_damaged_session_is_none(settings: Settings, content: str) -> None:
    """Nobody is signed in by it, and signing in goes on."""

    async def look(browser: Browser) -> None:
        (path,) = (settings.home / "console").iterdir()
        path.write_text(content)
        assert 401 == (await browser.get(f"{CONSOLE}/home.json")).status_code
        assert 303 == (await browser.sign_in(create_key(Catalog(settings.home))[1])).status_code

    use(settings, look)


@pytest.mark.parametrize(
    "back",
    ["https://elsewhere.example/", "//elsewhere.example", "/console//x", "/console/\\x", "javascript:x", "/docs"],
)
def test_signing_in_leads_nowhere_else(settings: Settings, back: str) -> None:
    """To a page of the console, whatever the address of the door says."""
    secret = create_key(Catalog(settings.home))[1]

    async def look(browser: Browser) -> None:
        answer = await browser.client.post("/console/sign-in", data={"key": secret, "back": back}, headers=OWN)
        assert f"{CONSOLE}/home" == answer.headers["location"]
        page = await browser.get(f"{CONSOLE}/sign-in", params={"back": back})
        assert f'name="back" value="{CONSOLE}/home"' in page.text

    use(settings, look, None)


def test_a_wrong_key_opens_nothing(settings: Settings) -> None:
    """It is said so, and not what a right one is."""

    async def look(browser: Browser) -> None:
        answer = await browser.sign_in("lucid_wrong")
        assert 401 == answer.status_code
        assert "no such key" in answer.text
        assert "set-cookie" not in answer.headers

    use(settings, look, None)


def test_twins_are_read_by_programs_too(home: Path) -> None:
    """With a key in the header, as all calls of the API; a page and an action want a session."""
    secret = create_key(Catalog(home), scopes=["train"])[1]

    async def look(browser: Browser) -> None:
        key = {"apikey": secret}
        answer = await browser.get(f"{CONSOLE}/models/board/report.json", headers=key)
        assert "board" == answer.json()["model"]["model_id"]
        assert 403 == (await browser.get(f"{CONSOLE}/data.json", headers=key)).status_code
        assert 303 == (await browser.get(f"{CONSOLE}/home", headers=key)).status_code
        action = await browser.client.post(f"{CONSOLE}/train", headers={**OWN, **key})
        assert f"{CONSOLE}/sign-in" == action.headers["location"]

    use(Settings(home=home), look, None)


def test_every_page_and_its_twin_say_the_same(home: Path) -> None:
    """The twin holds the page's value: every number and text of customers that the page shows of it."""

    async def look(browser: Browser) -> None:
        (batch, *_) = browser.services.catalog.batches.find()
        for path in set(PAGES) - NEEDS_PREFECT:
            page = await browser.get(address(path, batch.batch_id))
            twin = await browser.get(address(path, batch.batch_id, ".json"))
            assert (200, 200) == (page.status_code, twin.status_code), path
            assert "application/json" == twin.headers["content-type"]
            shown = [text for text in _texts(json.loads(twin.text)) if text in ("board", "Item 1", "User 1")]
            assert all(text in page.text for text in shown), path

    use(Settings(home=home), look)


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


def test_the_bare_address_leads_to_the_first_page(settings: Settings) -> None:
    """With a slash at its end or without."""

    async def look(browser: Browser) -> None:
        for path in (CONSOLE, f"{CONSOLE}/"):
            answer = await browser.get(path)
            assert (307, f"{CONSOLE}/home") == (answer.status_code, answer.headers["location"])

    use(settings, look, None)


def test_files_of_the_pages_need_no_key(settings: Settings) -> None:
    """For the door has them too, and nothing of customers stands in them."""

    async def look(browser: Browser) -> None:
        page = (await browser.get(f"{CONSOLE}/sign-in")).text
        files = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
        answers: list[httpx.Response] = [await browser.get(file) for file in files]
        assert len(files) >= 5
        assert {200} == {answer.status_code for answer in answers}

    use(settings, look, None)
