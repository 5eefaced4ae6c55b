"""What people read, taken apart: tables, code, links, paths."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")), ROOT / "SECURITY.md")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?<![\w/.{-])(?:lucid|api|flows|tests|docs|deploy|benchmarks)/[\w./-]*")


@dataclass(frozen=True)
class Block:
    """A fenced block of code, and the line on which it begins."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def table(page: str, *header: str) -> list[list[str]]:
    """The cells of the one table with this header on a page of `docs/`, row by row."""
    head = re.escape("| " + " | ".join(header) + " |")
    (found,) = re.findall(rf"^{head}\n\|[-|: ]+\|\n((?:\|.*\|\n?)+)", (DOCS / page).read_text(), re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in found.splitlines()]


def words(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def column(page: str, *header: str, of: int = 0) -> list[str]:
    """All that stands in backticks in one column of a table."""
    return [word for row in table(page, *header) for word in words(row[of])]


def paragraph(page: str, beginning: str) -> str:
    """The paragraph of a page of `docs/` that begins so."""
    (found,) = [text for text in (DOCS / page).read_text().split("\n\n") if text.startswith(beginning)]
    return found


def blocks(language: str) -> list[Block]:
    """All blocks of code in a language, page by page."""
    return [block for page in PAGES for block in _blocks(page) if block.language == language]


def typed(page: str, program: str) -> list[str]:
    """The commands on a page of `docs/` that call a program, each on one line."""
    shell = [block.text.replace("\\\n", "") for block in blocks("sh") if block.page == DOCS / page]
    return [line for text in shell for line in text.splitlines() if line.startswith(program)]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _FENCED.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead."""
    return re.findall(r"\]\(([^)\s]+)\)", _FENCED.sub("", page.read_text()))


def anchors(page: Path) -> set[str]:
    """The places of a page that links can name."""
    titles = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def paths(page: Path) -> list[str]:
    """Files and folders of the repository that a page names, wherever they stand in it."""
    return [found.rstrip(".") for found in _PATH.findall(re.sub(r"https?://\S+|\]\([^)]*\)", "", page.read_text()))]
