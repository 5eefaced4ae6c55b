"""What a process says, line by line: one form for all of it, the ids that it is about, and no secrets.

A process of the service calls `take_over` once its libraries have set up their own logging. Where Lucid runs as a
library, logging belongs to the program around it, and nothing here is called but `about` and `hide`.
"""

import base64
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any

FORMAT_VARIABLE = "LUCID_LOG_FORMAT"
"""Environment variable of the setting, for who begins before there are settings."""
IDS = "model_id", "version", "batch_id", "flow_run_id", "task_run_name"
"""What a line is about, where that is known; the last two stand in Prefect's own records too."""
RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""Where a worker of Prefect tells the process of a flow run which one it is."""

_HIDDEN = "[hidden]"
_BETWEEN = r"['\"]\s*,\s*b?['\"]|['\"]?\s*[:=]\s*(?:b?['\"])?"
_SECRETS = (
    (re.compile(r"\b(lucid[_:]|whsec_)[\w\-+/]{20,}=*"), rf"\1{_HIDDEN}"),  # our keys and what signs in to Prefect
    (
        re.compile(rf"\b((?:api-?key|authorization)(?:{_BETWEEN})(?:(?:Basic|Bearer) )?)[^\s'\",&]+", re.I),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(://)[^/\s:@'\"]*:[^/\s@'\"]+@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"([?&][^\s=&?'\"]+=)[^\s&#'\"<>]+"), rf"\1{_HIDDEN}"),  # whoever is called may have put one there
)
_about: ContextVar[Mapping[str, object]] = ContextVar("lucid_about", default=MappingProxyType({}))
_hidden: set[str] = set()


# What lines are about


@contextmanager
def about(**ids: object) -> Iterator[None]:
    """Let all lines of this thread that come from inside, whoever writes them, carry these of `IDS`."""
    before = _about.set({**_about.get(), **ids})
    try:
        yield
    finally:
        _about.reset(before)


def from_now_on_about(**ids: object) -> None:
    """The same to the end of this thread, or of the task of asyncio that runs."""
    _about.set({**_about.get(), **ids})


def ids_of(record: logging.LogRecord) -> dict[str, object]:
    """What a record is about: what it says itself, else what is being worked on."""
    known = {"flow_run_id": os.environ.get(RUN_VARIABLE), **_about.get()}
    found = {name: getattr(record, name, None) or known.get(name) for name in IDS}
    return {name: value for name, value in found.items() if value is not None}


# What they must not tell


def hide(*secrets: str | None) -> None:
    """Let no line of this process hold these, nor what they become where a call is signed in with them."""
    for secret in filter(None, secrets):
        _hidden.update((secret, base64.b64encode(secret.encode()).decode()))


def without_secrets(text: str) -> str:
    """A text with `[hidden]` in place of keys, of what signs in or signs, and of the values in the query of a URL."""
    for secret in _hidden:
        text = text.replace(secret, _HIDDEN)
    for pattern, kept in _SECRETS:
        text = pattern.sub(kept, text)
    return text


# Their form


class HumanLines(logging.Formatter):
    """`2026-03-01T12:00:00.000Z WARNING lucid: message (model_id=videos version=3)`; a traceback follows."""

    def format(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in ids_of(record).items())
        line = f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}" + (f" ({ids})" if ids else "")
        return without_secrets("\n".join([line, *_traces(self, record).values()]))


class JsonLines(logging.Formatter):
    """One JSON object a line, with a traceback as text under `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        said = {"message": record.getMessage(), **_traces(self, record)}
        head = {"time": _time(record), "level": record.levelname, "logger": record.name}
        hidden = {name: without_secrets(text) for name, text in said.items()}
        return json.dumps(head | hidden | ids_of(record), default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traces(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, str]:
    traces = {}
    if record.exc_info and record.exc_info[0]:
        traces["exception"] = formatter.formatException(record.exc_info)
    if record.stack_info:
        traces["stack"] = record.stack_info
    return traces


# Who writes them


def take_over(log_format: str) -> None:
    """Let all that this process says on its outputs be lines of ours: `json`, or for people.

    That is what loggers say, whatever handlers libraries gave them, what is printed, warnings, and errors that nobody
    caught. May be called again after a library has set up its own handlers.
    """
    lines = _Lines(sys.__stderr__)
    lines.setFormatter(JsonLines() if log_format == "json" else HumanLines())
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    for logger in (logging.root, *known):
        others = [handler for handler in logger.handlers if not _writes_to_an_output(handler)]
        if len(others) < len(logger.handlers):
            logger.handlers, logger.propagate = others, True
    logging.root.addHandler(lines)
    logging.captureWarnings(True)
    sys.stdout, sys.stderr = _Printed("stdout", logging.INFO), _Printed("stderr", logging.WARNING)
    sys.excepthook = _say_uncaught
    threading.excepthook = lambda uncaught: _say_uncaught(
        uncaught.exc_type, uncaught.exc_value or uncaught.exc_type(), uncaught.exc_traceback
    )


class _Lines(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        """Let a line be lost that cannot be written, as without room: words about that would be one more."""


def _writes_to_an_output(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__) or isinstance(stream, _Printed)


def _say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    elif not issubclass(kind, SystemExit):
        logging.getLogger("lucid").critical("an error ended this thread", exc_info=(kind, error, trace))


class _Printed(io.TextIOBase):
    """An output whose lines become records of a logger of its name."""

    encoding = "utf-8"

    def __init__(self, name: str, level: int) -> None:
        self._logger, self._level, self._begun = logging.getLogger(name), level, threading.local()
        self._logger.setLevel(level)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        stream = sys.__stdout__ if self._logger.name == "stdout" else sys.__stderr__
        if stream is None:
            raise io.UnsupportedOperation("fileno")
        return stream.fileno()

    def write(self, text: str) -> int:
        *whole, self._begun.line = (self._rest() + text).split("\n")
        for line in whole:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Say what was begun and has no end yet: Python asks for it last of all."""
        rest, self._begun.line = self._rest(), ""
        self._say(rest)

    def _rest(self) -> str:
        return getattr(self._begun, "line", "")

    def _say(self, line: str) -> None:
        """What a handler that others set up later writes here, while this is said, makes no other line."""
        if not line.strip():
            return
        if getattr(self._begun, "is_saying", False):
            os.write(self.fileno(), f"{without_secrets(line.rstrip())}\n".encode(errors="replace"))
            return
        self._begun.is_saying = True
        try:
            self._logger.log(self._level, "%s", line.rstrip())
        finally:
            self._begun.is_saying = False
