"""How many recommendations a version holds, by pair."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import duckdb

from lucid.errors import DamagedVersion
from lucid.store.duck import connect
from lucid.versions.files import RECOMMENDATIONS
from lucid.versions.version import Version


@dataclass(frozen=True)
class PairCount:
    """A pair that was precomputed: how many recommendations were asked for each source, how many there are in all."""

    source_type: str
    target_type: str
    asked: int
    recommendations: int


def count_precomputed(version: Version) -> list[PairCount]:
    """The precomputed pairs of a version in the order in which they were computed; raises DamagedVersion.

    Of many sources that takes a moment, so a process counts each file once: published, it does not change.
    """
    path = version.folder / RECOMMENDATIONS
    try:
        return list(_counted(path, path.stat().st_mtime_ns))
    except (duckdb.Error, FileNotFoundError) as error:
        raise DamagedVersion(f"version {version.number}", f"{RECOMMENDATIONS}: it cannot be read") from error


@lru_cache(maxsize=256)
def _counted(path: Path, _stamp: int) -> tuple[PairCount, ...]:
    with connect(path, read_only=True) as connection:
        found = connection.execute(
            "SELECT source_type, target_type, max_recommendations, coalesce(found, 0) FROM precomputed "
            "LEFT JOIN (SELECT pair, count(*) AS found FROM recommendations GROUP BY pair) USING (pair) "
            "ORDER BY pair"
        ).fetchall()
    return tuple(PairCount(*pair) for pair in found)
