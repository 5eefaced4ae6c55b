"""The file of impressions: of this release and of those before, for who may write it and for who may not."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lucid.errors import Damaged
from lucid.store.home import Home
from lucid.store.impression_log import Impression, ImpressionLog, NewAnswer, NewResponse, new_recommendation_id

BEFORE = """
CREATE TABLE answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, shown INTEGER NOT NULL, model_id TEXT NOT NULL,
    experiment TEXT);
CREATE INDEX answers_by_time ON answers (model_id, shown);
CREATE INDEX answers_by_experiment ON answers (experiment, shown) WHERE experiment IS NOT NULL;
CREATE TABLE impressions (
    answer INTEGER, place INTEGER, version INTEGER NOT NULL, variant TEXT, placement TEXT, source_id TEXT,
    source_type TEXT, target_type TEXT, count INTEGER NOT NULL, targets TEXT NOT NULL, ranks TEXT,
    PRIMARY KEY (answer, place)) WITHOUT ROWID;
CREATE TABLE responses (
    digest BLOB PRIMARY KEY, answer INTEGER NOT NULL, place INTEGER, rank INTEGER, type TEXT NOT NULL,
    source_id TEXT, target_id TEXT, received INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX responses_by_answer ON responses (answer);
INSERT INTO answers VALUES (1, x'01', 5, 'm', NULL), (2, x'02', 6, 'm', NULL);
INSERT INTO impressions VALUES (1, 0, 1, NULL, NULL, 'u', 'user', 'item', 2, '["a","b"]', NULL),
    (2, 0, 1, NULL, NULL, '', '', 'item', 1, '["a"]', NULL);
"""
ALL = "SELECT source_id, source_type, targets, ranks, propensities FROM impressions ORDER BY answer, place"
OLD_ROWS = [("u", "user", '["a","b"]', None, None), (None, None, '["a"]', None, None)]


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """A home with a log as the release before propensities made it."""
    with closing(sqlite3.connect(Home(tmp_path).impressions)) as made:
        made.executescript(f"PRAGMA journal_mode = WAL; {BEFORE}")
    return tmp_path


def answer(*propensities: float, targets: str = "abc") -> NewAnswer:
    ranks = range(1, len(targets) + 1)
    shown = Impression(1, "v", "user", "item", [*targets], ranks, propensities=propensities)
    return NewAnswer(new_recommendation_id(7), 7, "m", [shown])


def columns(home: Path) -> list[str]:
    with closing(sqlite3.connect(Home(home).impressions)) as file:
        return [name for _, name, *_ in file.execute("PRAGMA table_info(impressions)")]


def test_propensities_are_kept_where_one_is_less_than_1(tmp_path: Path) -> None:
    """Six digits of each, however small; none where nothing explores."""
    log = ImpressionLog(tmp_path)
    log.note(answer())
    log.note(answer(1.0, 1.0, 1.0))
    log.note(answer(1.0, 0.70333333333, 0.00001234567891))

    assert [None, None, "[1.0,0.703333,0.0000123457]"] == [
        kept if kept is None else kept.replace("1.23457e-5", "0.0000123457") for *_, kept in log.select(ALL, [])
    ]


def test_propensities_stay_with_their_rows_when_others_are_erased(tmp_path: Path) -> None:
    log = ImpressionLog(tmp_path)
    log.note(answer(0.5, 0.25, 0.125))
    log.note(answer(1.0, 0.5, 1.0))

    assert 2 == log.erase(["b"], lambda _: False)

    left = [("v", "user", '["a","c"]', "[1,3]", kept) for kept in ("[0.5,0.125]", None)]
    assert left == log.select(ALL, [])


def test_a_log_of_an_earlier_release_is_read_as_it_is(before: Path) -> None:
    """Its rows have no propensities, and nobody is no source; the file stays as it was."""
    log = ImpressionLog(before)

    assert OLD_ROWS == log.select(ALL, [])
    assert "propensities" not in columns(before)


def test_a_log_of_an_earlier_release_is_read_where_nobody_may_write(
    before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no view can be kept in it."""
    with closing(sqlite3.connect(Home(before).impressions)) as file:
        file.execute("PRAGMA journal_mode = DELETE")
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert OLD_ROWS == ImpressionLog(before).select(ALL, [])
    assert ["impressions.sqlite"] == [path.name for path in before.iterdir()]


def test_a_log_of_an_earlier_release_goes_on(before: Path) -> None:
    """Written, it is as a new one: what stood in it counts, and so does what comes, of an old answer too."""
    log = ImpressionLog(before)
    log.note(answer(0.5, 1.0, 1.0))
    old = (b"\x02").hex()

    assert 1 == log.respond([NewResponse(old, "one", "clicked", "whoever", "a", 9)])
    assert [*OLD_ROWS, ("v", "user", '["a","b","c"]', None, "[0.5,1.0,1.0]")] == log.select(ALL, [])
    assert [(2, 0, 1)] == log.select("SELECT answer, place, rank FROM responses", [])
    assert 2 == log.erase(["u"], lambda _: False)
    assert 2 == len(log.select(ALL, []))
    assert "propensities" in columns(before)
    assert ImpressionLog(before).copy_to(before / "copy")


def test_a_copy_of_a_log_of_an_earlier_release_goes_on_too(
    before: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As one that a backup holds does."""
    other = tmp_path_factory.mktemp("other")

    assert ImpressionLog(before).copy_to(Home(other).impressions)

    assert OLD_ROWS == ImpressionLog(other).select(ALL, [])
    ImpressionLog(other).note(answer(0.5, 0.5, 0.5))
    assert 3 == len(ImpressionLog(other).select(ALL, []))


def test_several_processes_bring_a_log_to_this_release_once(before: Path) -> None:
    """Whoever comes first does it; the others find it done."""
    logs = [ImpressionLog(before) for _ in range(8)]
    begin = threading.Barrier(len(logs))

    def note(log: ImpressionLog) -> None:
        begin.wait()
        log.note(answer(0.5, 0.5, 0.5))

    threads = [threading.Thread(target=note, args=(log,)) for log in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 2 + len(logs) == len(logs[0].select(ALL, []))
    assert 1 == columns(before).count("propensities")


def test_a_change_that_fails_leaves_the_log_as_it_was(before: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of it nor a mark that it was done."""
    changes = "lucid.store.impression_log._CHANGES"
    monkeypatch.setattr(changes, ("ALTER TABLE impressions ADD COLUMN propensities TEXT", "UPDATE nowhere SET a = 1"))
    with pytest.raises(Damaged, match="no such table: nowhere"):
        ImpressionLog(before).note(answer())

    monkeypatch.undo()
    assert "propensities" not in columns(before)
    ImpressionLog(before).note(answer())
    assert 3 == len(ImpressionLog(before).select(ALL, []))
