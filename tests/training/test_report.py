"""The training report as Markdown: whatever customers name things, it shows the names and does nothing else."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lucid.flows.names import run_name
from lucid.training.markdown import escaped
from lucid.training.report import TrainingReport
from lucid.training.report_page import as_markdown

_CONSTRUCTS = [
    *("![x](http://a.example/i.png)", "[x](http://a.example)", "[x][y]", "[x]: http://a.example", "![x]"),
    *(
        "<http://a.example>",
        "<a@b.example>",
        "<img src=//a.example>",
        "</td>",
        "<!-- x -->",
        "&lt;b&gt;",
        "&#124;",
        "&",
    ),
    *(
        "http://a.example",
        "HTTPS://a.example/?x=1",
        "ftp://a.example",
        "www.a.example",
        "a@b.example",
        "xmpp:a@b.example",
    ),
    *("`code`", "``", "*a*", "**a**", "__a__", "_a_", "~~a~~", "$x$", ":smile:", "==a==", "^a^", "{a}"),
    *(
        "# a",
        "a #",
        "- a",
        "+ a",
        "* a",
        "1. a",
        "1) a",
        "> a",
        "---",
        "===",
        "***",
        "    a",
        "```",
        "~~~",
        "[ ] a",
        "- [x] a",
    ),
    *("a|b", "|", "||", "\\|", "\\\\|", "\\", "\\\\", "a\\", "|---|", "| a |\n|---|", "\\`", "\\<b>"),
    *("a\nb", "a\n\nb", "a\r\nb", "a\rb", "a  \nb", "a\\\nb", "\n# a", "\n", " a ", "\ta\t", "a\tb", " ", "\xa0a\xa0"),
    *(
        "a\u2028b",
        "\u2028",
        "a\u2029b",
        "\u2029",
        "a\x85b",
        "\x0b",
        "a\x0cb",
        "\x1c",
        "\ufeffa",
        "\u202ea",
        "🙂",
        "items",
    ),
]
_NAMES = st.one_of(
    st.sampled_from(_CONSTRUCTS),
    st.lists(st.one_of(st.sampled_from(_CONSTRUCTS), st.text(max_size=3)), max_size=4).map("".join),
    st.text(st.sampled_from("\\|`*_[]()<>!#&;:/.@~-+ \n\r\tahtpw1"), max_size=12),
).filter(bool)
_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(name: str) -> str:
    """A name as a page can show it: control characters have no place there."""
    return "".join("\ufffd" if control(letter) else letter for letter in name)


def control(letter: str) -> bool:
    return (letter < " " and letter not in "\t\n\r") or "\x7f" <= letter <= "\x9f"


def report_on(name: str) -> TrainingReport:
    """A report in which everything that customers name is named so."""
    judged = {"ndcg": 0.5, "recall": 0.25, "hit_rate": 0.75, "sources": 7}
    pair = {"source_type": name, "target_type": name, "answered_by": name, "calibration_error": 0.1, "cold": None}
    weights = {"damping": 0.5, "repeats": 0, "half_life": 86400.0, "relations": {name: 1.0}}
    raw = {
        "format": 2,
        "model_id": name,
        "version": 1,
        "steps": [{"step": name, "kept": 1234, "removed": 0, "examples": [name]}],
        "drift": [{"code": "new_type", "batch_id": "b1", "message": name, "figures": {}, "examples": []}],
        "keys": [
            {
                "key": name,
                "use": name,
                "reason": name,
                "entities": 2,
                "values": 2,
                "distinct": 1,
                "examples": [name],
            }
        ],
        "graph": {
            "entities": 3,
            "entity_types": [name, name],
            "edges": [{"source_type": name, "relation": name, "target_type": name, "count": 5}],
            "pairs": [[name, name]],
        },
        "chosen": {
            "weightings": [weights, weights],
            "default_filter": {
                "sign_mode": "positive",
                "rank": 4,
                "ridge": 0.1,
                "degree_exponent": 0.5,
                "learned_gain": [],
            },
            "tried": [],
            "learned_filters": [{"source_type": name, "target_type": name, "plain": 0.1, "learned": 0.2, "kept": True}],
        },
        "pairs": [{**pair, "model": judged, "popularity": judged, "item_knn": judged}],
    }
    return TrainingReport.from_json(raw)


def blocks(tokens: list[Token]) -> list[str]:
    return [token.type for token in tokens]


def inner(tokens: list[Token]) -> set[str]:
    return {child.type for token in tokens for child in token.children or ()}


def cells(tokens: list[Token]) -> Iterator[str]:
    """The text of each table cell."""
    for before, token in pairwise(tokens):
        if before.type in ("td_open", "th_open"):
            yield "".join(child.content for child in token.children or ())


PLAIN = _MARKDOWN.parse(as_markdown(report_on("plain")))


def check_report(name: str) -> None:
    found = _MARKDOWN.parse(as_markdown(report_on(name)))

    assert blocks(PLAIN) == blocks(found)
    assert inner(PLAIN) | {"text"} == inner(found) | {"text"}
    assert [cell.replace("plain", shown(name)) for cell in cells(PLAIN)] == list(cells(found))
    heading = next(token for token in found if token.type == "inline")
    assert f"Model {shown(name)}, version 1" == "".join(child.content for child in heading.children or ())


@pytest.mark.parametrize("name", _CONSTRUCTS)
def test_a_report_shows_names_as_they_are(name: str) -> None:
    """Whatever Markdown a name looks like, headings and tables are as with a plain one, and cells are the name."""
    check_report(name)


@examples(deadline=None)
@given(_NAMES)
def test_a_report_shows_any_name_as_it_is(name: str) -> None:
    """The same for what nobody thought of."""
    check_report(name)


@examples(deadline=None)
@given(_NAMES)
def test_an_escaped_text_is_one_line_of_text_wherever_it_stands(name: str) -> None:
    """As a whole document it is a paragraph of nothing but text, and no address in it can be made a link of."""
    markdown = escaped(name)
    found = _MARKDOWN.parse(f"x{markdown}x")

    assert ["paragraph_open", "inline", "paragraph_close"] == blocks(found)
    assert {"text"} == inner(found)
    assert f"x{shown(name)}x" == "".join(child.content for child in found[1].children or ())
    assert blocks(_MARKDOWN.parse(markdown)) in ([], ["paragraph_open", "inline", "paragraph_close"])
    assert [] == re.findall(r"(?<!\\)://|www\.|(?<!\\)@|[\n\r\u2028\u2029]", markdown.lower())


@examples(deadline=None)
@given(_NAMES)
def test_the_name_of_a_run_is_one_short_line(name: str) -> None:
    """Lists of runs stay lists, whatever a file is called."""
    found = run_name("import", name, "b" * 500)

    assert found.isprintable()
    assert len(found) <= 160
