"""Where pages lead: links, anchors, paths of files, words of the glossary."""

from pathlib import Path

import pytest

from tests.support.pages import DOCS, PAGES, ROOT, anchors, links, paths, table, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_titles(page: Path) -> None:
    """Every relative link names a file of the repository, and a title of it where it names one."""
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("https://") and (
            not target.exists() or (anchor and anchor not in anchors(target.resolve()))
        ):
            broken.append(link)

    assert [] == broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Every file and folder that a page names is there, or is one that people make and git ignores."""
    made = (ROOT / ".gitignore").read_text().splitlines()

    assert [] == [path for path in paths(page) if not (ROOT / path).exists() and path not in made]


def test_the_readme_is_short() -> None:
    """What takes more than 120 lines to say stands in docs/."""
    assert 120 >= len((ROOT / "README.md").read_text().splitlines())


def test_every_page_is_reached() -> None:
    """The overview links to every page of docs/, and the README to the overview."""
    reached = {(DOCS / link).name for link in links(DOCS / "index.md")}

    assert "docs/index.md" in links(ROOT / "README.md")
    assert [] == [page.name for page in DOCS.glob("*.md") if page.name not in {*reached, "index.md"}]


def test_the_glossary_is_in_order_and_says_where() -> None:
    """Words stand in alphabetical order, once each, with a file that holds them."""
    rows = table("glossary.md", "word", "meaning", "where")
    named = [row[0] for row in rows]

    assert sorted(set(named), key=str.lower) == named
    assert [] == [row[0] for row in rows if not row[1] or len(words(row[2])) != 1]


def test_the_glossary_has_the_words_of_the_contract() -> None:
    """Every word for a thing that customers meet has its sentence."""
    contract = "entity,entity type,interaction,interaction type,batch,tag,model,version,pair,score,source,target".split(
        ","
    )
    assert set(contract) <= {row[0] for row in table("glossary.md", "word", "meaning", "where")}


def test_both_lists_of_packages_are_complete() -> None:
    """The README has a line, and the design page a row, for every package."""
    folders = [init.parent for init in (ROOT / "lucid").glob("*/__init__.py")]
    packages = {f"lucid/{folder.name}" for folder in folders if not folder.is_symlink()}
    readme = {
        line.split()[0]
        for line in (ROOT / "README.md").read_text().splitlines()
        if line[:1].islower() and "(" not in line.split()[0]
    }
    others = {"api/", "flows/", "tests/", "docs/", "deploy/", "benchmarks/"}

    assert packages | others == {word for word in readme if "/" in word}
    listed = {word for row in table("design.md", "package", "holds") for word in words(row[0])}
    assert packages - {"lucid/demo"} | {"api", "flows"} == listed
