"""Lines of a process: one form, the ids that they are about, no secrets."""

import json
import logging
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from lucid.logs import HumanLines, JsonLines, about, hide, without_secrets

SPEAKS = """
import logging, sys, threading, warnings
from lucid import logs

logging.basicConfig(format="a library's own form: %(message)s")
library = logging.getLogger("library")
library.addHandler(logging.StreamHandler(sys.stdout))
library.propagate = False
logs.take_over(sys.argv[1])
logs.take_over(sys.argv[1])

with logs.about(model_id="videos", version=3):
    logging.getLogger("lucid").warning("one line\\nand another")
library.error("of a library")
print("printed", "text")
print("begun", end="")
sys.stdout.flush()
warnings.warn("odd")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("lucid").exception("caught")
thread = threading.Thread(target=lambda: [][0], name="worker")
thread.start()
thread.join()
raise SystemError("uncaught, with lucid_aaaabbbbccccddddeeeeffff")
"""


def record(message: str, *values: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("lucid", logging.WARNING, "", 0, message, values, None)
    made.created = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    made.__dict__.update(more)
    return made


def said_by(log_format: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SPEAKS, log_format], capture_output=True, text=True, check=False)
    assert "" == done.stdout
    return done.stderr.splitlines()


def test_a_line_of_json_says_when_how_bad_who_what_and_about_what() -> None:
    """The time is UTC; ids come from what is being worked on, or from the record, which knows better."""
    with about(model_id="videos", version=3), about(version=4, batch_id="b"):
        line = JsonLines().format(record("%s rows", 7, batch_id="c"))

    assert {
        "time": "2026-03-01T12:00:00.000Z",
        "level": "WARNING",
        "logger": "lucid",
        "message": "7 rows",
        "model_id": "videos",
        "version": 4,
        "batch_id": "c",
    } == json.loads(line)


def test_a_line_for_people_says_the_same() -> None:
    """Without ids, there are no brackets."""
    with about(model_id="videos", version=3):
        line = HumanLines().format(record("late"))

    assert "2026-03-01T12:00:00.000Z WARNING lucid: late (model_id=videos version=3)" == line
    assert "2026-03-01T12:00:00.000Z WARNING lucid: late" == HumanLines().format(record("late"))


def test_what_a_line_is_about_ends_with_the_work_and_is_that_of_its_thread() -> None:
    """Another thread, and what comes after, say nothing of it."""
    lines = []
    with about(model_id="videos"):
        thread = threading.Thread(target=lambda: lines.append(JsonLines().format(record("elsewhere"))))
        thread.start()
        thread.join()
    lines.append(JsonLines().format(record("after")))

    assert [False, False] == ["model_id" in json.loads(line) for line in lines]


def test_a_line_tells_which_flow_run_its_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect says it to the process of a run."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "r")

    assert "r" == json.loads(JsonLines().format(record("late")))["flow_run_id"]


def test_all_that_a_process_says_is_a_line_of_json() -> None:
    """Loggers of libraries, prints, warnings, tracebacks, and what ended a thread or the process: each is one line."""
    lines = [json.loads(line) for line in said_by("json")]

    assert [
        ("WARNING", "lucid", "one line\nand another"),
        ("ERROR", "library", "of a library"),
        ("INFO", "stdout", "printed text"),
        ("INFO", "stdout", "begun"),
        ("WARNING", "py.warnings", "<string>:18: UserWarning: odd\n"),
        ("ERROR", "lucid", "caught"),
        ("CRITICAL", "lucid", "an error ended this thread"),
        ("CRITICAL", "lucid", "an error ended this thread"),
    ] == [(line["level"], line["logger"], line["message"]) for line in lines]
    assert ["ZeroDivisionError: division by zero", "IndexError: list index out of range"] == [
        line["exception"].splitlines()[-1] for line in lines[5:7]
    ]
    assert "SystemError: uncaught, with lucid_[hidden]" == lines[7]["exception"].splitlines()[-1]
    assert ("videos", 3) == (lines[0]["model_id"], lines[0]["version"])
    assert all(line["time"].endswith("Z") for line in lines)


def test_all_that_a_process_says_to_people_begins_with_its_time() -> None:
    """But for the rest of a text of several lines."""
    lines = said_by("human")

    assert ["WARNING lucid: one line", "and another (model_id=videos version=3)", "ERROR library: of a library"] == [
        line.removeprefix(line[:25]) if line[:2] == "20" else line for line in lines[:3]
    ]
    assert any(line.endswith("INFO stdout: printed text") for line in lines)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("key lucid_y4r2Px1pCcc7CqBCkTdeFswc5PQ2zwZmcJLFEOeuHZ4 is new", "key lucid_[hidden] is new"),
        ("lucid:y4r2Px1pCcc7CqBCkTdeFswc5PQ2zwZmcJ", "lucid:[hidden]"),
        ("whsec_eTRyMlB4MXBDY2M3Q3FCQ2tUZGVGc3djNVBRMg==", "whsec_[hidden]"),
        ("Authorization: Basic bHVjaWQ6c2VjcmV0", "Authorization: Basic [hidden]"),
        ("Basic settings of the apikey", "Basic settings of the apikey"),
        ("{'apikey': 'shop-1', 'a': 1}", "{'apikey': '[hidden]', 'a': 1}"),
        ("[(b'apikey', b'shop-1')]", "[(b'apikey', b'[hidden]')]"),
        ("GET /v1/x?apikey=abc&model_id=m HTTP/1.1", "GET /v1/x?apikey=[hidden]&model_id=[hidden] HTTP/1.1"),
        ("called 'https://hooks.shop/a?token=t#x'", "called 'https://hooks.shop/a?token=[hidden]#x'"),
        ("postgresql+asyncpg://me:pass@db:5432/p", "postgresql+asyncpg://[hidden]@db:5432/p"),
        ("signed with swordfish, sent as c3dvcmRmaXNo", "signed with [hidden], sent as [hidden]"),
        (
            "http://127.0.0.1:4200/runs/flow-run/1 at 12:30, why? a=b",
            "http://127.0.0.1:4200/runs/flow-run/1 at 12:30, why? a=b",
        ),
    ],
)
def test_no_secret_stands_in_a_line(said: str, told: str) -> None:
    """Keys, what signs callbacks and calls, and whatever the query of a URL holds; all else stays."""
    hide("swordfish", None)

    assert told == without_secrets(said)
    assert told == json.loads(JsonLines().format(record("%s", said)))["message"]
    assert HumanLines().format(record("%s", said)).endswith(told)


def test_a_handler_that_a_library_sets_up_later_makes_no_endless_loop() -> None:
    """It writes to what is read as printed; each line stands there, and the process goes on."""
    speaks = (
        "import logging, sys; from lucid import logs; logs.take_over('human'); "
        "logging.root.addHandler(logging.StreamHandler(sys.stderr)); logging.warning('said'); print('and goes on')"
    )

    done = subprocess.run([sys.executable, "-c", speaks], capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stdout)
    assert "WARNING root: said" in done.stderr
    assert "INFO stdout: and goes on" in done.stderr
    assert len(done.stderr.splitlines()) < 10
