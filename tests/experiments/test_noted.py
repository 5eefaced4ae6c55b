"""Answers that are noted, and what comes of them: held to a count by hand, over everything a workspace does."""

import random
import shutil
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lucid.errors import (
    Damaged,
    ExperimentExists,
    InvalidRequest,
    UnknownExperiment,
    UnknownModel,
    UnknownSource,
    UnknownVersion,
)
from lucid.maintenance import maintain, upkeep_now
from lucid.schema.attribution import AttributionGroup
from lucid.schema.experiments import Experiment
from lucid.store.home import Home
from lucid.store.impression_log import Impression, ImpressionLog, NewAnswer, NewResponse, new_recommendation_id
from lucid.versions.experiments import Experiments, variant_of
from lucid.workspace import Workspace
from tests.support.checkerboard import USERS, train_checkerboard

SHOWN = Impression(1, "u00", "user", "item", ["i00"], [1])
HALVES = [{"name": "now", "share": 0.5}, {"name": "new", "share": 0.5, "version": 1}]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions of a model, to be copied."""
    folder = tmp_path_factory.mktemp("board")
    workspace = train_checkerboard(Workspace(folder / "home"), folder)
    workspace.train("board")
    return folder / "home"


@pytest.fixture
def board(trained: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(trained, tmp_path / "home")
    return Workspace(tmp_path / "home")


def ask(board: Workspace, source: str | list[str], **more: Any) -> pd.DataFrame:
    asked = {"target_type": "item", "max_recommendations": 5, "recommendation_id": True, **more}
    return board.recommend("board", source_id=source, **asked)


def event(table: pd.DataFrame, place: int, event_type: str = "clicked", **more: Any) -> dict[str, Any]:
    row = table.iloc[place]
    noted = table.attrs["noted"]["recommendation_id"]
    return {
        "type": event_type,
        "source_id": row["source_id"],
        "target_id": row["target_id"],
        "recommendation_id": noted,
        **more,
    }


def of(group: AttributionGroup) -> dict[str, tuple[int, int]]:
    return {one.type: (one.events, one.rows) for one in group.events}


def test_rows_are_the_same_whether_they_are_noted_or_not(board: Workspace) -> None:
    """Only an id comes with them, and each answer has one of its own."""
    plain = ask(board, ["u00", "u01"], recommendation_id=False)
    first, second = ask(board, ["u00", "u01"]), ask(board, ["u00", "u01"])

    pd.testing.assert_frame_equal(plain, first)
    assert "noted" not in plain.attrs
    assert first.attrs["noted"]["recommendation_id"] != second.attrs["noted"]["recommendation_id"]
    assert not Home(board.settings.home).impressions.exists() or 2 == board.attribution("board").total.answers


def test_attribution_counts_what_was_shown_and_what_came_of_it(board: Workspace) -> None:
    """A hundred answers with random events, against a count by hand: in all, by version, by pair and by rank."""
    rng = random.Random(1)
    rows, sources, answers = Counter[int](), set[str](), Counter[int]()
    events: dict[str, Counter[str]] = defaultdict(Counter)
    hit: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for _ in range(100):
        some = rng.sample([f"u{user:02}" for user in range(USERS)], rng.randint(1, 4))
        version, count = rng.choice([1, 2]), rng.randint(1, 6)
        table = ask(board, some, version=version, max_recommendations=count)
        answers[version] += 1
        sources |= set(table["source_id"])
        rows.update(table["rank"].tolist())
        for _ in range(rng.randint(0, 3)):
            one = event(table, rng.randrange(len(table)), rng.choice(["clicked", "bought"]))
            assert 1 == board.send_events(one).accepted
            rank = table.set_index(["source_id", "target_id"])["rank"][one["source_id"], one["target_id"]]
            events[one["type"]][str(rank)] += 1
            hit[one["type"]].add((one["recommendation_id"], one["source_id"], one["target_id"]))

    found = board.attribution("board")
    assert (100, sum(rows.values()), len(sources)) == (
        found.total.answers,
        found.total.impressions,
        found.total.sources,
    )
    assert {name: (counted.total(), len(hit[name])) for name, counted in events.items()} == of(found.total)
    by_version = board.attribution("board", by="version").groups
    assert dict(answers) == {group.version: group.answers for group in by_version}
    (pair,) = board.attribution("board", by="pair").groups
    assert ("user", "item", sum(rows.values())) == (pair.source_type, pair.target_type, pair.impressions)
    by_rank = board.attribution("board", by="rank").groups
    assert dict(rows) == {group.rank: group.impressions for group in by_rank}
    clicks = {str(group.rank): of(group)["clicked"][0] for group in by_rank if "clicked" in of(group)}
    assert dict(events["clicked"]) == clicks
    for group in (found.total, *by_rank):
        for told in group.events:
            assert told.rate == pytest.approx(told.rows / group.impressions, abs=1e-6)
            assert 0 <= told.low < told.rate < told.high <= 1


def test_an_event_counts_once(board: Workspace) -> None:
    """By its id; others are others, though the row that led to them is one."""
    table = ask(board, "u00")

    board.send_events([event(table, 1, event_id="once"), event(table, 1, event_id="once")])
    board.send_events(event(table, 1, event_id="once"))
    board.send_events([event(table, 1), event(table, 1)])

    assert {"clicked": (3, 1)} == of(board.attribution("board").total)


def test_an_event_that_a_kill_kept_from_being_attributed_is_when_it_is_sent_again(board: Workspace) -> None:
    """It is in the log of events, and so known; what it came of is noted all the same."""
    table = ask(board, "u00")
    one = event(table, 0, event_id="killed")
    board.send_events({name: value for name, value in one.items() if name != "recommendation_id"})
    assert [] == board.attribution("board").total.events

    assert 1 == board.send_events(one).duplicates
    assert {"clicked": (1, 1)} == of(board.attribution("board").total)


def test_unknown_ids_are_told_and_keep_no_other_event_out(board: Workspace) -> None:
    """Those that no answer has, and those that no answer could have."""
    table = ask(board, "u00")
    wrong = [
        event(table, 0, recommendation_id=new_recommendation_id(0)),
        event(table, 0, recommendation_id="x"),
        {"id": "u00", "type": "user", "recommendation_id": table.attrs["noted"]["recommendation_id"]},
    ]

    answer = board.send_events([*wrong, event(table, 0)])

    assert (1, 3) == (answer.accepted, answer.rejected)
    assert [
        ("recommendation_id", "invalid_value"),
        ("recommendation_id", "unknown_field"),
        ("recommendation_id", "unknown_recommendation"),
    ] == sorted((str(error.column), error.code) for error in answer.errors)
    assert 1 == len(board.waiting_events())


def test_what_was_not_shown_is_counted_apart(board: Workspace) -> None:
    """It is accepted as any event, and no rate counts it."""
    table = ask(board, ["u00", "u01"])

    board.send_events([event(table, 0, target_id="i19"), event(table, 0, source_id="u05")])

    found = board.attribution("board")
    assert {"clicked": 2} == found.not_shown
    assert [] == found.total.events
    assert 2 == len(board.waiting_events())


def test_an_answer_for_several_as_one_is_whose_ever(board: Workspace) -> None:
    """Its rows have a joint id, which no event has."""
    asked: dict[str, Any] = {"target_type": "item", "max_recommendations": 3, "recommendation_id": True}
    table = board.recommend("board", sources=[{"id": "u00"}, {"id": "u02"}], **asked)

    board.send_events(event(table, 2, source_id="u02"))

    (third,) = (group for group in board.attribution("board", by="rank").groups if group.events)
    assert 3 == third.rank


def test_several_types_of_targets_are_pairs_of_their_own(board: Workspace) -> None:
    """Ranks count through all of a source."""
    table = ask(board, "u00", target_type=["item", "colour"], max_recommendations=9)

    groups = board.attribution("board", by="pair").groups
    assert Counter(table["target_type"]) == {group.target_type: group.impressions for group in groups}
    assert [1] * 9 == [group.impressions for group in board.attribution("board", by="rank").groups]
    board.send_events(event(table, 7))
    (hit,) = (group for group in board.attribution("board", by="rank").groups if group.events)
    assert 8 == hit.rank


@pytest.mark.parametrize(
    ("asked", "source_type"),
    [
        ({}, None),
        ({"use": "popular"}, None),
        ({"session": ["i03", "i05"]}, "user"),
    ],
)
def test_an_answer_for_nobody_is_noted_without_a_source(
    board: Workspace, asked: dict[str, Any], source_type: str | None
) -> None:
    """Neither an id that nobody has nor what a session holds is stored; whoever answers, the target tells the row."""
    table = board.recommend("board", target_type="item", max_recommendations=4, recommendation_id=True, **asked)

    log = ImpressionLog(board.settings.home)
    assert [(None, source_type, "item", 4)] == log.select(
        "SELECT source_id, source_type, target_type, count FROM impressions", []
    )
    shown = set(table["target_id"])
    for file in board.settings.home.glob("impressions.sqlite*"):
        content = file.read_bytes()
        assert b"session" not in content
        assert all(item.encode() not in content for item in {"i03", "i05"} - shown)
    board.send_events([event(table, 2, source_id="u07"), event(table, 2, source_id="u09")])
    found = board.attribution("board", by="rank")
    assert (1, 4, 0) == (found.total.answers, found.total.impressions, found.total.sources)
    assert {3: (2, 1)} == {group.rank: of(group)["clicked"] for group in found.groups if group.events}
    (pair,) = board.attribution("board", by="pair").groups
    assert (source_type, "item", 0) == (pair.source_type, pair.target_type, pair.sources)
    board.erase("u07")
    assert {"clicked": (1, 1)} == of(board.attribution("board").total)


def test_answers_for_nobody_count_beside_those_for_sources(board: Workspace) -> None:
    """Only those who were named are sources; one that is asked for by name is, whatever list it gets."""
    asked: dict[str, Any] = {"target_type": "item", "max_recommendations": 3, "recommendation_id": True}
    for who in ({}, {"session": ["i03"]}, {"source_id": "u00"}, {"source_id": ["u00", "u01"], "use": "popular"}):
        board.recommend("board", **asked, **who)
    board.recommend("board", source_id="nobody", fallback="popular", **asked)

    total = board.attribution("board").total
    assert (5, 3) == (total.answers, total.sources)
    pairs = {(one.source_type, one.target_type): one.sources for one in board.attribution("board", by="pair").groups}
    assert {("user", "item"): 2, (None, "item"): 1} == pairs


def test_a_time_counts_answers_and_whatever_came_of_them(board: Workspace) -> None:
    """From its beginning to before its end; a time that ends before it begins is refused."""
    log = ImpressionLog(board.settings.home)
    days = [datetime(2026, 5, day, tzinfo=UTC) for day in (1, 2, 3)]
    for day in days:
        shown = int(day.timestamp() * 1e6)
        one = NewAnswer(new_recommendation_id(shown), shown, "board", [SHOWN])
        log.note(one)
        log.respond([NewResponse(one.recommendation_id, None, "clicked", "u00", "i00", shown + 10**13)])

    assert [3, 2, 1, 1] == [
        board.attribution("board", *period).total.answers
        for period in ((None, None), (days[1], None), (days[1], days[2]), (datetime(2026, 5, 2), days[2]))
    ]
    assert {"clicked": (1, 1)} == of(board.attribution("board", days[1], days[2]).total)
    with pytest.raises(InvalidRequest, match="not before"):
        board.attribution("board", days[1], days[1])
    with pytest.raises(UnknownModel):
        board.attribution("nothing")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"source_id": None, "source_type": "user"}, "all of a type"),
        ({"source_id": [f"u{n}" for n in range(101)]}, "found 101, expected at most 100"),
        ({"source_id": ["u00", "u01"], "max_recommendations": 10_000}, "20,000 rows"),
    ],
)
def test_what_no_person_sees_is_not_noted(board: Workspace, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        board.recommend("board", target_type="item", recommendation_id=True, **more)
    assert not Home(board.settings.home).impressions.exists()


# Experiments


def test_each_source_gets_the_version_of_its_variant(board: Workspace) -> None:
    """Rows are those of that version; who takes no part gets the live one, and the answer says who got what."""
    shares = [{"name": "now", "share": 0.4}, {"name": "old", "share": 0.4, "version": 1}]
    began = board.begin_experiment("deeper", "board", shares)
    users = [f"u{user:02}" for user in range(USERS)]
    table = ask(board, users, recommendation_id=False, experiment="deeper")

    told = table.attrs["noted"]
    expected = {user: variant_of(began, user) for user in users}
    assert {"now", "old", None} == {one.name if one else None for one in expected.values()}
    assert {
        user: {"variant": one.name if one else None, "version": 1 if one and one.name == "old" else 2}
        for user, one in expected.items()
    } == told["variants"]
    for user in users:
        rows = table[table["source_id"] == user].reset_index(drop=True)
        alone = ask(board, user, recommendation_id=False, version=told["variants"][user]["version"])
        pd.testing.assert_frame_equal(rows, alone)
    assert users == list(dict.fromkeys(table["source_id"]))
    one = ask(board, "u00", recommendation_id=False, experiment="deeper").attrs["noted"]
    assert told["variants"]["u00"]["variant"] == one["variant"]


def test_the_report_of_an_experiment_counts_sources(board: Workspace) -> None:
    """By hand: what was shown, events, and sources with one; those who take no part are in none of it."""
    shares = [{"name": "now", "share": 0.4}, {"name": "old", "share": 0.4, "version": 1}]
    began = board.begin_experiment("deeper", "board", shares)
    counts: dict[str, dict[str, set[str]]] = {name: {"sources": set(), "bought": set()} for name in ("now", "old")}
    answers, events = Counter[str](), Counter[str]()
    for user in range(USERS):
        source = f"u{user:02}"
        variant = variant_of(began, source)
        for _ in range(2):
            table = ask(board, source, recommendation_id=False, experiment="deeper")
            if user % 3 == 0:
                board.send_events(event(table, 1, "bought"))
            if variant:
                answers[variant.name] += 1
                counts[variant.name]["sources"].add(source)
                if user % 3 == 0:
                    events[variant.name] += 1
                    counts[variant.name]["bought"].add(source)

    report = board.experiment("deeper")

    for result in report.results:
        by_hand, (bought,) = counts[result.name], result.events
        assert (len(by_hand["sources"]), answers[result.name]) == (result.sources, result.answers)
        assert 5 * result.answers == result.impressions
        assert (events[result.name], len(by_hand["bought"])) == (bought.events, bought.sources)
        assert bought.rate == pytest.approx(bought.sources / result.sources, abs=1e-6)
        assert [{"now": 2, "old": 1}[result.name]] == result.versions
    (difference,) = report.differences
    assert "unknown" == difference.verdict
    assert "cannot be told yet" in difference.sentence
    assert [] == report.warnings


def noted(log: ImpressionLog, experiment: Experiment, variant: str, source: str, *, bought: bool) -> None:
    shown = int(datetime.now(UTC).timestamp() * 1e6)
    impression = Impression(2, source, "user", "item", ["i00"], [1], variant)
    one = NewAnswer(new_recommendation_id(shown), shown, "board", [impression], experiment.name)
    log.note(one)
    if bought:
        log.respond([NewResponse(one.recommendation_id, None, "bought", source, "i00", shown)])


def test_a_real_difference_is_told_in_a_sentence_and_a_lost_part_is_warned_of(board: Workspace) -> None:
    """A variant that does better; and one of which most sources never arrive."""
    experiment = board.begin_experiment("deeper", "board", HALVES)
    log = ImpressionLog(board.settings.home)
    for number in range(300):
        noted(log, experiment, "now", f"a{number}", bought=number < 15)
        noted(log, experiment, "new", f"b{number}", bought=number < 150)
    report = board.experiment("deeper")

    (difference,) = report.differences
    assert ("better", 0.45) == (difference.verdict, difference.difference)
    assert 0 < difference.low < 0.45 < difference.high
    assert difference.sentence.startswith("new is better than now: more of its sources 'bought', by between +")
    assert ["new was also answered by version 2, as version 1 was gone"] == report.warnings
    for number in range(300, 600):
        noted(log, experiment, "now", f"a{number}", bought=False)
    assert any("600 of 900 sources, where 50.0% are expected" in one for one in board.experiment("deeper").warnings)


def test_an_experiment_ends_and_is_forgotten(board: Workspace) -> None:
    """Stopped, everybody gets the live version; deleted, a question that names it is refused; a new one counts anew."""
    everybody = [{"name": "old", "share": 0.9, "version": 1}, {"name": "older", "share": 0.1, "version": 1}]
    board.begin_experiment("deeper", "board", everybody)
    assert 1 == ask(board, ["u00", "u01"], experiment="deeper").attrs["noted"]["variants"]["u00"]["version"]

    stopped = board.stop_experiment("deeper")
    assert stopped.stopped is not None
    assert stopped.stopped == board.stop_experiment("deeper").stopped
    table = ask(board, ["u00", "u01"], experiment="deeper")
    assert [{"variant": None, "version": 2}] * 2 == list(table.attrs["noted"]["variants"].values())
    assert 2 == sum(one.sources for one in board.experiment("deeper").results)

    assert "deeper" == board.delete_experiment("deeper").name
    assert [] == board.experiments()
    with pytest.raises(UnknownExperiment):
        ask(board, "u00", experiment="deeper")
    board.begin_experiment("deeper", "board", everybody)
    assert 0 == sum(one.sources for one in board.experiment("deeper").results)


def test_a_version_that_is_tried_is_kept_and_one_that_is_gone_stops_nobody(board: Workspace) -> None:
    """However many trainings follow; where an erasure removes it, the live one answers in its place."""
    everybody = [{"name": "old", "share": 0.9, "version": 1}, {"name": "older", "share": 0.1, "version": 1}]
    board.begin_experiment("deeper", "board", everybody)
    one_kept = Workspace(settings=board.settings.model_copy(update={"keep_versions": 1}))
    one_kept.train("board")
    assert {1, 3} <= {version.version for version in one_kept.model("board").versions}

    board.erase("u29")
    table = ask(board, "u00", experiment="deeper")
    assert len(table) == 5
    assert any("was gone" in warning for warning in board.experiment("deeper").warnings)


def test_an_experiment_that_cannot_be_is_refused(board: Workspace) -> None:
    """Models and versions that are not there, a name that is taken, questions that do not fit it."""
    with pytest.raises(UnknownModel):
        board.begin_experiment("x", "nothing", HALVES)
    with pytest.raises(UnknownVersion):
        board.begin_experiment("x", "board", [HALVES[0], {**HALVES[1], "version": 9}])
    with pytest.raises(UnknownExperiment, match="no experiment 'x'"):
        ask(board, "u00", experiment="x")
    board.begin_experiment("deeper", "board", HALVES)
    with pytest.raises(ExperimentExists):
        board.begin_experiment("deeper", "board", HALVES)
    with pytest.raises(InvalidRequest, match="leave version out"):
        ask(board, "u00", experiment="deeper", version=1)
    for nobody in ({"sources": [{"id": "u00"}]}, {"session": ["i03"]}, {}, {"use": "popular"}):
        with pytest.raises(InvalidRequest, match="in source_id"):
            board.recommend("board", target_type="item", experiment="deeper", **nobody)
    with pytest.raises(UnknownSource):
        ask(board, "nobody", experiment="deeper")
    assert ["nobody"] == ask(board, ["nobody", "u00"], experiment="deeper").attrs["unknown_source_ids"]
    assert {"nobody", "none"} == set(ask(board, ["nobody", "none"], experiment="deeper").attrs["unknown_source_ids"])


def test_the_placement_of_an_answer_is_noted_with_its_version(board: Workspace) -> None:
    """With the version that applied then: named by the question or by a variant, which comes first."""
    for rank in (1, 2):
        board.save_placement({"name": "home", "pin": [{"id": "i04", "rank": rank}]})
    board.save_placement({"name": "basket", "pin": [{"id": "i05", "rank": 1}]})
    ask(board, "u00", placement="home")
    ask(board, "u00", placement="home@1")
    ask(board, "u00")
    both = [{"name": "plain", "share": 0.5}, {"name": "placed", "share": 0.5, "placement": "basket"}]
    began = board.begin_experiment("rules", "board", both)
    variants = {f"u{user:02}": variant_of(began, f"u{user:02}") for user in range(USERS)}
    for placement in (None, "home"):
        for source in variants:
            ask(board, source, experiment="rules", placement=placement)
    board.save_placement({"name": "basket", "pin": [{"id": "i05", "rank": 2}]})
    last = next(source for source, variant in variants.items() if variant and variant.name == "placed")
    ask(board, last, experiment="rules")

    rows = ImpressionLog(board.settings.home).select(
        "SELECT i.placement, i.source_id FROM answers a JOIN impressions i ON i.answer = a.number ORDER BY a.number", []
    )
    placed = {source: variant and variant.name == "placed" for source, variant in variants.items()}
    expected = ["home@2", "home@1", None]
    expected += ["basket@1" if placed[source] else None for source in variants]
    expected += ["basket@1" if placed[source] else "home@2" for source in variants]
    assert [*expected, "basket@2"] == [placement for placement, _ in rows]
    assert {"plain": ["home@2"], "placed": ["basket@1", "basket@2"]} == {
        result.name: result.placements for result in board.experiment("rules").results
    }


def test_what_a_placement_of_a_variant_cannot_arrange_is_refused(board: Workspace) -> None:
    """For every source alike, whichever variant it has; after the end there is nothing to arrange."""
    board.save_placement({"name": "home", "pin": [{"id": "i04", "rank": 1}]})
    both = [{"name": "plain", "share": 0.5}, {"name": "placed", "share": 0.5, "placement": "home"}]
    board.begin_experiment("rules", "board", both)

    for more in ({"use": "popular"}, {"use": "trending"}, {"fallback": "popular"}):
        for source in ("u00", "u01", "u02", "nobody"):
            with pytest.raises(InvalidRequest, match="variant 'placed' follows a placement"):
                ask(board, source, experiment="rules", **more)
    board.stop_experiment("rules")
    assert 5 == len(ask(board, "u00", experiment="rules", use="popular"))


def test_rows_of_a_placed_variant_have_its_columns(board: Workspace) -> None:
    """Alone and beside others, which say that nothing moved them; in the order of an answer that names a placement."""
    board.save_placement({"name": "home", "pin": [{"id": "i04", "rank": 1}]})
    both = [{"name": "plain", "share": 0.5}, {"name": "placed", "share": 0.5, "placement": "home"}]
    began = board.begin_experiment("rules", "board", both)
    names = {f"u{user:02}": (variant_of(began, f"u{user:02}") or began.variants[0]).name for user in range(USERS)}
    for explain in (False, True):
        table = ask(board, list(names), experiment="rules", explain=explain)
        named = ask(board, "u00", placement="home", explain=explain)

        assert [*named.columns] == [*table.columns]
        for source, rows in table.groupby("source_id"):
            placement = "home" if names[str(source)] == "placed" else None
            alone = ask(board, str(source), placement=placement, explain=explain)
            told = rows.reset_index(drop=True)
            pd.testing.assert_frame_equal(alone, told[list(alone.columns)], check_dtype=False)
            if placement is None:
                assert [([], 1.0, "")] * len(told) == [
                    *zip(told["rules"], told["propensity"], told["placement"], strict=True)
                ]
    plain = next(source for source, name in names.items() if name == "plain")
    assert "rules" not in ask(board, plain, experiment="rules")


def test_a_damaged_experiment_is_told_and_stops_no_other(board: Workspace) -> None:
    board.begin_experiment("deeper", "board", HALVES)
    board.begin_experiment("other", "board", HALVES)
    Home(board.settings.home).experiment("deeper").write_text("{")

    assert ["other"] == [one.name for one in board.experiments()]
    with pytest.raises(Damaged, match="delete the experiment"):
        Experiments(board.settings.home).get("deeper")


# What becomes of the log


def test_nothing_of_an_erased_entity_is_left(board: Workspace) -> None:
    """Neither of a source nor of a target, wherever it stands; what is left counts as before."""
    home = board.settings.home
    tables = [ask(board, ["u00", "u01"]), ask(board, "u02")]
    mixed = board.recommend("board", sources=[{"id": "u00"}, {"id": "u03"}], target_type="item", recommendation_id=True)
    gone = tables[1].iloc[1]["target_id"]
    board.send_events([event(tables[0], 0), event(tables[1], 1), event(tables[1], 2), event(mixed, 0, source_id="u03")])

    erased = board.erase(["u00", gone])

    left = sqlite3.connect(Home(home).impressions)
    rows = left.execute("SELECT source_id, targets, ranks FROM impressions ORDER BY answer, place").fetchall()
    left.close()
    assert ["u01", "u02"] == [source for source, *_ in rows]
    assert "[1,3,4,5]" == rows[1][2]
    assert erased.impressions == len(tables[0][tables[0]["source_id"] == "u00"]) + len(mixed) + sum(
        int((table[table["source_id"] == source]["target_id"] == gone).sum())
        for table, source in ((tables[0], "u01"), (tables[1], "u02"))
    )
    assert {"clicked": (1, 1)} == of(board.attribution("board").total)
    (hit,) = (group for group in board.attribution("board", by="rank").groups if group.events)
    assert 3 == hit.rank
    for file in home.glob("impressions.sqlite*"):
        assert b"u00" not in file.read_bytes()
        assert gone.encode() not in file.read_bytes()


def test_what_is_old_is_forgotten(board: Workspace) -> None:
    """By the maintenance, with what came of it; a dry run only counts."""
    log, now = ImpressionLog(board.settings.home), datetime.now(UTC)
    for days in (200, 91, 89, 0):
        shown = int((now - timedelta(days=days)).timestamp() * 1e6)
        one = NewAnswer(new_recommendation_id(shown), shown, "board", [SHOWN])
        log.note(one)
        log.respond([NewResponse(one.recommendation_id, None, "clicked", "u00", "i00", shown)])

    for dry_run, left in ((True, 4), (False, 2)):
        removed = {step.what: one for step, one in maintain(upkeep_now(board.settings, dry_run=dry_run))}
        assert 2 == removed["old impressions"].count
        assert {"clicked": (left, left)} == of(board.attribution("board").total)


def test_a_backup_holds_it(board: Workspace, tmp_path: Path) -> None:
    """Impressions, what came of them, and experiments."""
    board.begin_experiment("deeper", "board", HALVES)
    board.send_events(event(ask(board, "u00", experiment="deeper"), 0))
    before = board.attribution("board"), board.experiment("deeper")

    board.back_up(tmp_path / "backup")
    restored = Workspace.restore(tmp_path / "backup", tmp_path / "other")

    assert before == (restored.attribution("board"), restored.experiment("deeper"))


def test_many_threads_note_at_a_time(tmp_path: Path) -> None:
    """Each answer is noted once, whichever thread writes it."""
    logs = [ImpressionLog(tmp_path) for _ in range(2)]

    def work(thread: int) -> None:
        for number in range(50):
            impression = Impression(1, f"{thread}-{number}", "user", "item", ["i00"], [1])
            logs[thread % 2].note(NewAnswer(new_recommendation_id(0), 0, "board", [impression]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = logs[0].select("SELECT count(*), count(DISTINCT source_id) FROM impressions", [])
    assert [(400, 400)] == found


def test_a_damaged_log_is_told(board: Workspace) -> None:
    """And keeps nothing else from being answered or accepted."""
    table = ask(board, "u00")
    path = Home(board.settings.home).impressions
    for file in board.settings.home.glob("impressions.sqlite*"):
        file.unlink()
    path.write_bytes(b"no database" * 1000)
    fresh = Workspace(board.settings.home)

    calls: list[Callable[[], object]] = [
        lambda: ask(fresh, "u00"),
        lambda: fresh.attribution("board"),
        lambda: fresh.send_events(event(table, 0)),
    ]
    for broken in calls:
        with pytest.raises(Damaged, match=r"impressions\.sqlite cannot be read"):
            broken()
    assert 5 == len(ask(fresh, "u00", recommendation_id=False))
    assert 1 == fresh.send_events({"type": "clicked", "source_id": "u00", "target_id": "i00"}).accepted
