"""Placements: random rules against an oracle, and how long an answer takes that follows rules.

    python -m benchmarks.placements [--rule-sets 10000] [--targets 4000]

Rules are judged on the small shop of the tests, row by row, see `tests.support.shop`. Times are those of answers of the
API over HTTP, one at a time, for a catalogue of `--targets` targets: with rules, and plain, scored at once as those
are. What is precomputed takes part in neither.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucid.api.paths import BASE
from lucid.workspace import Workspace
from tests.support.service import Api
from tests.support.shop import open_shop, random_query, random_rules, violations

GOAL = 1.5
"""How many times as long as a plain one an answer with rules may take, at the median."""
_WHITE = [{"field": "metadata.colour", "op": "eq", "value": "white"}]
_DEAR = [{"field": "metadata.price", "op": "gte", "value": 80}]
_OLD = [{"field": "metadata.price", "op": "lt", "value": 10}]

RULES: Mapping[str, Mapping[str, Any]] = {
    "filter and availability": {"target_filter": _DEAR},
    "pin, boost, bury": {
        "pin": [{"id": "i00007", "rank": 2}, {"id": "i00012", "rank": 5}],
        "boost": [{"when": _WHITE, "factor": 1.5}],
        "bury": [{"when": _OLD}],
    },
    "quotas": {
        "quotas": [{"each": "metadata.brand", "at_most": 2, "of": 10}, {"when": _WHITE, "at_least": 3, "of": 10}]
    },
    "diversity": {"diversity": {"lambda": 0.7}},
    "freshness": {"fresh": {"by": "metadata.published", "half_life_days": 30}},
    "exclude, explore": {"exclude": [{"interaction_type": "buy", "days": 30}], "explore": {"share": 0.1}},
}
"""Rules that are timed, alone and all of them together."""


def main() -> None:
    """Print what was found; exit code 1 where a rule was not followed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule-sets", type=int, default=10_000)
    parser.add_argument("--targets", type=int, default=4_000)
    parser.add_argument("--sources", type=int, default=3_000)
    parser.add_argument("--answers", type=int, default=300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = _judge(Path(folder) / "shop", asked.rule_sets)
        _time(Path(folder) / "large", asked.targets, asked.sources, asked.answers)
    raise SystemExit(1 if wrong else 0)


def _judge(folder: Path, count: int) -> int:
    shop, began = open_shop(folder), time.monotonic()
    wrong = 0
    for seed in range(count):
        chance = random.Random(seed)
        rules, query = random_rules(chance), random_query(chance)
        for found in violations(shop, query, rules):
            wrong += 1
            print(f"rule set {seed}: {found}")
    print(f"{count:,} random rule sets against the oracle: {wrong} violations ({time.monotonic() - began:.0f} s)")
    return wrong


def _time(folder: Path, targets: int, sources: int, answers: int) -> None:
    workspace = _large(folder, targets, sources)
    every = {name: value for rules in RULES.values() for name, value in rules.items()}
    sets = {**RULES, "all of them": every}
    for number, rules in enumerate(sets.values()):
        workspace.save_placement({**rules, "name": f"rules-{number}", "exclude_interacted": False}, "large")
    print(f"\n{targets:,} targets, {sources:,} sources; median of {answers} answers over HTTP, one at a time")
    print(f"{'rules':26}{'rows':>6}{'plain ms':>10}{'rules ms':>10}{'ratio':>8}   (goal: at most {GOAL})")
    with Api(folder / "home").running() as api:
        for rows in (10, 100):
            for number, name in enumerate(sets):
                plain, placed = _medians(api, f"rules-{number}", rows, sources, answers)
                print(f"{name:26}{rows:>6}{1000 * plain:>10.2f}{1000 * placed:>10.2f}{placed / plain:>8.2f}")


def _medians(api: Api, placement: str, rows: int, sources: int, answers: int) -> tuple[float, float]:
    """Seconds of a plain answer and of one with rules, in turns, so that whatever else works meets both."""

    def answer(source: int, **more: str) -> float:
        asked: dict[str, Any] = {
            "model_id": "large",
            "source_id": f"u{source:05}",
            "target_type": "item",
            "max_recommendations": rows,
            "exclude_interacted": False,  # so that nothing was computed ahead
            **more,
        }
        began = time.perf_counter()
        api.own_client.post(f"{BASE}/recommended_items", json=asked).raise_for_status()
        return time.perf_counter() - began

    for source in range(5):
        answer(source), answer(source, placement=placement)
    times = [(answer(n % sources), answer(n % sources, placement=placement)) for n in range(answers)]
    plain, placed = zip(*times, strict=True)
    return statistics.median(plain), statistics.median(placed)


def _large(folder: Path, targets: int, sources: int) -> Workspace:
    """A model of sources of ten tastes, each of which likes a tenth of the targets."""
    folder.mkdir(parents=True)
    chance = random.Random(1)
    entities = ["id,type,name,metadata,media_url"]
    entities += [f"u{number:05},user,,," for number in range(sources)]
    for number in range(targets):
        metadata = {
            "colour": chance.choice(("white", "black", "grey")),
            "brand": f"brand {chance.randrange(40)}",
            "price": chance.randint(1, 100),
            "published": f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
            "available": chance.random() < 0.9,
        }
        text = json.dumps(metadata).replace('"', '""')
        entities.append(f'i{number:05},item,Item {number},"{text}",')
    interactions = ["type,source_id,target_id,timestamp,metadata"]
    for source in range(sources):
        for _ in range(40):
            target = chance.randrange(targets // 10) * 10 + source % 10
            day = f"2026-{chance.randint(1, 11):02}-{chance.randint(1, 28):02}"
            interactions.append(f"{chance.choice(('view', 'buy'))},u{source:05},i{target:05},{day},")
    files = [folder / "entities.csv", folder / "interactions.csv"]
    for file, lines in zip(files, (entities, interactions), strict=True):
        file.write_text("\n".join(lines) + "\n")
    workspace = Workspace(folder / "home")
    workspace.import_files(files)
    workspace.train("large")
    return workspace


if __name__ == "__main__":
    main()
