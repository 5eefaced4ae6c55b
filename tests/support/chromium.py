"""A real browser for tests: the Chromium of the system, driven by Playwright, that asks nothing but this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from axe_playwright_python.sync_playwright import Axe
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no Chromium is installed, and it cannot be installed from here: install it (Debian: apt install chromium; "
    "Ubuntu has it as a snap: snap install chromium), or let LUCID_TEST_CHROMIUM say where it is"
)
PATIENCE_SECONDS = 120
"""Of a busy machine; whatever is there sooner is used at once."""
_BAD = ("serious", "critical")
_CLOSED = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def find_chromium() -> str:
    """The browser of this machine; installed with apt where there is none and that is allowed."""
    with FileLock(Path(gettempdir()) / "lucid-tests-chromium.lock"):
        found = _installed()
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
                subprocess.run(["apt-get", *command], env=quiet, check=False, capture_output=True)
            found = _installed()
    assert found is not None, MISSING
    return found


def _installed() -> str | None:
    given = os.environ.get("LUCID_TEST_CHROMIUM")
    return given or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, which resolves no name and so reaches nothing but this machine."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments = [*sandbox, "--disable-dev-shm-usage", f"--host-resolver-rules={_CLOSED}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments, timeout=120_000)
        yield browser
        browser.close()


@contextmanager
def tab(browser: Browser, base: str, *, width: int = 1280, scheme: str = "light") -> Iterator["Tab"]:
    """A new person's browser: no cookies, a size of window, light or dark."""
    context = browser.new_context(
        base_url=base,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        accept_downloads=False,
    )
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    try:
        yield Tab(context.new_page(), base)
    finally:
        context.close()


class Tab:
    """A page of the browser, with all that it asked for and complained about."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self._base = base
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def sign_in(self, secret: str) -> None:
        """As a person does."""
        self.page.goto("/console")
        self.page.get_by_label("API key").fill(secret)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Home", exact=True).wait_for()

    def drop(self, where: str, name: str, content: str) -> None:
        """Let a file fall on an element, as from a folder beside the browser."""
        made = """([name, content]) => {
            const held = new DataTransfer();
            held.items.add(new File([content], name, {type: "text/csv"}));
            return held;
        }"""
        held = self.page.evaluate_handle(made, [name, content])
        for event in ("dragenter", "dragover", "drop"):
            self.page.dispatch_event(where, event, {"dataTransfer": held})

    def elsewhere(self) -> list[str]:
        """What it has asked of others than the service."""
        return [url for url in self.asked if not url.startswith((self._base, "data:"))]

    def barriers(self) -> list[str]:
        """What axe finds on the page that keeps people out."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in _BAD
        ]

    def is_too_wide(self) -> bool:
        """Whether one has to scroll sideways to see all of the page."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))
