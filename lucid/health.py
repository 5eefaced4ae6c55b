"""What is wrong with the data of a running service: said in the log once, and shown to its operator while it lasts."""

import logging
import threading

_log = logging.getLogger("lucid")


class HealthWarnings:
    """Sentences about what could not be read or was set aside, one for each thing; safe to share between threads."""

    def __init__(self) -> None:
        self._sentences: dict[str, str] = {}
        self._changing = threading.Lock()

    def warn(self, about: str, sentence: str) -> None:
        """Say what is wrong with a thing and what to do; one log line when that is new."""
        with self._changing:
            if self._sentences.get(about) == sentence:
                return
            self._sentences[about] = sentence
        _log.warning("%s", sentence)

    def settle(self, about: str) -> None:
        """Forget what was wrong with a thing: it is well again, or gone."""
        with self._changing:
            self._sentences.pop(about, None)

    def current(self) -> list[str]:
        """All that is wrong now, oldest first."""
        with self._changing:
            return list(self._sentences.values())
