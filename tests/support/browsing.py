"""A browser's part in talking to the console, without a browser: cookies, forms with their token, a page's links."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import httpx

from lucid.api.app import create_app
from lucid.api.services import Services, services_of
from lucid.keys import SCOPES, create_key
from lucid.settings import Settings
from lucid.store.catalog import Catalog

ORIGIN = "http://test"
OWN = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
"""What browsers send with a form of one of our own pages."""


@dataclass
class Browser:
    """A client that keeps its cookies, and may be signed in."""

    client: httpx.AsyncClient
    services: Services
    csrf: str = ""

    async def sign_in(self, secret: str) -> httpx.Response:
        """Sign in with a key, and note what the forms carry."""
        answer = await self.client.post("/console/sign-in", data={"key": secret}, headers=OWN)
        if answer.status_code == 303:
            page = await self.get("/console/home")
            (self.csrf,) = set(re.findall(r'name="csrf" value="(\w+)"', page.text))
        return answer

    async def get(self, path: str, **arguments: Any) -> httpx.Response:
        return await self.client.get(path, **arguments)

    async def post(self, path: str, **fields: Any) -> httpx.Response:
        """Send a form as one of our own pages does."""
        return await self.client.post(path, data={"csrf": self.csrf, **fields}, headers=OWN)


@asynccontextmanager
async def browsing(settings: Settings, scopes: Sequence[str] | None = SCOPES) -> AsyncIterator[Browser]:
    """A browser on an application of its own; signed in with a key that has these scopes, None for nobody."""
    app = create_app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ORIGIN) as client:
        browser = Browser(client, services_of(app))
        if scopes is not None:
            await browser.sign_in(create_key(Catalog(settings.home), scopes=scopes)[1])
        yield browser
        await browser.services.runs.close()


def use(settings: Settings, what: Callable[[Browser], Awaitable[None]], scopes: Sequence[str] | None = SCOPES) -> None:
    """Do something with a browser on an application of its own, as `browsing` opens it."""

    async def session() -> None:
        async with browsing(settings, scopes) as browser:
            await what(browser)

    asyncio.run(session())


class Elements(HTMLParser):
    """The elements of a page, each with its attributes, and the text that people see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data
