"""How many recommendations a version holds, by pair."""

from dataclasses import dataclass

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
    """The precomputed pairs of a version in the order in which they were computed; raises DamagedVersion."""
    try:
        with connect(version.folder / RECOMMENDATIONS, read_only=True) as connection:
            found = connection.execute(
                "SELECT source_type, target_type, max_recommendations, coalesce(found, 0) FROM precomputed "
                "LEFT JOIN (SELECT pair, count(*) AS found FROM recommendations GROUP BY pair) USING (pair) "
                "ORDER BY pair"
            ).fetchall()
    except duckdb.Error as error:
        raise DamagedVersion(f"version {version.number}", f"{RECOMMENDATIONS}: it cannot be read") from error
    return [PairCount(*pair) for pair in found]
