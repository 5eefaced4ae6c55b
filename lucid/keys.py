"""API keys: random secrets of which only the hash is kept."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Literal, get_args

from lucid.errors import InvalidRequest
from lucid.schema.fields import utc_now
from lucid.store.catalog import Catalog
from lucid.store.tables.keys import ApiKey

Scope = Literal["data:read", "data:write", "train", "recommend", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
MAX_NAME = 200


def create_key(catalog: Catalog, name: str = "", scopes: Sequence[str] = SCOPES) -> tuple[ApiKey, str]:
    """Make a key and return it with its secret, which is shown only now.

    Raises InvalidRequest for unknown scopes, and for a name that is too long.
    """
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"the name of a key has at most {MAX_NAME} characters, this one {len(name):,}")
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InvalidRequest(f"unknown scope {', '.join(unknown)!r}; scopes are {', '.join(SCOPES)}")
    secret = f"lucid_{secrets.token_urlsafe(32)}"
    key = ApiKey(secrets.token_hex(4), name, hash_secret(secret), tuple(dict.fromkeys(scopes)), utc_now())
    catalog.keys.add(key)
    return key, secret


def hash_secret(secret: str) -> str:
    """SHA-256 of a key. The secret has 256 random bits, so a slow password hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()
