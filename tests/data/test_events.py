"""Events: held to the rules of files, in the log whatever tears, in batches whoever is killed."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lucid.data.batches import sweep
from lucid.data.csv_load import ROWS
from lucid.data.event_batches import compact_events
from lucid.data.events import waiting_events
from lucid.schema.batches import ENTITY_COLUMNS, INTERACTION_COLUMNS, TYPE_COLUMNS
from lucid.schema.fields import utc_now
from lucid.settings import Settings
from lucid.store.catalog import Catalog
from lucid.store.event_log import EventLog, NewEvent
from lucid.store.home import Home
from lucid.workspace import Workspace
from tests.conftest import WriteCsv

CELLS = (
    *("", "a", " a ", "a:b", "ü🙂", "a\0b", "1", "null", "{}", '{"a": 1}', '{"a": NaN}', "{", "[1]", '{"a": 1,}'),
    *("https://x.org/a", "ftp://x.org", "http://", "2026-01-01", "2026-01-01T10:00:00+02:00", "1700000000", "5"),
    *("2099-01-01", "20260101", "45000", "31.12.2025", "1700000000.25", "1700000000000", "0000-01-01"),
)


def stored(settings: Settings, file_type: str) -> list[tuple[Any, ...]]:
    """The rows of all batches of a type, in their order."""
    rows: list[tuple[Any, ...]] = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for batch in Catalog(settings.home).batches.select(None):
            if batch.file_type == file_type:
                path = Home(settings.home).batch(batch.batch_id) / ROWS
                rows += connection.execute("SELECT * EXCLUDE (reason) FROM read_parquet(?)", [str(path)]).fetchall()
    return rows


def timeless(message: str) -> str:
    """A message without the latest time that could be, which is another a second later."""
    return re.sub("at most [^ ,]+,", "at most", message)


@pytest.mark.parametrize("columns", [ENTITY_COLUMNS, (*INTERACTION_COLUMNS, *TYPE_COLUMNS)])
def test_the_rules_are_those_of_files(columns: tuple[str, ...], tmp_path: Path) -> None:
    """The same cells as a file and as events: the same rows are stored, the same cells are bad for the same reasons."""
    chance, rows = random.Random(len(columns)), []
    for _ in range(400):
        row = {name: chance.choice(CELLS) if chance.random() < 0.3 else "x" for name in columns}
        # Without a time an event has that of its arrival; and what is no id at all is no event of this kind.
        row |= {name: "" for name in ("metadata", "media_url") if name in row and row[name] == "x"}
        row |= {"timestamp": chance.choice([cell for cell in CELLS if cell])} if "timestamp" in row else {}
        rows.append(row)
    file = tmp_path / "rows.csv"
    lines = [
        ",".join(columns),
        *(",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row.values()) for row in rows),
    ]
    file.write_text("\n".join(lines) + "\n", newline="")
    as_file, as_events = Workspace(tmp_path / "file"), Workspace(tmp_path / "events")
    (batch,) = as_file.import_files(file)
    told = [error for block in as_file.rejected_rows(batch.batch_id) for error in block]

    answer = as_events.send_events(rows)
    compact_events(as_events.settings, Catalog(as_events.settings.home))

    file_type = "interactions" if "source_id" in columns else "entities"
    assert 400 == answer.accepted + answer.rejected
    assert batch.rejected_count == answer.rejected > 50
    assert [(e.line - 2, e.column, e.code, timeless(e.message), e.value) for e in told] == [
        (e.index, e.column, e.code, timeless(e.message), e.value) for e in answer.errors
    ]
    assert stored(as_file.settings, file_type) == stored(as_events.settings, file_type)


def test_an_id_of_two_types_in_one_call_is_told_as_in_a_file(
    workspace: Workspace, entities_csv: WriteCsv, tmp_path: Path
) -> None:
    rows = [("a", "user"), ("b", "item"), ("a", "item"), ("a", "user"), ("b", "user")]
    other = Workspace(tmp_path / "other")
    (batch,) = other.import_files(entities_csv(*rows))

    answer = workspace.send_events([{"id": name, "type": of_type} for name, of_type in rows])

    assert [2, 4] == [error.index for error in answer.errors]
    assert [(e.code, e.message, e.value) for e in batch.errors] == [(e.code, e.message, e.value) for e in answer.errors]


def test_an_interaction_without_a_time_has_that_of_its_arrival(workspace: Workspace) -> None:
    before = utc_now() - timedelta(milliseconds=1)

    workspace.send_events({"type": "likes", "source_id": 1, "target_id": "b"})

    (event,) = workspace.waiting_events()
    assert event.timestamp == event.received
    assert before <= event.received <= utc_now()
    assert "1" == event.source_id


# The log


def event(number: int) -> NewEvent:
    return NewEvent(0, f"e{number}", None, "likes", None, None, None, f"u{number}", "i", number, None, None)


def test_a_torn_tail_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    """Cut or garbled anywhere, what is left is what some number of calls had written, and it goes on from there."""
    home = tmp_path / "home"
    log, sizes = EventLog(home), []
    wal = log.path.with_name(log.path.name + "-wal")
    log.append([event(0)], 0)
    for number in range(1, 8):
        sizes.append(wal.stat().st_size)
        log.append([event(2 * number - 1), event(2 * number)], 0)
    kept = {name: (log.path.parent / name).read_bytes() for name in (log.path.name, wal.name)}
    chance = random.Random(1)
    for cut in [*sizes, *(chance.randrange(sizes[0], wal.stat().st_size) for _ in range(40))]:
        torn = EventLog(tmp_path / f"torn-{chance.random()}")
        torn.path.parent.mkdir()
        torn.path.write_bytes(kept[log.path.name])
        tail = bytes(chance.randrange(256) for _ in range(len(kept[wal.name]) - cut)) if chance.random() < 0.5 else b""
        torn.path.with_name(wal.name).write_bytes(kept[wal.name][:cut] + tail)

        with torn.reading() as reading:
            found = [one.event for one in reading.after(0, 100)]

        whole = 1 + 2 * sum(size <= cut for size in sizes[1:])
        assert [event(number) for number in range(whole)] == found
        assert [False, True] == torn.append([event(0), event(100)], 0)
        with torn.reading() as reading:
            assert event(100) == reading.latest(1, 0)[0].event
        torn.close()
    log.close()


def test_numbers_go_on_above_what_is_compacted(tmp_path: Path) -> None:
    """Also in a log that a restore has made younger: else its events would pass for those that stand in batches."""
    log = EventLog(tmp_path)
    log.append([event(1)], after=0)
    log.append([event(2)], after=10)
    log.append([event(3)], after=5)
    log.forget(11)
    log.append([event(4)], after=11)

    with log.reading() as reading:
        assert [12, 13] == [one.number for one in reading.after(0, 9)]
    log.close()


def test_nothing_is_left_of_what_is_forgotten(tmp_path: Path) -> None:
    """Neither in the file nor beside it."""
    log = EventLog(tmp_path)
    log.append([NewEvent(0, "the-id", None, "t", None, '{"a": "a secret"}', None, "s", "t", 0, None, None)], 0)
    log.append([event(2)], 0)

    log.forget(1)

    for path in tmp_path.iterdir():
        assert b"a secret" not in path.read_bytes()
        assert b"the-id" not in path.read_bytes()
    log.close()


def test_ids_are_known_until_they_are_forgotten(tmp_path: Path) -> None:
    log, now = EventLog(tmp_path), time.time()
    assert [True, True] == log.append([event(1), event(2)], 0)
    assert 0 == log.forget_ids(now - 86_400)
    assert [False, False] == log.append([event(1), event(2)], 0)
    assert 2 == log.forget_ids(now + 2 * 86_400, dry_run=True)
    assert 2 == log.forget_ids(now + 2 * 86_400)
    assert [True, True] == log.append([event(1), event(2)], 0)
    log.close()


# Compaction


@pytest.fixture
def filled(settings: Settings) -> Settings:
    """A home with events that wait, and some that stand in batches."""
    workspace = Workspace(settings=settings)
    workspace.send_events([{"id": f"u{number}", "type": "user", "event_id": f"a{number}"} for number in range(50)])
    compact_events(settings, Catalog(settings.home))
    events = [{"type": "likes", "source_id": f"u{n}", "target_id": "i", "event_id": f"b{n}"} for n in range(500)]
    workspace.send_events([*events, {"id": "i", "type": "item", "event_id": "c"}])
    return settings


def counted(settings: Settings) -> tuple[int, int, int]:
    """Entities and interactions in batches, and events that wait."""
    batches = [batch for batch in Catalog(settings.home).batches.find() if batch.status == "completed"]
    return (
        sum(batch.entity_count for batch in batches),
        sum(batch.interaction_count for batch in batches),
        len(waiting_events(settings, 0, 1000)),
    )


def test_batches_hold_so_many_and_no_event_is_in_two(filled: Settings) -> None:
    batches = compact_events(filled, Catalog(filled.home), most=200)

    assert [(0, 200), (0, 200), (1, 0), (0, 100)] == [(b.entity_count, b.interaction_count) for b in batches]
    assert (51, 500, 0) == counted(filled)
    assert {"events"} == {tag for batch in batches for tag in batch.tags}
    assert [] == compact_events(filled, Catalog(filled.home))
    assert 500 == len({row[1] for row in stored(filled, "interactions")})


_KILLED = """
import os, random, signal, sys
from pathlib import Path
from lucid.data.event_batches import compact_events
from lucid.settings import Settings
from lucid.store.catalog import Catalog

