"""Placements as files and as YAML: versions that never change, and words for what is wrong."""

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lucid.errors import Damaged, InvalidRequest, UnknownPlacement
from lucid.placements.files import Placements
from lucid.schema.fields import check
from lucid.schema.placements import PlacementRequest, dump
from lucid.schema.placements_yaml import parse_placement, read_placement, write_yaml

NOW = datetime(2026, 5, 4, 12, 30, tzinfo=UTC)


def rules(name: str = "home", rank: int = 1) -> PlacementRequest:
    return check(PlacementRequest, {"name": name, "pin": [{"id": "a", "rank": rank}]})


def test_every_change_is_a_version(tmp_path: Path) -> None:
    """Numbered from 1; what is saved again as it was makes none, and all earlier ones can be asked for."""
    placements = Placements(tmp_path)

    assert ["home@1", "home@1", "home@2", "home@3"] == [
        placements.save(rules(rank=rank), NOW).reference for rank in (1, 1, 2, 1)
    ]
    assert (3, 2) == (placements.find("home").version, placements.find("home@2").version)
    assert [1, 2, 1] == [one.pin[0].rank for one in placements.versions("home")]
    assert ["home"] == placements.names()


def test_versions_are_seen_by_others_at_once(tmp_path: Path) -> None:
    """Another process, as another value here, finds the new version without being told."""
    ours, theirs = Placements(tmp_path), Placements(tmp_path)
    ours.save(rules(), NOW)
    assert 1 == theirs.find("home").version

    ours.save(rules(rank=2), NOW)

    assert 2 == theirs.find("home").version


def test_no_version_is_lost_or_written_twice(tmp_path: Path) -> None:
    """Several save at the same time: each has a version of its own, and no file is ever another."""
    threads = [
        threading.Thread(
            target=lambda first=first: [
                Placements(tmp_path).save(rules(rank=first + number), NOW) for number in range(10)
            ]
        )
        for first in (1, 101, 201, 301)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = Placements(tmp_path).versions("home")
    assert list(range(40, 0, -1)) == [one.version for one in found]
    assert {first + number for first in (1, 101, 201, 301) for number in range(10)} == {
        one.pin[0].rank for one in found
    }
    assert {f"{number}.json" for number in range(1, 41)} == {
        path.name for path in (tmp_path / "placements/home").iterdir()
    }


def test_an_ended_placement_is_unknown_but_its_versions_are_not(tmp_path: Path) -> None:
    """Its name may be used again, and goes on counting."""
    placements = Placements(tmp_path)
    placements.save(rules(), NOW)

    assert (2, True) == ((ended := placements.retire("home", NOW)).version, ended.retired)
    with pytest.raises(UnknownPlacement, match="was ended by its version 2"):
        placements.find("home")
    assert 1 == placements.find("home@1").version
    assert [] == placements.all()
    assert 3 == placements.save(rules(), NOW).version
    assert ["home"] == placements.names()


def test_unknown_placements_are_told_the_nearest(tmp_path: Path) -> None:
    """By name and by number, and a text that is no name."""
    placements = Placements(tmp_path)
    placements.save(rules(), NOW)

    with pytest.raises(UnknownPlacement, match="no placement 'hone'; did you mean 'home'"):
        placements.find("hone")
    with pytest.raises(UnknownPlacement, match="no version 2; its last one is 1"):
        placements.find("home@2")
    for text in ("", "../home", "home@", "home@0", "home@x", "a b"):
        with pytest.raises(InvalidRequest, match="expected the name of a placement"):
            placements.find(text)


def test_a_file_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    """And named as it lies in the home."""
    Placements(tmp_path).save(rules(), NOW)
    (tmp_path / "placements/home/1.json").write_text("{")

    with pytest.raises(Damaged, match=r"home/1.json cannot be read"):
        Placements(tmp_path).find("home")


def test_yaml_there_and_back(tmp_path: Path) -> None:
    """What `lucid placements show` prints can be saved again, and is the same."""
    text = """
        name: home
        note: white first — but not only
        target_filter: [{field: metadata.since, op: gte, value: 2026-01-01}]
        boost: [{when: [{field: metadata.colour, op: eq, value: "yes"}], factor: 1.5}]
        fresh: {by: metadata.published, half_life_days: 30}
        quotas: [{each: metadata.brand, at_most: 2, of: 10}]
        diversity: {lambda: 0.7}
        """
    read = parse_placement(text)

    assert read.target_filter
    assert "2026-01-01" == read.target_filter[0].value
    assert 0.7 == read.diversity.weight if read.diversity else False
    assert read == parse_placement(write_yaml(read))
    file = tmp_path / "home.json"
    file.write_text(json.dumps(dump(read)))
    assert read == read_placement(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "line 1: not YAML"),
        ("- home", "expected names and values, such as name: home"),
        ("a: &x [1]\nb: *x", "line 2: not YAML: aliases are not read"),
        ("name: !!python/object:os.system x", "not YAML: could not determine a constructor"),
        ("name: home\nboosts: []", "no parameter 'boosts'; did you mean 'boost'"),
        ("name: home\nboost: [{when: [{field: colour, op: eq, value: 1}], factor: 2}]", "no field 'colour'"),
        (
            "name: home\nboost: [{when: [{field: type, op: eq, value: a}], factor: 0.5}]",
            "found 0.5, expected more than 1",
        ),
        ("name: home\nbury: [{when: []}]", "boost|bury.0.when: found a list of 0, expected at least 1 values"),
        ("name: home\npin: [{id: a, rank: 1}, {id: b, rank: 1}]", "the rank 1 is pinned twice"),
        ("name: home\npin: [{id: a, rank: 1}, {id: a, rank: 2}]", "the target 'a' is pinned twice"),
        ("name: home\nquotas: [{each: metadata.a, at_least: 1, of: 2}]", "at_least needs when"),
        ("name: home\nquotas: [{each: metadata.a, of: 2}]", "give either at_most or at_least"),
        ("name: home\nquotas: [{at_most: 1, of: 2}]", "give either when or each"),
        (
            "name: home\nquotas: [{each: colour, at_most: 1, of: 2}]",
            "each: found 'colour', expected type, metadata.<key>",
        ),
        ("name: home\nfresh: {by: age, half_life_days: 3}", "by: found 'age', expected last_interaction"),
        ("name: home\ndiversity: {lambda: 2}", "diversity.lambda: found 2, expected 1.0 or less"),
        (
            "name: home\nexplore: {share: 0.1}\nprecompute: [{model_id: m, source_type: a, target_type: b}]",
            "leave out explore",
        ),
        ("pin: []", "name: missing"),
    ],
)
def test_wrong_rules_are_told_in_words(text: str, said: str) -> None:
    """Which rule, what was found and what is expected."""
    with pytest.raises(InvalidRequest, match=said.replace("[", r"\[")):
        parse_placement(text)
