"""Placements in the console: rules in words, as they are written, changed, previewed and ended."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lucid.api.console.access import CONSOLE
from lucid.api.console.rules_in_words import RuleInWords, in_words
from lucid.schema.placements import PlacementRules, request_of
from lucid.schema.placements_yaml import parse_placement, write_yaml
from lucid.settings import Settings
from lucid.workspace import Workspace
from tests.console.pages import FRONT
from tests.support.browsing import Browser, Elements, use
from tests.support.checkerboard import train_checkerboard

HERE = f"{CONSOLE}/placements"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the model `board` and the placement `front`; to be copied, never changed."""
    folder = tmp_path_factory.mktemp("placements")
    workspace = train_checkerboard(Workspace(folder / "home"), folder / "files")
    workspace.save_placement(FRONT)
    return folder / "home"


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Settings:
    """A copy of that home."""
    shutil.copytree(trained, tmp_path / "home")
    return Settings(home=tmp_path / "home")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({}, []),
        (
            {"target_filter": [{"field": "metadata.adult", "op": "ne", "value": True}]},
            [RuleInWords("target_filter", "Shows only targets of which metadata.adult is not true")],
        ),
        (
            {"exclude_interacted": False, "exclude": [{"interaction_type": "buy", "days": 30}]},
            [
                RuleInWords(
                    "exclude_interacted",
                    "Shows also what the source interacted with, whatever the question says",
                ),
                RuleInWords("exclude", "Leaves out what the source has an interaction 'buy' with, in the last 30 days"),
            ],
        ),
        (
            {
                "quotas": [
                    {"each": "metadata.brand", "at_most": 2, "of": 10},
                    {"when": [{"field": "metadata.new", "op": "exists"}], "at_least": 1, "of": 5, "name": "news"},
                ],
                "pin": [{"id": "i1", "rank": 3}],
            },
            [
                RuleInWords("pin", "Puts 'i1' at rank 3", "pin"),
                RuleInWords("quotas", "Of each 10 rows, shows at most 2 with the same metadata.brand", "quota.0"),
                RuleInWords("quotas", "Of each 5 rows, shows at least 1 of which metadata.new is there", "news"),
            ],
        ),
        (
            {
                "boost": [
                    {"when": [{"field": "type", "op": "in", "value": ["a", "b"]}], "factor": 1.5},
                    {
                        "when": [
                            {"field": "name", "op": "contains", "value": "x", "for_type": "a"},
                            {"field": "metadata.n", "op": "lt", "value": 3},
                        ],
                        "factor": 2,
                    },
                ],
                "bury": [{"when": [{"field": "id", "op": "eq", "value": "i1"}]}],
                "fresh": {"by": "last_interaction", "half_life_days": 30, "weight": 0.3},
                "diversity": {"lambda": 0.7},
                "explore": {"share": 0.05, "among": 50},
            },
            [
                RuleInWords("explore", "Draws 5.0% of the rows at random among the 50 best", "explore"),
                RuleInWords(
                    "diversity", "Makes rows differ from those above (lambda 0.7), among the 200 best", "diversity"
                ),
                RuleInWords(
                    "boost", "Multiplies the score with 1.5 of targets of which type is one of 'a', 'b'", "boost.0"
                ),
                RuleInWords(
                    "boost",
                    "Multiplies the score with 2 of targets of which name contains 'x' (only for the type 'a') and "
                    "metadata.n is less than 3",
                    "boost.1",
                ),
                RuleInWords("bury", "Puts targets behind all others of which id is 'i1'", "bury.0"),
                RuleInWords(
                    "fresh",
                    "Lets 30% of the score fade by half each 30 days of age, which last_interaction tells",
                    "fresh",
                ),
            ],
        ),
    ],
)
def test_rules_are_told_in_words(rules: dict[str, Any], told: list[RuleInWords]) -> None:
    """Those first that win, each with the name that rows say; what is to be had is always spoken of."""
    found = in_words(PlacementRules.model_validate(rules))

    assert told == [rule for rule in found if rule.kind != "available"]
    assert ["Leaves out what is not to be had at the time"] == [one.does for one in found if one.kind == "available"]


