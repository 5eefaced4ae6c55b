"""Compute every figure of a report once more, from its held-out pairs, with nothing but Python's standard library.

    python -m lucid.verify held_out.jsonl.gz [report.json]

Nothing of what made the figures is used here: this file can be read, copied and run alone. It takes what was withheld
and what was recommended as given, and computes means, intervals, tests and all other figures from that. Where a report
is given, its figures are compared; without one, those that the export itself holds.
"""

import argparse
import gzip
import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from operator import itemgetter, mul
from pathlib import Path
from typing import Any

TOLERANCE = 1e-6
CUTOFFS, LISTED, VARIETY_AT = (10, 20), 20, 10
NAMES = [f"{metric}@{cutoff}" for metric in ("ndcg", "recall", "mrr", "hit_rate") for cutoff in CUTOFFS]
BAND_NAMES = ["ndcg@10", "recall@10"]
BANDS = ((0, 5), (6, 20), (21, None))
BASELINES = ("popularity", "item_knn")
LEAST_SOURCES, SIGNIFICANT, SAME = 10, 0.05, 1e-9
DECILES, BINS, MIN_IN_BIN = 10, 10, 100

Json = Any


def verify(held_out: Path, report: Path | None = None) -> tuple[int, list[str]]:
    """How many figures were computed again, and a line for each that differs by more than a millionth.

    Raises ValueError for a file that is no export, OSError where it cannot be read.
    """
    header, described, pairs = read(held_out)
    said = json.loads(report.read_text()) if report else header["report"]
    drawn = Draws(**{name: said["bootstrap"][name] for name in ("seed", "resamples", "confidence")})
    differ: list[str] = []
    if len(said["pairs"]) != len(pairs):
        differ.append(f"pairs: the report has {len(said['pairs'])}, the held-out pairs are of {len(pairs)}")
    compared = 0
    for stated, pair in zip(said["pairs"], pairs, strict=False):
        name = f"{pair['source_type']} -> {pair['target_type']}"
        for found in differences_of(stated, quality_of(pair, described, drawn), name):
            compared += 1
            if found:
                differ.append(found)
    return compared, differ


def read(held_out: Path) -> tuple[Json, dict[str, list[str]], list[Json]]:
    """The header, what describes each target, and each pair with its lines."""
    described: dict[str, list[str]] = {}
    pairs: list[Json] = []
    with gzip.open(held_out, "rt", encoding="utf-8") as lines:
        header = json.loads(next(lines, "null"))
        if not isinstance(header, dict) or header.get("held_out") != 1:
            raise ValueError(f"{held_out} is no export of held-out pairs, or of a later release")
        for text in lines:
            line = json.loads(text)
            if "target" in line:
                described[line["target"]] = line["described_by"]
            elif "source" in line:
                pairs[line["pair"]]["lines"].append(line)
            elif "cold_source" in line:
                pairs[line["pair"]]["cold"].append(line)
            else:
                pairs.append({**line, "lines": [], "cold": []})
    return header, described, pairs


def differences_of(stated: Json, computed: Json, where: str) -> Iterator[str]:
    """For each figure that was computed: nothing if the stated one is the same, else what differs."""
    if isinstance(computed, Mapping):
        if not isinstance(stated, Mapping) or set(computed) != set(stated):
            yield f"{where}: {sorted(computed)} expected, the report has {_short(stated)}"
            return
        for name, value in computed.items():
            yield from differences_of(stated[name], value, f"{where}, {name}")
    elif isinstance(computed, list):
        if not isinstance(stated, Sequence) or len(stated) != len(computed):
            yield f"{where}: {len(computed)} expected, the report has {_short(stated)}"
            return
        for number, (one, other) in enumerate(zip(stated, computed, strict=True), 1):
            yield from differences_of(one, other, f"{where} {number}")
    elif isinstance(computed, float) and isinstance(stated, int | float) and not isinstance(stated, bool):
        same = abs(stated - computed) <= TOLERANCE
        yield "" if same else f"{where}: the report says {stated}, computed again it is {computed:.8f}"
    else:
        same = type(stated) is type(computed) and stated == computed
        yield "" if same else f"{where}: the report says {_short(stated)}, computed again it is {_short(computed)}"


def _short(value: Json) -> str:
    return repr(value)[:100]


