"""Who is signed in to the console. A browser gets a random token, and the home keeps only its hash.

So neither the key nor anything that signs in stands in the home or a log, and people stay signed in when the API is
started anew. A session ends after `LIFE`, by signing out, and with the key that it was begun with.
"""

import hashlib
import hmac
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lucid.api.keyring import KeyRing
from lucid.errors import Damaged
from lucid.schema.fields import utc_now
from lucid.store.documents import read_json
from lucid.store.files import make_folder, write_text
from lucid.store.home import Home
from lucid.store.tables.keys import ApiKey

LIFE = timedelta(hours=12)


@dataclass(frozen=True)
class Session:
    """A browser that is signed in, and the key that it is signed in with."""

    token: str
    key: ApiKey

    @property
    def csrf(self) -> str:
        """What each of its forms carries: known to our own pages only, and of no use without the cookie."""
        return hmac.new(self.token.encode(), b"csrf", hashlib.sha256).hexdigest()


class Sessions:
    """The sessions of a home; small files, so that they need no table and outlive the process."""

    def __init__(self, home: Path, keys: KeyRing) -> None:
        self._folder, self._keys = Home(home).console_sessions, keys

    def begin(self, key: ApiKey) -> Session:
        """Sign a browser in; what has run out is removed."""
        session = Session(secrets.token_urlsafe(32), key)
        make_folder(self._folder)
        for path in self._folder.glob("*.json"):
            with suppress(FileNotFoundError):
                if _read(path) is None:
                    path.unlink()
        ends = utc_now() + LIFE
        write_text(self._path(session.token), json.dumps({"key_id": key.key_id, "ends": ends.isoformat()}))
        return session

    def find(self, token: str | None) -> Session | None:
        """The session of a token; None where there is none, it has run out, or its key was revoked."""
        with suppress(FileNotFoundError):
            if token and (key_id := _read(self._path(token))) and (key := self._keys.with_id(key_id)):
                return Session(token, key)
        return None

    def end(self, token: str | None) -> None:
        """Sign a browser out."""
        if token:
            self._path(token).unlink(missing_ok=True)

    def _path(self, token: str) -> Path:
        return self._folder / f"{hashlib.sha256(token.encode()).hexdigest()}.json"


def _read(path: Path) -> str | None:
    """The key of a session that has not run out; raises FileNotFoundError for none."""
    try:
        key_id, ends = read_json(path, lambda raw: (str(raw["key_id"]), datetime.fromisoformat(raw["ends"])), "sign in")
        return key_id if ends > utc_now() else None
    except (Damaged, TypeError):  # cut short, or without a time zone: nobody is signed in by it
        return None
