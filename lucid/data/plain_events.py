"""Interactions that are seen to be good without a query: DuckDB takes some 5 ms to prepare one, for a single event too.

Most events are such. What `plain_row` passes over, `lucid.data.csv_load` checks; where both tell, they tell the same.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

_UNIX_SECONDS = re.compile(r"[1-9][0-9]{8,9}(\.[0-9]+)?")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3])(:[0-9]{2}){2}(\.[0-9]{3}([0-9]{3})?)?(Z|\+00:00)")
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def plain_row(cells: Mapping[str, str | None], now: int, most: int) -> dict[str, Any] | None:
    """The stored columns of an interaction, its timestamp in microseconds; None where that takes a query to tell.

    `cells` has every column, `now` is in microseconds, `most` how many characters metadata may have.
    """
    if not all(cells[name] for name in ("type", "source_id", "target_id")):
        return None
    if any("\0" in text for text in cells.values() if text):
        return None
    metadata, timestamp = cells["metadata"], cells["timestamp"]
    if metadata is not None and not (len(metadata) <= most and _is_object(metadata)):
        return None
    moment = None if timestamp is None else _moment(timestamp)
    if timestamp is not None and (moment is None or moment > now):
        return None
    return {**cells, "timestamp": moment}


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _moment(text: str) -> int | None:
    """Microseconds since 1970, of a time as most programs write it."""
    if _UNIX_SECONDS.fullmatch(text):
        return round(float(text) * 1e6)
    if not _ISO.fullmatch(text):
        return None
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    except ValueError:  # a day or a minute that there is not
        return None
