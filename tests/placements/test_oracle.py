"""Random rules on a small shop, judged row by row by an oracle that reads what was uploaded."""

import random

import pytest

from tests.support.shop import Shop, open_shop, random_query, random_rules, violations

RULE_SETS = 400
"""In the suite; `make bench-placements` tries 10,000."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(tmp_path_factory.mktemp("shop"))


def test_answers_follow_whatever_rules(shop: Shop) -> None:
    """What is shown, where it stands, what it says of itself: nothing is but as the rules say."""
    found = []
    for seed in range(RULE_SETS):
        chance = random.Random(seed)
        rules, query = random_rules(chance), random_query(chance)
        found += [f"{seed}: {one}" for one in violations(shop, query, rules)]

    assert [] == found
