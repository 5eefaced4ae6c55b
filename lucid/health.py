"""What is wrong with the data of a running service: said in the log once, and shown to its operator while it lasts."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lucid.errors import LucidError, Unavailable

_log = logging.getLogger("lucid")


class HealthWarnings:
    """Sentences about what could not be read or was set aside, one for each thing; safe to share between threads."""

    def __init__(self, *, no_news: tuple[type[Exception], ...] = ()) -> None:
        """Errors that are `no_news` are not told: whoever works here meets them anyway."""
        self._no_news = no_news
        self._sentences: dict[str, str] = {}
        self._changing = threading.Lock()

    def warn(self, about: str, sentence: str, *, cause: Exception | None = None) -> None:
        """Say what is wrong with a thing and what to do; one log line, with the cause, when that is new.

        Anybody may read the sentence; the cause may name places of this machine.
        """
        sentence = sentence.encode(errors="backslashreplace").decode()  # a name on disk may be no UTF-8
        with self._changing:
            if self._sentences.get(about) == sentence:
                return
            self._sentences[about] = sentence
        expected = isinstance(cause, LucidError | OSError)
        _log.warning("%s", f"{sentence} ({cause})" if expected else sentence, exc_info=None if expected else cause)

    def settle(self, about: str) -> None:
        """Forget what was wrong with a thing: it is well again, or gone."""
        with self._changing:
            self._sentences.pop(about, None)

    def current(self) -> list[str]:
        """All that is wrong now, oldest first."""
        with self._changing:
            return list(self._sentences.values())

    @contextmanager
    def apart(self, about: str, failing: str) -> Iterator[None]:
        """Work on one thing so that whatever goes wrong with it is a warning, and what is around it goes on.

        `failing` begins the sentence: what could not be done, and to what.
        """
        try:
            yield
        except self._no_news:
            return
        except Exception as error:  # whatever it was: nothing but this thing may suffer from it
            self.warn(about, f"{failing}: {_said(error)}", cause=None if _is_public(error) else error)
        else:
            self.settle(about)

    @contextmanager
    def round(self, kind: str) -> Iterator["Round"]:
        """Look at all things of a kind, one after the other; what was wrong with one that is gone is forgotten."""
        looked_at = Round(self, kind)
        yield looked_at
        with self._changing:
            gone = [about for about in self._sentences if about.startswith(f"{kind}/") and about not in looked_at.seen]
            for about in gone:
                del self._sentences[about]


class Round:
    """One look at all things of a kind; see `HealthWarnings.round`."""

    def __init__(self, warnings: HealthWarnings, kind: str) -> None:
        self._warnings, self._kind = warnings, kind
        self.seen: set[str] = set()

    @contextmanager
    def apart(self, thing: str, failing: str) -> Iterator[None]:
        """See `HealthWarnings.apart`."""
        with self._warnings.apart(self._about(thing), failing):
            yield

    def warn(self, thing: str, sentence: str) -> None:
        """See `HealthWarnings.warn`."""
        self._warnings.warn(self._about(thing), sentence)

    def _about(self, thing: str) -> str:
        about = f"{self._kind}/{thing}"
        self.seen.add(about)
        return about


def _is_public(error: Exception) -> bool:
    """Whether the message of an error is for clients too."""
    return isinstance(error, LucidError) and error.for_customers == error.message


def _said(error: Exception) -> str:
    if isinstance(error, Unavailable):
        return "a part of the service that this needs does not answer now; it is tried again"
    if isinstance(error, LucidError):
        return error.for_customers
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror.lower()}; the log names the place"
    return f"{type(error).__name__}; the log has the rest"
