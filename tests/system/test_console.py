"""The console in a real browser, on a real service: from two files to recommendations that one can account for."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from lucid.api.console.access import CONSOLE
from tests.console.pages import FRONT, PAGES, TRIED, address
from tests.support.checkerboard import ITEMS, USERS, write_checkerboard
from tests.support.chromium import PATIENCE_SECONDS, chromium, tab
from tests.support.service import Service, wait_until

expect.set_options(timeout=PATIENCE_SECONDS * 1000)
TRAINING_SECONDS = 300
HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> [a](javascript:alert(3)) \u202eevil'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("console") / "home", prefect_database)
    service.start()
    service.key = service.first_key()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def files_with_a_bad_row(folder: Path) -> list[Path]:
    """The checkerboard, with a hostile name, and with a row that cannot be read."""
    entities, interactions = write_checkerboard(folder)
    with entities.open("a", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["u90", "user", HOSTILE, "", "https://pictures.example/u90.png"])
        rows.writerow(["u91", "user", "No picture", "", "ftp://not-a-picture"])
    with interactions.open("a") as file:
        file.write("likes,u90,i00,,\nlikes,u90,i02,,\n")
    return [entities, interactions]


def train(page: Page) -> None:
    """Press the button, and watch until the training has ended well."""
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("#progress progress").first).to_be_visible()
    expect(page.locator("#progress .mark.good").filter(has_text="completed").first).to_be_visible(
        timeout=TRAINING_SECONDS * 1000
    )


def expect_model(service: Service, folder: Path) -> None:
    """See that there is a model that answers, as the first test leaves it, where a test runs by itself."""
    with service.client(service.key) as client:
        if not client.get("/models").json():
            files = [("files", (path.name, path.read_bytes())) for path in files_with_a_bad_row(folder)]
            client.post("/data_batch", files=files).raise_for_status()
            client.post("/train", json={"model_id": "board"}).raise_for_status()
        wait_until(lambda: client.get("/models").json()[0]["live_version"], TRAINING_SECONDS, "the model")
        client.post("/placements", json=FRONT).raise_for_status()
        if not client.get("/experiments").json():
            client.post("/experiments", json=TRIED).raise_for_status()


def test_from_two_files_to_recommendations(service: Service, browser: Browser, tmp_path: Path) -> None:
    """Sign in, upload with a bad row and see which, dry run, train and watch, find somebody by name, read why."""
    with tab(browser, f"http://127.0.0.1:{service.api_port}") as person:
        page = person.page
        person.sign_in(service.key)

        page.get_by_role("link", name="Data", exact=True).click()
        page.locator("input[type=file]").set_input_files(files_with_a_bad_row(tmp_path / "files"))
        page.get_by_label("Tags, separated by commas").fill("first")
        page.get_by_role("button", name="Upload").click()
        uploaded = page.locator("#uploaded")
        expect(uploaded).to_contain_text("51 entities")
        expect(uploaded).to_contain_text("1 bad rows")
        bad = uploaded.locator("tbody tr")
        expect(bad).to_have_count(1)
        expect(bad).to_contain_text("53")  # the header, fifty entities, and one before it
        expect(bad).to_contain_text("media_url")
        expect(bad).to_contain_text("ftp://not-a-picture")

        page.get_by_role("link", name="Train", exact=True).click()
        page.get_by_label("Name of the model").fill("board")
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("#estimate")).to_contain_text("What this training would take")
        expect(page.locator("#estimate")).to_contain_text("31")
        train(page)

        page.get_by_role("link", name="Explore", exact=True).first.click()
        page.get_by_label("Name or id").press_sequentially("alert(1)")
        found = page.locator("#found a")
        expect(found).to_have_count(1)
        expect(found).to_contain_text(HOSTILE)  # as text
        found.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        answers = page.locator("ol.suggestions > li")
        expect(answers.first).to_contain_text("Item")
        expect(answers.first).to_contain_text("because of")
        expect(answers.first).to_contain_text("likes")
        expect(page.get_by_role("heading", name="What is popular")).to_be_visible()
        expect(page.get_by_role("heading", name="What is like it")).to_be_visible()
        expect(page.locator("img")).to_have_count(0)
        expect(page.get_by_text("Pictures are not shown")).to_contain_text("https://pictures.example")

        assert [] == person.elsewhere()
        assert [] == person.complaints


def test_a_version_is_held_compared_promoted_and_rolled_back(
    service: Service, browser: Browser, tmp_path: Path
) -> None:
    """With a gate that lets no list change, other data make a version that waits for a person, who decides twice."""
    expect_model(service, tmp_path / "files")
    rows = [
        f"likes,u{user:02},i{item:02},," for user in range(USERS) for item in range(ITEMS) if (user + item) % 3 == 0
    ]
    other = "\n".join(["type,source_id,target_id,timestamp,metadata", *rows]) + "\n"
    with tab(browser, f"http://127.0.0.1:{service.api_port}") as person:
        page = person.page
        person.sign_in(service.key)
        page.goto(f"{CONSOLE}/models/board/gate")
        page.get_by_label("Lists that may change").fill("0")
        page.get_by_role("button", name="Set the gate").click()
        expect(page.get_by_text("Somebody has set them")).to_be_visible()

        page.get_by_role("link", name="Data", exact=True).click()
        person.drop("form.drop", "other.csv", other)
        page.get_by_role("button", name="Upload").click()
        expect(page.locator("#uploaded")).to_contain_text("completed")
        page.goto(f"{CONSOLE}/train?model_id=board")
        train(page)
        expect(page.locator("#progress")).to_contain_text("is held")
        page.get_by_role("link", name="See why, and decide").click()
        waiting = page.get_by_role("status")
        expect(waiting).to_contain_text("waits for you")
        expect(waiting).to_contain_text("lists")

        waiting.get_by_role("link", name="Compare it with what answers").click()
        expect(page.get_by_role("heading", name="How the answers moved")).to_be_visible()
        expect(page.get_by_role("heading", name="Came into most lists").first).to_be_visible()
        page.get_by_role("link", name="Versions", exact=True).click()
        page.get_by_role("button", name="Promote version").click()
        answers = page.locator("tbody tr", has_text="answers")
        expect(answers).to_have_count(1)
        promoted = answers.get_by_role("rowheader").inner_text()
        page.get_by_role("button", name="Roll back to version").first.click()
        expect(answers).to_have_count(1)
        expect(answers.get_by_role("rowheader")).not_to_have_text(promoted)

        assert [] == person.elsewhere()
        assert [] == person.complaints


def test_a_file_that_cannot_be_used_is_explained(service: Service, browser: Browser) -> None:
    """On the page, where it was dropped; and nothing of it is there."""
    with tab(browser, f"http://127.0.0.1:{service.api_port}") as person:
        person.sign_in(service.key)
        person.page.get_by_role("link", name="Data", exact=True).click()
        person.drop("form.drop", "useless.csv", "a,b\n1,2\n")
        person.page.get_by_role("button", name="Upload").click()

        expect(person.page.locator("#uploaded").get_by_role("alert")).to_contain_text("useless.csv")
        person.page.reload()
        expect(person.page.get_by_role("heading", name="Batches")).to_be_visible()
        expect(person.page.get_by_text("useless.csv")).to_have_count(0)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_nobody_is_kept_out_of_a_page(
    service: Service, browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    """Each page in light and dark, on a desk and on a phone: axe finds nothing serious, and nothing is cut off."""
    expect_model(service, tmp_path / "files")
    with service.client(service.key) as client:
        (batch, *_) = client.get("/data_batch").json()
    with tab(browser, f"http://127.0.0.1:{service.api_port}", width=width, scheme=scheme) as person:
        person.page.goto(f"{CONSOLE}/sign-in")
        barriers = {"sign-in": person.barriers()}
        person.sign_in(service.key)
        wide = []
        for path in PAGES:
            person.page.goto(address(path, batch["batch_id"]), wait_until="networkidle")
            barriers[path] = person.barriers()
            wide += [path] if person.is_too_wide() else []

        assert {} == {path: found for path, found in barriers.items() if found}
        assert [] == wide
        assert [] == person.elsewhere()
        assert [] == person.complaints


def test_the_keyboard_is_enough(service: Service, browser: Browser, tmp_path: Path) -> None:
    """The first Tab skips to the content, all that can be pressed is reached, and what has the focus shows it."""
    expect_model(service, tmp_path / "files")
    with tab(browser, f"http://127.0.0.1:{service.api_port}") as person:
        page = person.page
        page.goto(f"{CONSOLE}/sign-in")
        page.get_by_label("API key").focus()
        page.keyboard.type(service.key)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Home", exact=True).wait_for()

        page.keyboard.press("Tab")
        expect(page.locator(":focus")).to_have_text("To the content")
        page.keyboard.press("Enter")
        expect(page.locator(":focus")).to_have_id("main")

        page.goto(f"{CONSOLE}/explore")
        reached, outlines = set(), set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
            outlines.add(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
        assert {"q", "entity_type", "model_id", "Find", "Sign out"} <= reached
        assert "none" not in outlines - {page.evaluate("getComputedStyle(document.body).outlineStyle")}


def patiently(call: Callable[[], httpx.Response]) -> Any:
    """What a call answers that needs Prefect, asked again while that has too much to do."""

    def answer() -> httpx.Response | None:
        found = call()
        return None if found.status_code == 503 else found

    return wait_until(answer, PATIENCE_SECONDS, "Prefect").raise_for_status().json()


def test_what_runs_tonight_is_told(service: Service, tmp_path: Path) -> None:
    """Of all models and of the home, what people have scheduled and what waits for uploads included."""
    expect_model(service, tmp_path / "files")
    tonight = f"http://127.0.0.1:{service.api_port}{CONSOLE}/tonight.json"
    nightly, quiet = {"work": "train", "cron": "30 2 * * *", "timezone": "UTC"}, {"quiet_seconds": 86_400}
    with service.client(service.key) as client:
        schedule = patiently(lambda: client.post("/models/board/schedules", json=nightly))
        patiently(lambda: client.put("/models/board/auto_train", json=quiet))
        told = patiently(lambda: client.get(tonight))
        patiently(lambda: client.delete(f"/models/board/schedules/{schedule['schedule_id']}"))

    soon = {(one["work"], one["model_id"]): one["next_run"] for one in told["soon"]}
    assert {("refresh", None), ("maintain", None), ("train", "board")} == soon.keys()
    assert schedule["next_runs"][0] == soon["train", "board"]
    assert sorted(soon.values()) == [one["next_run"] for one in told["soon"]]
    assert ("train after uploads", "board") in {(one["work"], one["model_id"]) for one in told["later"]}
    assert [] == told["paused"]


def test_another_page_can_do_nothing(service: Service, browser: Browser) -> None:
    """A form on a page of another port of this machine, sent by a browser that is signed in, is refused."""
    base = f"http://127.0.0.1:{service.api_port}"
    with tab(browser, base) as person:
        person.sign_in(service.key)
        target = f"{base}{CONSOLE}/models/board/rollback"
        form = f'<form method="post" action="{target}"><button>x</button></form>'
        person.page.route("http://127.0.0.1:9/*", lambda route: route.fulfill(body=form, content_type="text/html"))
        person.page.goto("http://127.0.0.1:9/")
        person.page.get_by_role("button").click()
        expect(person.page.locator("body")).to_contain_text("may not ask this server")
