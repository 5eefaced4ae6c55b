"""Requests that may be repeated: the header `Idempotency-Key`, as draft-ietf-httpapi-idempotency-key-header has it.

A key belongs to the API key that it comes with. What its first request has entered stands in the catalog, in the
transaction that entered it; nothing is kept here.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from lucid.api.auth import KEY_ID
from lucid.errors import InvalidRequest
from lucid.schema.fields import utc_now
from lucid.store.tables.requests import RequestKey

HEADER = "Idempotency-Key"

# A string of RFC 8941, in quotes; or, as many clients send it, the bare text.
_SHAPE = r'^(?:"(?:[!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$'
_DESCRIPTION = (
    "Makes the call safe to repeat: for 24 hours, the same key with the same request gives what the first call gave. "
    "1 to 255 visible ASCII characters, a new one for every new request, such as a UUID; in double quotes or without."
)


@dataclass(frozen=True)
class IdempotencyKey:
    """A key that came with a request, and the id of the API key that it belongs to."""

    owner: str
    text: str

    def of(self, call: str, asked: dict[str, Any]) -> RequestKey:
        """The key of a request that asks for this, whatever the order of names."""
        return RequestKey(_digest([self.owner, self.text]), _digest([call, asked]), utc_now())


def read(values: list[str]) -> str | None:
    """The key that the header's values name, None where it was not sent; raises InvalidRequest."""
    if not values:
        return None
    if len(values) > 1 or not re.fullmatch(_SHAPE, values[0]):
        raise InvalidRequest(
            f"{HEADER}: send one key of 1 to 255 visible ASCII characters, in double quotes or without; try a UUID"
        )
    (value,) = values
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


async def _given(
    request: Request,
    _documented: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description=_DESCRIPTION,
            examples=['"8e03978e-40d5-43e8-bc93-6894a57f9324"'],
            json_schema_extra={"pattern": _SHAPE},
        ),
    ] = None,
) -> IdempotencyKey | None:
    key = read(request.headers.getlist(HEADER))
    return None if key is None else IdempotencyKey(request.scope[KEY_ID], key)


Given = Annotated[IdempotencyKey | None, Depends(_given)]
"""The key that a request came with, if any; a malformed one is refused before the request is read."""


def _digest(content: object) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