def quality_of(pair: Json, described: Mapping[str, list[str]], drawn: "Draws") -> Json:
    """What a report says of a pair, as far as it is figures."""
    lines, cold = pair["lines"], pair["cold"]
    values = {who: per_source(lines, who, drawn) for who in ("model", *BASELINES)}
    rankings = {who: ranking(found) for who, found in values.items()}
    cold_ranking = ranking(per_source(cold, "model", drawn)) if cold else None
    bins = calibration(lines)
    deviation = sum(abs(one["predicted"] - one["observed"]) * one["count"] for one in bins)
    return {
        "source_type": pair["source_type"],
        "target_type": pair["target_type"],
        "answered_by": pair["answered_by"],
        **{who: first_ten(found, len(lines)) for who, found in rankings.items()},
        "cold": first_ten(cold_ranking, len(cold)) if cold_ranking else None,
        "calibration_error": float(deviation / max(sum(one["count"] for one in bins), 1)),
        "figures": {
            "sources": len(lines),
            "withheld": sum(len(line["withheld"]) for line in lines),
            "targets": pair["targets"],
            "ranking": rankings,
            "differences": to_baselines(values),
            "answered_before": answered_before(pair, values["model"], drawn),
            "variety": {who: variety(pair, who, described) for who in values},
            "popularity_bias": popularity_bias(pair),
            "by_source": by_source(lines, values),
            "by_target": by_target(pair),
            "cold": cold_ranking,
            "calibration": bins,
        },
    }


def first_ten(found: Json, sources: int) -> Json:
    return {
        "ndcg": found["ndcg@10"]["mean"],
        "recall": found["recall@10"]["mean"],
        "hit_rate": found["hit_rate@10"]["mean"],
        "sources": sources,
    }


# Ranking


class Sample:
    """A figure of every source, with its means in all resamples."""

    def __init__(self, values: Sequence[float], drawn: "Draws") -> None:
        self.values, self.drawn = values, drawn
        self.mean, self.is_enough = math.fsum(values) / len(values), len(values) >= LEAST_SOURCES

    @cached_property
    def resampled(self) -> list[float]:
        return _weighted_means(self.values, self.drawn.counts(len(self.values)))

    def at(self, positions: Sequence[int]) -> "Sample":
        return Sample([self.values[position] for position in positions], self.drawn)


Values = dict[str, Sample]
"""By the name of the figure."""


