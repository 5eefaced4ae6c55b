"""The site of `make docs`: built without a warning and without the network, it asks no other host for anything."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy.pages import POLICY
from tests.support.pages import ROOT

_BUILD = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise RuntimeError(f"the build uses the network: {event} {arguments}")

sys.addaudithook(refuse)
from mkdocs.__main__ import cli
cli()
"""
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""Attributes by which elements load something at once; those of `link` load whatever it is."""


class Loads(HTMLParser):
    """What a page asks a browser to load, and which of it would come from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        address = found.get("href" if tag == "link" else _LOADED.get(tag, ""))
        self.addresses += [one for one in (address, found.get("srcset"), found.get("data-src")) if one]

    def elsewhere(self) -> list[str]:
        return [address for address in self.addresses if re.match(r"([a-z]+:)?//", address)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it, in another folder."""
    folder = tmp_path_factory.mktemp("site")
    arguments = ["build", "--strict", "--config-file", str(ROOT / "deploy" / "mkdocs.yml"), "--site-dir", str(folder)]
    built = subprocess.run(
        [sys.executable, "-c", _BUILD, *arguments], capture_output=True, text=True, check=False, cwd=folder
    )
    assert 0 == built.returncode, built.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for page in site.rglob("*.html"):
        yield page, page.read_text()


def test_the_site_has_every_page(site: Path) -> None:
    """Those of docs/, and those that lie elsewhere."""
    expected = {page.with_suffix(".html").name for page in (ROOT / "docs").glob("*.md")}

    assert expected | {"SECURITY.html", "benchmarks/LOG.html", "404.html"} == {
        page.relative_to(site).as_posix() for page, _ in pages(site)
    }


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    """Neither scripts, styles, fonts nor pictures; links that a reader may follow are no loading."""
    elsewhere = {}
    for page, text in pages(site):
        loads = Loads()
        loads.feed(text)
        elsewhere[page.name] = loads.elsewhere()
        assert loads.addresses

    assert {} == {page: found for page, found in elsewhere.items() if found}


def test_styles_load_nothing_from_other_hosts(site: Path) -> None:
    """No style imports or draws anything that did not come with it."""
    styles = [style.read_text() for style in site.rglob("*.css")] + [text for _, text in pages(site)]

    assert [] == re.findall(r"(?:url\(\s*[\"']?|@import\s+[\"'])(?:[a-z]+:)?//[^)]*", "".join(styles))


def test_browsers_are_told_to_load_nothing_else(site: Path) -> None:
    """Scripts of the theme name other hosts, for diagrams and old browsers; every page forbids to ask them."""
    assert "http" not in POLICY
    for _, text in pages(site):
        assert text.index(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">') < text.index("<script")
        assert 'class="mermaid"' not in text