def test_a_placement_has_its_page(home: Settings) -> None:
    """Listed; its rules in words and as YAML that can be saved again; and versions by number, also once it ended."""

    async def look(browser: Browser) -> None:
        (line,) = (await browser.get(f"{HERE}.json")).json()["placements"]
        assert ("front", 1, ["pin", "bury", "quotas"]) == (
            line["placement"]["name"],
            line["placement"]["version"],
            line["kinds"],
        )
        page = (await browser.get(f"{HERE}/front/rules.json")).json()
        assert ["available", "pin", "quotas", "bury"] == [rule["kind"] for rule in page["rules"]]
        assert FRONT == request_of(parse_placement(page["yaml"]))
        assert 404 == (await browser.get(f"{HERE}/front/rules?version=9")).status_code
        assert 404 == (await browser.get(f"{HERE}/none/rules")).status_code

        assert 303 == (await browser.post(f"{HERE}/front/retire")).status_code
        assert "ended it" in (await browser.get(f"{HERE}/front/rules")).text
        assert "Puts &#39;i03&#39; at rank 1" in (await browser.get(f"{HERE}/front/rules?version=1")).text
        assert [] == (await browser.get(f"{HERE}.json")).json()["placements"]

    use(home, look)


def test_rules_are_written_and_errors_shown_beside(home: Settings) -> None:
    """A new version from the text of the last one; what is wrong is said, and nothing of it is saved."""

    async def look(browser: Browser) -> None:
        page = (await browser.get(f"{HERE}/edit?reference=front")).text
        text = html.unescape(re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)[1])  # type: ignore[index]
        assert FRONT["pin"] == parse_placement(text).model_dump(exclude_defaults=True)["pin"]
        changed = text.replace("rank: 1", "rank: 2").replace("\n", "\r\n")  # as browsers send it

        saved = await browser.post(HERE, rules=changed, model_id="board", checked="true")
        assert (303, f"{HERE}/front/rules") == (saved.status_code, saved.headers["location"])
        assert (2, 2) == ((found := browser.services.placements.find("front")).version, found.pin[0].rank)
        by_htmx = {"HX-Request": "true", "X-CSRF-Token": browser.csrf, "Origin": "http://test"}
        part = await browser.client.post(HERE, data={"rules": changed}, headers=by_htmx)
        assert (204, f"{HERE}/front/rules") == (part.status_code, part.headers["hx-redirect"])

        for wrong, said in (
            ("name: front\npin: [", "not YAML"),
            ("name: front\npinn: []", "did you mean &#39;pin&#39;?"),
            ("name: front\npin: [{id: i03, rank: 0}]", "pin.0.rank: found 0, expected 1 or more"),
            ("name: a/b", "must be 1 to 64"),
            ("name: front\nboost: [{when: [{field: metadata.brand, op: eq, value: x}], factor: 2}]", "brand"),
        ):
            answer = await browser.client.post(
                HERE, data={"rules": wrong, "model_id": "board", "checked": "true"}, headers=by_htmx
            )
            assert (422, True) == (answer.status_code, said in answer.text), answer.text
            assert "<html" not in answer.text
        assert 2 == browser.services.placements.find("front").version
        unchecked = {"rules": wrong, "model_id": "board"}
        assert 303 == (await browser.post(HERE, **unchecked)).status_code
        assert 3 == browser.services.placements.find("front").version

    use(home, look)