def per_source(lines: Sequence[Json], who: str, drawn: "Draws") -> Values:
    """NDCG, recall, reciprocal rank of the first hit, and whether there is any, of every source."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for line in lines:
        withheld = set(line["withheld"])
        ranks = [rank for rank, target in enumerate(line[who][:LISTED], 1) if target in withheld]
        for cutoff in CUTOFFS:
            hits = [rank for rank in ranks if rank <= cutoff]
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(withheld), cutoff) + 1))
            found[f"ndcg@{cutoff}"].append(sum(1 / math.log2(rank + 1) for rank in hits) / ideal)
            found[f"recall@{cutoff}"].append(len(hits) / len(withheld))
            found[f"mrr@{cutoff}"].append(1 / hits[0] if hits else 0.0)
            found[f"hit_rate@{cutoff}"].append(1.0 if hits else 0.0)
    return {name: Sample(values, drawn) for name, values in found.items()}


def ranking(values: Values) -> Json:
    return {name: interval(sample) for name, sample in values.items()}


def to_baselines(values: Mapping[str, Values]) -> Json:
    return {who: compared(values["model"], values[who]) for who in BASELINES}


def compared(ours: Values, theirs: Values) -> Json:
    return {name: difference(ours[name], theirs[name]) for name in ours}


def answered_before(pair: Json, model: Values, drawn: "Draws") -> Json:
    before = pair["answered_before"]
    if before is None:
        return None
    found = {**before, "model": None, "before": None}
    positions = [number for number, line in enumerate(pair["lines"]) if "answered_before" in line]
    if not positions:
        return {**found, "difference": None}
    ours = {name: sample.at(positions) for name, sample in model.items()}
    theirs = per_source([pair["lines"][number] for number in positions], "answered_before", drawn)
    return {
        **found,
        "model": ranking(ours),
        "before": ranking(theirs),
        "difference": compared(ours, theirs),
    }


# Intervals and tests


class Draws:
    """Resamples of sources, and coins for them, from the seed of the report; see `docs/reports.md`."""

    def __init__(self, seed: int, resamples: int, confidence: float) -> None:
        self.seed, self.resamples, self.confidence = seed, resamples, confidence
        self.counts: Callable[[int], list[list[float]]] = lru_cache(maxsize=4)(self._counts)
        self.coins: Callable[[int], list[list[float]]] = lru_cache(maxsize=4)(self._coins)

    def _counts(self, sources: int) -> list[list[float]]:
        """How often each source is drawn, of each resample."""
        draw, found = random.Random(self.seed).random, []  # noqa: S311 - for statistics
        as_float = [float(count) for count in range(sources + 1)]  # of which products are made faster
        for _ in range(self.resamples):
            counts = [0] * sources
            for _ in range(sources):
                counts[int(draw() * sources)] += 1
            found.append([as_float[count] for count in counts])
        return found

    def _coins(self, sources: int) -> list[list[float]]:
        toss = random.Random(self.seed + 1).random  # noqa: S311 - for statistics
        return [[-1.0 if toss() < 0.5 else 1.0 for _ in range(sources)] for _ in range(self.resamples)]


def interval(sample: Sample) -> Json:
    """The mean with its percentile bootstrap interval."""
    if not sample.is_enough:
        return {"mean": sample.mean, "low": None, "high": None}
    return {"mean": sample.mean, **_ends(sample.resampled, sample.drawn)}


def difference(ours: Sample, theirs: Sample) -> Json:
    """A mean paired difference, with its interval and the p of the randomization test."""
    drawn, count = ours.drawn, len(ours.values)
    paired = [one - other for one, other in zip(ours.values, theirs.values, strict=True)]
    mean = math.fsum(paired) / count
    if not ours.is_enough:
        return {"mean": mean, "low": None, "high": None, "p": None, "significant": False}
    ends = _ends([one - other for one, other in zip(ours.resampled, theirs.resampled, strict=True)], drawn)
    as_far = sum(abs(flipped) >= abs(mean) - SAME for flipped in _weighted_means(paired, drawn.coins(count)))
    p = (1 + as_far) / (1 + drawn.resamples)
    leaves_out_zero = ends["low"] > SAME or ends["high"] < -SAME
    return {"mean": mean, **ends, "p": p, "significant": leaves_out_zero and p < SIGNIFICANT}


def _ends(resampled: Sequence[float], drawn: Draws) -> dict[str, float]:
    ordered, rest = sorted(resampled), (1 - drawn.confidence) / 2
    return {"low": _quantile(ordered, rest), "high": _quantile(ordered, 1 - rest)}


def _weighted_means(values: Sequence[float], weights: Sequence[Sequence[float]]) -> list[float]:
    """Many values are zero, so where most are, the sums go over the others only."""
    count, places = len(values), [place for place, value in enumerate(values) if value]
    if 2 * len(places) > count:
        return [sum(map(mul, row, values)) / count for row in weights]
    if len(places) < 2:
        return [sum(row[place] * values[place] for place in places) / count for row in weights]
    pick, others = itemgetter(*places), [values[place] for place in places]
    return [sum(map(mul, pick(row), others)) / count for row in weights]


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


# Sources and targets apart


def by_source(lines: Sequence[Json], values: Mapping[str, Values]) -> Json:
    bands = []
    for least, most in BANDS:
        inside = [number for number, line in enumerate(lines) if _is_within(line["interactions"], least, most)]
        if inside:
            own = {who: {name: found[name].at(inside) for name in BAND_NAMES} for who, found in values.items()}
            bands.append(
                {
                    "least": least,
                    "most": most,
                    "sources": len(inside),
                    "ranking": {who: ranking(found) for who, found in own.items()},
                    "differences": to_baselines(own),
                }
            )
    return bands


def by_target(pair: Json) -> Json:
    bands = []
    for least, most in BANDS:
        withheld, found = 0, Counter[str]()
        for line in pair["lines"]:
            inside = {one for one in line["withheld"] if _is_within(pair["interactions"][one], least, most)}
            withheld += len(inside)
            for who in ("model", *BASELINES):
                found[who] += len(inside & set(line[who][:LISTED]))
        if withheld:
            shares = {who: found[who] / withheld for who in ("model", *BASELINES)}
            bands.append({"least": least, "most": most, "withheld": withheld, "found": shares})
    return bands


def _is_within(count: int, least: int, most: int | None) -> bool:
    return least <= count and (most is None or count <= most)


# Beyond accuracy


def variety(pair: Json, who: str, described: Mapping[str, list[str]]) -> Json:
    """Coverage, novelty, diversity within lists, personalisation, and popularity of the first ten."""
    lists = [found for line in pair["lines"] if (found := line[who][:VARIETY_AT])]
    if not lists:
        names = ("novelty", "diversity", "personalisation", "average_popularity")
        return {"coverage": 0.0, **dict.fromkeys(names)}
    popularity, sources = pair["interactions"], pair["sources"]
    times = Counter(target for found in lists for target in found)

    def mean(value: Callable[[str], float]) -> float:
        return math.fsum(math.fsum(map(value, found)) / len(found) for found in lists) / len(lists)

    return {
        "coverage": len(times) / pair["targets"],
        "novelty": mean(lambda target: -math.log2((popularity[target] + 1) / (sources + 1))),
        "diversity": _diversity(lists, described),
        "personalisation": _personalisation(lists, times),
        "average_popularity": mean(lambda target: popularity[target]),
    }


def _personalisation(lists: Sequence[Sequence[str]], times: Counter[str]) -> float | None:
    count = len(lists)
    if count < 2:
        return None
    shared = sum(number * (number - 1) for number in times.values()) / (count * (count - 1))
    return 1 - shared / max(map(len, lists))


def _diversity(lists: Sequence[Sequence[str]], described: Mapping[str, list[str]]) -> float | None:
    several = [found for found in lists if len(found) > 1]
    if not several or not any(target in described for found in lists for target in found):
        return None
    total = []
    for found in several:
        sums: dict[str, float] = defaultdict(float)
        known = [described[target] for target in found if target in described]
        for by in known:
            for one in by:
                sums[one] += len(by) ** -0.5
        alike = math.fsum(value * value for value in sums.values()) - len(known)
        total.append(1 - alike / (len(found) * (len(found) - 1)))
    return math.fsum(total) / len(total)


def popularity_bias(pair: Json) -> Json:
    """Tenths of the targets, the most popular first; targets between two tenths count for both in part."""
    spread = sorted(pair["targets_by_interactions"], reverse=True)
    every, end = sum(targets for _, targets in spread), 0
    parts: dict[int, list[float]] = {}
    for popularity, targets in spread:
        begin, end = end, end + targets
        borders = [every * number / DECILES for number in range(DECILES + 1)]
        parts[popularity] = [
            max(min(end, borders[number + 1]) - max(begin, borders[number]), 0) / targets for number in range(DECILES)
        ]

    def shares(weights: Mapping[int, float]) -> list[float]:
        total = max(math.fsum(weights.values()), 1)
        return [
            math.fsum(weight * parts[popularity][number] for popularity, weight in weights.items()) / total
            for number in range(DECILES)
        ]

    interactions = shares({popularity: popularity * targets for popularity, targets in spread})
    recommendations = {
        who: shares(
            Counter(pair["interactions"][target] for line in pair["lines"] for target in line[who][:VARIETY_AT])
        )
        for who in ("model", *BASELINES)
    }
    return [
        {
            "interactions": interactions[number],
            "recommendations": {who: of[number] for who, of in recommendations.items()},
        }
        for number in range(DECILES)
    ]


# Calibration


def calibration(lines: Sequence[Json]) -> Json:
    """Bins of equal size by predicted probability: its mean, and the share that hit."""
    predictions = []
    for line in lines:
        withheld = set(line["withheld"])
        predictions += [
            (chance, target in withheld) for chance, target in zip(line["probability"], line["model"], strict=True)
        ]
    predictions.sort(key=lambda one: one[0])
    bins, begin = [], 0
    count = max(1, min(BINS, len(predictions) // MIN_IN_BIN))
    for number in range(count if predictions else 0):
        end = begin + len(predictions) // count + (number < len(predictions) % count)
        part, begin = predictions[begin:end], end
        bins.append(
            {
                "predicted": math.fsum(chance for chance, _ in part) / len(part),
                "observed": sum(hit for _, hit in part) / len(part),
                "count": len(part),
            }
        )
    return bins


def say(held_out: Path, report: Path | None = None) -> int:
    """Print what was found; returns the exit code: 0 where all figures are the same, 1 where some differ, 2 for files
    that tell nothing."""
    try:
        compared, differ = verify(held_out, report)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        print(f"cannot verify: {error if isinstance(error, OSError | ValueError) else repr(error)}", file=sys.stderr)
        return 2
    for line in differ:
        print(line)
    print(f"{len(differ):,} of {compared:,} figures differ" if differ else f"all {compared:,} figures are the same")
    return 1 if differ else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m lucid.verify", description=(__doc__ or "").split("\n")[0])
    arguments.add_argument("held_out", type=Path, help="The export of held-out pairs.")
    arguments.add_argument("report", type=Path, nargs="?", help="A report.json; otherwise that of the export.")
    given = arguments.parse_args()
    sys.exit(say(given.held_out, given.report))
