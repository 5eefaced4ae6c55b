"""A small shop whose rows are known one by one, random rules for it, and an oracle that knows what they ask for.

The oracle reads the rows that were uploaded, not the files of a version, and tells of each row of an answer whether it
may stand there, given those above it: by lists and loops over everything, where Lucid takes the best few by arrays.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lucid.schema.fields import format_time, utc_now
from lucid.schema.filters import Condition
from lucid.schema.placements import Boost, Bury, PlacementRules
from lucid.schema.recommendations import RecommendationQuery
from lucid.serving.predictor import Predictor
from lucid.serving.registry import ModelRegistry
from lucid.workspace import Workspace

COLOURS, BRANDS = ("red", "green", "blue", "black"), ("ada", "bix", "cor", "dun", "eel")
USERS, ITEMS, BOOKS = 16, 60, 20
_DAY = 86_400.0
_ALIKE = 2e-5
"""How far likeness in single precision may be off."""


@dataclass
class Shop:
    """Everything that was uploaded: targets by their ids, and who did what when."""

    workspace: Workspace
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: list[tuple[str, str, str, float | None]] = field(default_factory=list)
    registry: ModelRegistry | None = None

    @property
    def predictor(self) -> Predictor:
        """What answers, with all that was uploaded."""
        if self.registry is None:
            self.registry = ModelRegistry(self.workspace.settings.home)
        return self.registry.predictor("shop")


def open_shop(folder: Path, seed: int = 1) -> Shop:
    """Import and train a shop, and import some more afterwards: what is out of stock, who bought what."""
    chance, now = random.Random(seed), utc_now()
    shop = Shop(Workspace(folder / "home"))
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(ITEMS + BOOKS):
        kind, name = ("item", f"i{number:02}") if number < ITEMS else ("book", f"b{number - ITEMS:02}")
        shop.targets[name] = {"type": kind, "name": f"The {name}", "metadata": _metadata(chance, now)}
    users = [f"u{number:02}" for number in range(USERS)]
    names = list(shop.targets)
    for number, user in enumerate(users):
        liked = [name for name in names if int(name[1:]) % 4 == number % 4 or chance.random() < 0.05]
        shop.done += [_interaction(chance, now, user, name) for name in liked if chance.random() < 0.6]
    plain = [{"type": "user", "name": user, "metadata": {}} for user in users]
    rows = [*shop.targets.items(), *zip(users, plain, strict=True)]
    shop.workspace.import_files([_entities(folder, rows), _interactions(folder, shop.done)])
    shop.workspace.train("shop")
    again = chance.sample(names, 6)
    for name in again:
        shop.targets[name]["since"] = _metadata(chance, now)
    new = [_interaction(chance, now, chance.choice(users), chance.choice(names)) for _ in range(12)]
    shop.done += new
    changed = [(name, {**shop.targets[name], "metadata": shop.targets[name]["since"]}) for name in again]
    shop.workspace.import_files([_entities(folder, changed, "more"), _interactions(folder, new, "more")])
    return shop


def _metadata(chance: random.Random, now: datetime) -> dict[str, Any]:
    found: dict[str, Any] = {
        "colour": sorted(chance.sample(COLOURS, chance.choice((1, 1, 1, 2)))),
        "brand": chance.choice(BRANDS),
        "price": chance.randint(1, 50),
    }
    if chance.random() < 0.8:
        found["published"] = format_time(now - timedelta(days=chance.uniform(-5, 400)))
    if chance.random() < 0.5:
        found["available"] = chance.random() < 0.8
    for key in ("available_from", "available_until"):
        if chance.random() < 0.15:
            found[key] = format_time(now + timedelta(days=chance.uniform(-20, 20)))
    if chance.random() < 0.05:
        del found["brand"]
    return found


def _interaction(chance: random.Random, now: datetime, user: str, target: str) -> tuple[str, str, str, float | None]:
    when = None if chance.random() < 0.1 else float(int(now.timestamp() - chance.uniform(0, 90) * _DAY))
    return chance.choice(("view", "view", "buy")), user, target, when


def _entities(folder: Path, rows: Sequence[tuple[str, Mapping[str, Any]]], name: str = "first") -> Path:
    lines = ["id,type,name,metadata,media_url"]
    for entity_id, row in rows:
        metadata = json.dumps(row["metadata"]).replace('"', '""')
        lines.append(f'{entity_id},{row["type"]},{row["name"]},"{metadata}",')
    file = folder / f"entities-{name}.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def _interactions(folder: Path, rows: Sequence[tuple[str, str, str, float | None]], name: str = "first") -> Path:
    lines = ["type,source_id,target_id,timestamp,metadata"]
    lines += [f"{kind},{source},{target},{'' if when is None else int(when)}," for kind, source, target, when in rows]
    file = folder / f"interactions-{name}.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


# Random rules


def random_rules(chance: random.Random) -> PlacementRules:
    """Rules of every kind, few or many of them, some of which cannot be kept."""

    def maybe(share: float) -> bool:
        return chance.random() < share

    rules: dict[str, Any] = {"available": maybe(0.7)}
    if maybe(0.3):
        rules["target_filter"] = _conditions(chance)
    if maybe(0.6):
        rules["exclude_interacted"] = maybe(0.3)
    if maybe(0.4):
        rules["exclude"] = [
            {
                "interaction_type": chance.choice(("view", "buy")),
                **({"days": chance.choice((1, 7, 30))} if maybe(0.7) else {}),
            }
            for _ in range(chance.choice((1, 1, 2)))
        ]
    if maybe(0.4):
        count = chance.choice((1, 2, 4))
        ids = chance.sample(
            [*(f"i{n:02}" for n in range(ITEMS)), *(f"b{n:02}" for n in range(BOOKS)), "nothing"], count
        )
        ranks = chance.sample([*range(1, 13), 40, 500], count)
        rules["pin"] = [{"id": one, "rank": rank} for one, rank in zip(ids, ranks, strict=True)]
    for kind, factors in (("boost", (1.2, 2, 10)), ("bury", (0, 0.5, 0.9))):
        if maybe(0.35):
            rules[kind] = [
                {"when": _conditions(chance), "factor": chance.choice(factors)} for _ in range(chance.choice((1, 2)))
            ]
    if maybe(0.3):
        by = chance.choice(("metadata.published", "last_interaction", "first_interaction"))
        rules["fresh"] = {"by": by, "half_life_days": chance.choice((3, 30)), "weight": chance.choice((0.3, 1))}
    if maybe(0.6):
        rules["quotas"] = [_quota(chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    if maybe(0.35):
        rules["diversity"] = {"lambda": chance.choice((0, 0.3, 0.7, 1)), "among": chance.choice((5, 20, 200))}
    if maybe(0.25):
        rules["explore"] = {"share": chance.choice((0.1, 0.5, 1)), "among": chance.choice((3, 10, 200))}
    return PlacementRules.model_validate(rules)


def _quota(chance: random.Random) -> dict[str, Any]:
    of = chance.choice((2, 3, 5, 5, 10))
    if chance.random() < 0.4:
        each = chance.choice(("metadata.brand", "metadata.colour", "type", "metadata.nothing"))
        return {"each": each, "at_most": chance.choice((0, 1, 2)), "of": of}
    how = (
        {"at_most": chance.choice((0, 1, 2))} if chance.random() < 0.5 else {"at_least": chance.randint(1, min(of, 3))}
    )
    return {"when": _conditions(chance, 1), **how, "of": of}


def _conditions(chance: random.Random, most: int = 2) -> list[dict[str, Any]]:
    some: list[dict[str, Any]] = [
        {"field": "metadata.colour", "op": "eq", "value": chance.choice(COLOURS)},
        {"field": "metadata.colour", "op": "not_in", "value": chance.sample(COLOURS, 2)},
        {"field": "metadata.brand", "op": "in", "value": chance.sample(BRANDS, 3)},
        {"field": "metadata.brand", "op": "exists", "value": chance.random() < 0.7},
        {"field": "metadata.price", "op": "gte", "value": chance.randint(5, 40)},
        {"field": "metadata.price", "op": "lt", "value": chance.randint(5, 40), "for_type": "item"},
        {"field": "type", "op": "eq", "value": chance.choice(("item", "book"))},
        {"field": "id", "op": "in", "value": [f"i{chance.randrange(ITEMS):02}" for _ in range(30)]},
        {"field": "metadata.nothing", "op": "eq", "value": "x"},
    ]
    return chance.sample(some, chance.randint(1, most))


def random_query(chance: random.Random) -> RecommendationQuery:
    """For one source or several, of one type or two."""
    types = chance.choice((["item"], ["item"], ["book"], ["item", "book"]))
    users = [f"u{number:02}" for number in chance.sample(range(USERS), chance.choice((1, 1, 2)))]
    return RecommendationQuery(
        model_id="shop",
        source_id=users,
        target_type=types,
        max_recommendations=chance.choice((1, 3, 10, 10, 25, 200)),
        threshold=chance.choice((0.0, 0.0, 0.0, 5.0)),
        exclude_interacted=chance.random() < 0.7,
    )


# The oracle


def violations(shop: Shop, query: RecommendationQuery, rules: PlacementRules) -> Iterator[str]:
    """What is wrong with the answer to a query under some rules, if anything is."""
    now, predictor = utc_now(), shop.predictor
    rows = _table(predictor.recommend(query, rules, now).blocks)
    excludes = query.exclude_interacted if rules.exclude_interacted is None else rules.exclude_interacted
    every = query.model_copy(update={"max_recommendations": 10_000, "exclude_interacted": excludes})
    plain = _table(predictor.recommend(every).blocks)
    for source in query.source_id or ():
        own = [row for row in rows if row["source_id"] == source]
        known = [row for row in plain if row["source_id"] == source]
        oracle = _Oracle(shop, rules, source, known, now.timestamp(), predictor)
        yield from (f"{source}: {found}" for found in oracle.judge(own, query.max_recommendations))


def _table(blocks: Iterator[Any]) -> list[dict[str, Any]]:
    found = []
    for block in blocks:
        table = block.table()
        found += [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return found


class _Oracle:
    """Judges the rows of one source; `plain` are those that it has without rules, all of them."""

    def __init__(
        self,
        shop: Shop,
        rules: PlacementRules,
        source: str,
        plain: Sequence[Mapping[str, Any]],
        now: float,
        predictor: Predictor,
    ) -> None:
        self.shop, self.rules, self.source, self.now = shop, rules, source, now
        self.score = {row["target_id"]: float(row["score"]) for row in plain}
        self.eligible = [name for name in self.score if self._may_be_shown(name)]
        self.value = {name: self.score[name] * self._factor(name) for name in self.eligible}
        pins = sorted((pin.rank, pin.id) for pin in rules.pin if pin.id in self.value)
        self.place_of_pin: dict[str, int] = {}
        after = len(self.eligible)
        for rank, name in reversed(pins):
            after = min(after - 1, rank - 1)
            self.place_of_pin[name] = after
        others = [name for name in self.eligible if name not in self.place_of_pin]
        self.order = sorted(others, key=lambda name: (-self.value[name], name))
        self._vectors = self._all_vectors(predictor, plain) if rules.diversity else {}

    # What the data say

    def _may_be_shown(self, name: str) -> bool:
        rules, target = self.rules, self.shop.targets[name]
        if not all(self._holds(condition, name) for condition in rules.target_filter or ()):
            return False
        metadata = target.get("since", target["metadata"])
        if rules.available:
            if metadata.get("available") is False:
                return False
            if "available_from" in metadata and self.now < _seconds(metadata["available_from"]):
                return False
            if "available_until" in metadata and self.now >= _seconds(metadata["available_until"]):
                return False
        for rule in rules.exclude:
            for kind, source, other, when in self.shop.done:
                if (kind, source, other) == (rule.interaction_type, self.source, name):
                    last = self._last(kind, source, other)
                    if rule.days is None or last is None or when is None or last >= self.now - rule.days * _DAY:
                        return False
        return True

    def _last(self, kind: str, source: str, target: str) -> float | None:
        times = [when for *what, when in self.shop.done if what == [kind, source, target] and when is not None]
        return max(times, default=None)

    def _holds(self, condition: Condition, name: str) -> bool:
        target = self.shop.targets[name]
        if condition.for_type not in (None, target["type"]):
            return True
        if condition.field.startswith("metadata."):
            found = target["metadata"].get(condition.field.removeprefix("metadata."), [])
            values = found if isinstance(found, list) else [found]
        else:
            values = [{"id": name, "type": target["type"], "name": target["name"]}[condition.field]]
        wanted = condition.value
        match condition.op:
            case "eq":
                return any(value == wanted for value in values)
            case "in":
                assert isinstance(wanted, list)
                return any(value in wanted for value in values)
            case "not_in":
                assert isinstance(wanted, list)
                return not any(value in wanted for value in values)
            case "exists":
                return bool(values) == (wanted is not False)
            case "gte":
                return any(value >= wanted for value in values)
            case "lt":
                return any(value < wanted for value in values)
        raise AssertionError(condition.op)

    def _fulfils(self, conditions: Sequence[Condition], name: str) -> bool:
        return all(self._holds(condition, name) for condition in conditions)

    def _factor(self, name: str) -> float:
        factor = 1.0
        rules: list[Boost | Bury] = [*self.rules.boost, *self.rules.bury]
        for rule in rules:
            if self._fulfils(rule.when, name):
                factor *= rule.factor
        return factor * self._freshness(name)

    def _freshness(self, name: str) -> float:
        rule = self.rules.fresh
        if rule is None:
            return 1.0
        if rule.by == "metadata.published":
            published = self.shop.targets[name]["metadata"].get("published")
            date = None if published is None else _seconds(published)
        else:
            pairs = {(kind, source) for kind, source, target, _ in self.shop.done if target == name}
            times = [when for kind, source in pairs if (when := self._latest_as_known(kind, source, name)) is not None]
            pick = max if rule.by == "last_interaction" else min
            date = pick(times, default=None) if times else None
        if date is None:
            return 1 - rule.weight
        minute = self.now // 60 * 60
        age = max(minute - date, 0) / _DAY
        return float(1 - rule.weight + rule.weight * 0.5 ** (age / rule.half_life_days))

    def _latest_as_known(self, kind: str, source: str, target: str) -> float | None:
        """The last time of equal interactions: those of the training, and those since, count apart."""
        assert self.rules.fresh
        trained, since = self.shop.done[:-12], self.shop.done[-12:]
        found = []
        for part in (trained, since):
            times = [when for *what, when in part if what == [kind, source, target] and when is not None]
            found += [max(times)] if times else []
        pick = max if self.rules.fresh.by == "last_interaction" else min
        return pick(found) if found else None

    def _all_vectors(self, predictor: Predictor, plain: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        version = predictor.version
        types = [row["target_type"] for row in plain]
        first = "item" if "item" in types else "book"
        embedding = version.embeddings[version.config.pair("user", first).decomposition]
        found = {}
        for name in self.eligible:
            row = version.index.row(name)
            vector = np.array(embedding.vectors[row], np.float64)[:128] * np.array(embedding.values, np.float64)[:128]
            length = math.sqrt(float((vector**2).sum()))
            found[name] = vector / length if length else vector
        return found

    # What the rules say

    def judge(self, rows: Sequence[Mapping[str, Any]], asked: int) -> Iterator[str]:
        """Everything that is wrong with the rows."""
        names = [row["target_id"] for row in rows]
        if len(names) != min(asked, len(self.eligible)):
            yield f"{len(names)} rows, but {asked} were asked for and {len(self.eligible)} may be shown"
        if len(set(names)) != len(names):
            yield "a target stands there twice"
        if extra := set(names) - set(self.eligible):
            yield f"{sorted(extra)} may not be shown"
            return
        if [row["rank"] for row in rows] != list(range(1, len(rows) + 1)):
            yield "ranks are not 1, 2, 3"
        if [float(row["score"]) for row in rows] != [self.score[name] for name in names]:
            yield "scores are not those of the model"
        for place, row in enumerate(rows):
            yield from (f"row {place + 1} ({names[place]}): {found}" for found in self._judge_row(place, names, row))
        yield from self._judge_windows(names)

    def _judge_row(self, place: int, names: Sequence[str], row: Mapping[str, Any]) -> Iterator[str]:
        name, above = names[place], names[:place]
        pinned = [one for one, at in self.place_of_pin.items() if at == place]
        if pinned or name in self.place_of_pin:
            if pinned != [name]:
                yield f"{pinned} is pinned here"
            if (row["rules"], row["propensity"]) != (["pin"], 1.0):
                yield f"a pin says {row['rules']} with {row['propensity']}"
            return
        free = [one for one in self.order if one not in above]
        allowed, because = self._allowed(place, above, free)
        greedy = self._wanted(allowed, above)
        explore = self.rules.explore
        drawable = [one for one in allowed if one in self.order[: explore.among]] if explore else []
        chosen = name in greedy
        if not chosen and name not in drawable:
            yield f"expected one of {greedy}, for it is not the best that is allowed"
            return
        propensities = [1.0]
        if explore and drawable:
            each = explore.share / len(drawable) if name in drawable else 0.0
            propensities = [each + (1 - explore.share)] if chosen else [each]
            if chosen and len(greedy) > 1:
                propensities.append(each)
        if not any(math.isclose(row["propensity"], one, rel_tol=1e-9, abs_tol=1e-12) for one in propensities):
            yield f"a propensity of {row['propensity']}, expected {propensities}"
        if row["rules"] == ["explore"] and explore:
            if name not in drawable:
                yield "was drawn, but is not among those to draw from"
        elif not chosen:
            yield f"was not drawn, and is none of {greedy}"
        elif row["rules"] != (wanted := [*self._changed_by(name), *because, *self._diverse(name, allowed)]):
            yield f"was moved by {row['rules']}, expected {wanted}"

    def _allowed(self, place: int, above: Sequence[str], free: list[str]) -> tuple[list[str], list[str]]:
        """Those that quotas leave for a row, the best first, and the quotas that took out the best."""
        allowed, because = free, []
        lacking: dict[int, int] = {}
        for number, quota in enumerate(self.rules.quotas):
            begin = place // quota.of * quota.of
            end = min(begin + quota.of, len(self.eligible))
            pinned = [one for one, at in self.place_of_pin.items() if begin <= at < end]
            there = [one for one in above[begin:] if one not in pinned] + pinned
            if quota.at_most is not None:
                full = {
                    group
                    for one in there
                    for group in self._groups(number, one)
                    if sum(group in self._groups(number, other) for other in there) >= quota.at_most
                }
                closed = quota.at_most == 0
                kept = [one for one in allowed if not (full & self._groups(number, one))]
                if closed:
                    kept = [one for one in kept if not self._groups(number, one)]
            else:
                assert quota.at_least is not None
                lacks = max(min(quota.at_least, end - begin) - sum(bool(self._groups(number, one)) for one in there), 0)
                left = len([at for at in range(place, end) if at not in self.place_of_pin.values()])
                due = lacks > 0 and left - lacking.get(quota.of, 0) <= lacks
                lacking[quota.of] = lacking.get(quota.of, 0) + lacks
                kept = [one for one in allowed if self._groups(number, one)] if due else allowed
            if kept and len(kept) < len(allowed):
                if kept[0] != allowed[0]:
                    because.append(f"quota.{number}")
                allowed = kept
        return allowed, because

    def _groups(self, number: int, name: str) -> set[str]:
        """What a target counts as for a quota."""
        quota, target = self.rules.quotas[number], self.shop.targets[name]
        if quota.when is not None:
            return {"one"} if self._fulfils(quota.when, name) else set()
        if quota.each == "type":
            return {target["type"]}
        assert quota.each is not None
        found = target["metadata"].get(quota.each.removeprefix("metadata."), [])
        return set(found if isinstance(found, list) else [found])

    def _wanted(self, allowed: Sequence[str], above: Sequence[str]) -> list[str]:
        """What a row may be that is not drawn: one, or several where likeness is too close to tell."""
        rule = self.rules.diversity
        pool = [one for one in allowed if rule and one in self.order[: rule.among]]
        if not rule or not pool:
            return [allowed[0]]
        largest = max(self.value[self.order[0]], 1e-300)
        relevance = {}
        for one in pool:
            alike = max((float(self._vectors[one] @ self._vectors[other]) for other in above), default=0.0)
            relevance[one] = rule.weight * self.value[one] / largest - (1 - rule.weight) * alike
        best = max(relevance.values())
        return [one for one in pool if relevance[one] >= best - _ALIKE]

    def _changed_by(self, name: str) -> list[str]:
        found = []
        for kind, rules in (("boost", self.rules.boost), ("bury", self.rules.bury)):
            found += [f"{kind}.{number}" for number, rule in enumerate(rules) if self._fulfils(rule.when, name)]
        if self.rules.fresh and self._freshness(name) > 1 - self.rules.fresh.weight / 2:
            found.append("fresh")
        return found

    def _diverse(self, name: str, allowed: Sequence[str]) -> list[str]:
        return ["diversity"] if self.rules.diversity and name != allowed[0] else []

    def _judge_windows(self, names: Sequence[str]) -> Iterator[str]:
        """What windows hold as a whole, whatever led to it, where there is one quota that always can be kept."""
        if len(self.rules.quotas) != 1 or self.rules.pin:
            return
        (quota,) = self.rules.quotas
        counting = [one for one in self.eligible if self._groups(0, one)]
        for begin in range(0, len(names) - quota.of + 1, quota.of):
            window = names[begin : begin + quota.of]
            left = [one for one in self.eligible if one not in names[:begin]]
            there = [group for one in window for group in self._groups(0, one)]
            if quota.at_least is not None:
                could = min(quota.at_least, len([one for one in left if one in counting]))
                if len(there) < could:
                    yield f"rows from {begin + 1} have {len(there)} of at least {could}"
            elif len([one for one in left if one not in counting]) >= quota.of:
                assert quota.at_most is not None
                for group in set(there):
                    if there.count(group) > quota.at_most:
                        yield f"rows from {begin + 1} have {there.count(group)} {group}, at most {quota.at_most}"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
