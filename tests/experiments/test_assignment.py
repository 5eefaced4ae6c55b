"""Who gets which variant follows from names alone: uniform, the same each time, independent between experiments."""

from collections import Counter
from hashlib import blake2b

import numpy as np
import pytest
from pydantic import ValidationError

from lucid.schema.experiments import Experiment, ExperimentRequest
from lucid.schema.fields import utc_now
from lucid.versions.experiments import variant_of

SOURCES = [f"user_{number}" for number in range(40_000)]


def experiment(name: str, *shares: float) -> Experiment:
    variants = [{"name": f"v{number}", "share": share} for number, share in enumerate(shares)]
    return Experiment.model_validate({"name": name, "model_id": "m", "variants": variants, "started": utc_now()})


def variants(of: Experiment) -> list[str | None]:
    found = (variant_of(of, source) for source in SOURCES)
    return [one.name if one else None for one in found]


def test_shares_are_kept() -> None:
    """Within five standard errors; who is beyond the shares takes no part."""
    counts = Counter(variants(experiment("a", 0.1, 0.6, 0.2)))

    for name, share in (("v0", 0.1), ("v1", 0.6), ("v2", 0.2), (None, 0.1)):
        assert abs(counts[name] / len(SOURCES) - share) < 5 * np.sqrt(share * (1 - share) / len(SOURCES))


def test_everybody_takes_part_where_shares_are_one_together() -> None:
    """Though the sum of ten tenths is less than 1 for a computer."""
    assert None not in variants(experiment("a", *[0.1] * 10))


def test_assignment_is_the_same_each_time_and_of_known_values() -> None:
    """Programs of others may compute it: 64 bits of BLAKE2b, keyed by that of the name."""
    one = experiment("deeper", 0.5, 0.5)

    assert variants(one) == variants(experiment("deeper", 0.5, 0.5))
    key = blake2b(b"deeper", digest_size=32).digest()
    numbers = [int.from_bytes(blake2b(source.encode(), key=key, digest_size=8).digest(), "big") for source in SOURCES]
    assert ["v0" if number < 2**63 else "v1" for number in numbers] == variants(one)
    assert "v1 v1 v1 v1 v1 v0" == " ".join(map(str, variants(one)[:6]))


def test_experiments_are_independent() -> None:
    """Half of the one's half is in the other's: what one does to sources does not colour the other."""
    a, b = (np.array(variants(experiment(name, 0.5, 0.5))) == "v0" for name in ("a", "b"))

    assert abs((a & b).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / len(SOURCES))


def test_nobody_takes_part_after_the_end() -> None:
    stopped = experiment("a", 0.5, 0.5).model_copy(update={"stopped": utc_now()})

    assert {None} == {variant_of(stopped, source) for source in SOURCES[:100]}


@pytest.mark.parametrize(
    ("shares", "names", "message"),
    [
        ((0.5, 0.6), "ab", "1.1 together"),
        ((0.5, 0.5), "aa", "called 'a'"),
        ((0.5,), "a", "at least 2"),
        ((0.0, 0.5), "ab", "greater than 0"),
    ],
)
def test_shares_that_do_not_fit_are_refused(shares: tuple[float, ...], names: str, message: str) -> None:
    wanted = [{"name": name, "share": share} for name, share in zip(names, shares, strict=True)]

    with pytest.raises(ValidationError, match=message):
        ExperimentRequest.model_validate({"name": "x", "model_id": "m", "variants": wanted})