left = int(sys.argv[2])

def before_call(frame, event, argument):
    # Dies at the n-th call of one of our functions: between any two steps, and within each.
    global left
    if event == "call" and "lucid" in frame.f_code.co_filename:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

settings = Settings(home=Path(sys.argv[1]))
catalog = Catalog(settings.home)
sys.setprofile(before_call)
compact_events(settings, catalog, most=300)
sys.setprofile(None)
print("done", left)
"""


def test_a_compaction_that_is_killed_anywhere_loses_and_doubles_nothing(filled: Settings, tmp_path: Path) -> None:
    """Killed at calls all over it, and done again by the next one: each event is in one batch, no failed one stays."""
    total = int(_compacting(shutil.copytree(filled.home, tmp_path / "whole"), 1_000_000).split()[1])
    steps = 1_000_000 - total
    for number in range(12):
        home = Path(shutil.copytree(filled.home, tmp_path / f"killed-{number}"))
        settings = Settings(home=home)
        for place in (1 + number * steps // 12, 1 + random.Random(number).randrange(steps)):
            _compacting(home, place)
            entities, interactions, waiting = counted(settings)
            assert 551 == entities + interactions + waiting

        sweep(settings, Catalog(home), is_lost=lambda _run, _entered: False)
        compact_events(settings, Catalog(home))

        assert (51, 500, 0) == counted(settings)
        assert {"completed"} == {batch.status for batch in Catalog(home).batches.find()}
        assert 500 == len({row[1] for row in stored(settings, "interactions")})
        left = [path.name for path in Home(home).batches.iterdir()]
        assert sorted(batch.batch_id for batch in Catalog(home).batches.find()) == sorted(left)


def _compacting(home: str | Path, calls: int) -> str:
    """What a process says that compacts and dies at the n-th call of ours."""
    command = [sys.executable, "-c", _KILLED, str(home), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout


_SENDING = """
import sys
from pathlib import Path
from lucid.data.events import EventIntake
from lucid.settings import Settings