def test_the_example_beside_the_text_can_be_saved(home: Settings) -> None:
    """All of it, and what a new placement begins with."""

    async def look(browser: Browser) -> None:
        page = await browser.get(f"{HERE}/edit")
        example = html.unescape(re.search(r"<pre[^>]*><code>(.*?)</code>", page.text, re.DOTALL)[1])  # type: ignore[index]
        written = parse_placement(example)
        assert {*PlacementRules.model_fields, "precompute"} == written.model_fields_set - {"name", "note"} | {"explore"}
        assert "home" == parse_placement((await browser.get(f"{HERE}/edit.json")).json()["yaml"]).name

    use(home, look)


def test_two_rule_sets_stand_side_by_side(home: Settings) -> None:
    """As the API previews them: saved ones, or what is in the form and saved nowhere; by default beside no rules."""
    expected = (
        Workspace(settings=home)
        .preview_placements("board", ["u02"], target_type="item", b="front")
        .model_dump(mode="json")
    )

    async def look(browser: Browser) -> None:
        page = (await browser.get(f"{HERE}/front/preview.json?source_id=u02")).json()
        assert expected == page["preview"]
        assert ["User 2"] == [one["name"] for one in page["sources"]]
        assert ("i03", ["pin"]) == tuple(page["preview"]["sources"][0]["b"][0][name] for name in ("target_id", "rules"))
        text = (await browser.get(f"{HERE}/front/preview?source_id=u02&source_id=nobody")).text
        assert all(said in text for said in ("Without rules", "With front@1", "bury.0", "does not know", "nobody"))
        same = (await browser.get(f"{HERE}/front/preview.json?source_id=u02&a=front@1&b=front")).json()["preview"]
        assert 1 == same["shared"]

        form = {"rules": "name: front\npin: [{id: i05, rank: 1}]", "model_id": "board", "reference": "front@1"}
        unsaved = await browser.post(f"{HERE}/preview", **form, source_id="u02")
        assert "With the rules above" in unsaved.text
        assert "Item 5" in unsaved.text
        assert 1 == browser.services.placements.find("front").version
        assert 422 == (await browser.post(f"{HERE}/preview", **form)).status_code
        assert (
            404 == (await browser.post(f"{HERE}/preview", **{**form, "model_id": "../x"}, source_id="u02")).status_code
        )
        assert 404 == (await browser.get(f"{HERE}/front/preview?source_id=nobody")).status_code
        assert "Name somebody" in (await browser.get(f"{HERE}/front/preview")).text

    use(home, look)


def test_what_people_wrote_is_text(home: Settings) -> None:
    """Notes, names of rules, values and ids of a placement never become elements of its pages."""
    hostile = "<b>x</b> \u202eevil"
    when = [{"field": "metadata.colour", "op": "eq", "value": hostile}]
    rules = {
        "name": "front",
        "note": hostile,
        "pin": [{"id": hostile, "rank": 2}, {"id": "i03", "rank": 1, "name": hostile}],
        "boost": [{"when": when, "factor": 2, "name": hostile}],
        "exclude": [{"interaction_type": hostile}],
    }

    async def look(browser: Browser) -> None:
        browser.services.placements.save(parse_placement(str(rules)), browser.services.placements.find("front").created)
        for where in ("", "/front/rules", "/edit?reference=front", "/front/preview?source_id=u02"):
            page = Elements((await browser.get(HERE + where)).text)
            assert "b" not in {tag for tag, _ in page.found}, where
            assert "<b>x</b>" in page.text, where

    use(home, look)


def test_who_may_only_ask_reads_and_previews(home: Settings) -> None:
    """Nothing is there to be written."""

    async def look(browser: Browser) -> None:
        for where in ("", "/front/rules"):
            text = (await browser.get(HERE + where)).text
            assert "placements/edit" not in text
            assert "retire" not in text
        assert (
            403 == (await browser.post(HERE, rules=write_yaml(browser.services.placements.find("front")))).status_code
        )
        assert 200 == (await browser.get(f"{HERE}/front/preview?source_id=u02")).status_code

    use(home, look, ("recommend",))