intake, first = EventIntake(Settings(home=Path(sys.argv[1]))), int(sys.argv[2])
for place in range(first, first + 100_000, 3):
    numbers = range(place, place + 3)
    intake.accept([[{"type": "likes", "source_id": "u", "target_id": f"i{n}", "event_id": f"e{n}"} for n in numbers]])
    print(place + 3, flush=True)
"""


def test_what_was_told_is_there_after_a_kill_at_any_moment(settings: Settings) -> None:
    """Killed -9 while it writes: all that it had told are there, and what is sent again is known."""
    chance, told = random.Random(7), 0
    Catalog(settings.home)
    for _ in range(6):
        command = [sys.executable, "-c", _SENDING, str(settings.home), str(told)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sending:
            assert sending.stdout is not None
            lines = iter(sending.stdout.readline, "")
            told = int(next(lines))  # it has begun
            time.sleep(chance.uniform(0, 0.2))
            os.kill(sending.pid, signal.SIGKILL)
            for line in lines:
                told = int(line) if line.endswith("\n") else told
    compact_events(settings, Catalog(settings.home))
    found = [int(row[2][1:]) for row in stored(settings, "interactions")]

    assert len(found) == len(set(found))
    assert set(range(told)) <= set(found)
    assert len(found) <= told + 3


def test_many_processes_may_write(settings: Settings, tmp_path: Path) -> None:
    """The same ids from several at once: each counts once."""
    Catalog(settings.home)
    script = _SENDING.replace("100_000", "90")
    commands = [[sys.executable, "-c", script, str(settings.home), str(first)] for first in (0, 0, 30)]
    for process in [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]:
        assert 0 == process.wait(60)

    with EventLog(settings.home).reading() as log:
        ids = [one.event.event_id for one in log.after(0, 1000)]
    assert sorted(f"e{number}" for number in range(120)) == sorted(name or "" for name in ids)


# What else works on a home


def test_a_training_learns_from_events_that_wait(workspace: Workspace, entities_csv: WriteCsv) -> None:
    """Nobody has to wait for the hour; the tag may be asked for though no batch carries it yet."""
    users, items = range(20), range(10)
    workspace.send_events(
        [
            *({"id": f"u{user}", "type": "user"} for user in users),
            *({"id": f"i{item}", "type": "item"} for item in items),
            *(
                {"type": "likes", "source_id": f"u{user}", "target_id": f"i{item}"}
                for user in users
                for item in items
                if user % 2 == item % 2
            ),
        ]
    )

    status = workspace.train("m", data_tags=["events"])

    assert "completed" == status.status
    assert 2 == len(status.data_batch_ids)
    assert [] == workspace.waiting_events()


def test_erasure_takes_events_that_wait(filled: Settings) -> None:
    """By either end, as an entity, and in metadata; of the others none; nothing of it is left in any file."""
    workspace = Workspace(settings=filled)
    workspace.send_events(
        [
            {"type": "likes", "source_id": "zoe-4711", "target_id": "i", "metadata": {"note": "zoe-4711"}},
            {"type": "knows", "source_id": "u1", "target_id": "zoe-4711"},
            {"id": "zoe-4711", "type": "user", "name": "Zoe Secret"},
            {"type": "likes", "source_id": "u1", "target_id": "i", "metadata": {"with": "zoe-4711", "day": "monday"}},
        ]
    )

    erased = workspace.erase("zoe-4711")

    assert (1, 2, 1) == (erased.entities, erased.interactions, erased.metadata_values)
    assert (51, 501, 0) == counted(filled)
    for path in filled.home.rglob("*"):
        if path.is_file():
            assert b"zoe-4711" not in path.read_bytes(), path
            assert b"Zoe Secret" not in path.read_bytes(), path


def test_a_backup_holds_events_and_counts_none_twice(filled: Settings, tmp_path: Path) -> None:
    """Those that wait, and of the others that they stand in batches; a log that is older than its catalog too."""
    workspace = Workspace(settings=filled)
    workspace.back_up(tmp_path / "backup")
    restored = Workspace.restore(tmp_path / "backup", tmp_path / "restored")

    assert (50, 0, 501) == counted(restored.settings)
    answer = restored.send_events([{"id": "i", "type": "item", "event_id": "c"}, {"id": "k", "type": "item"}])
    assert (2, 1) == (answer.accepted, answer.duplicates)
    compact_events(restored.settings, Catalog(restored.settings.home))
    assert (52, 500, 0) == counted(restored.settings)
