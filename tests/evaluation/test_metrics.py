"""Metrics: ours agree with PyG's, which are written independently, and with plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch_geometric.metrics import LinkPredHitRatio, LinkPredMRR, LinkPredNDCG, LinkPredRecall

from lucid.evaluation.figures import NAMES, calibration_bins, calibration_error, per_source
from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import ndcg
from lucid.evaluation.recorded import LISTED, Withheld
from lucid.graph.histories import InteractionHistory
from tests.support.graphs import EMPTY_HISTORY

METRICS = {"ndcg": LinkPredNDCG, "recall": LinkPredRecall, "mrr": LinkPredMRR, "hit_rate": LinkPredHitRatio}
NOTHING = InteractionHistory.from_edges(1, np.empty(0, np.int64), np.empty(0, np.int64))


def held_out(relevant: list[list[int]]) -> HeldOut:
    """The relevant targets (rows) of sources 0, 1, 2 …"""
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in relevant])])
    targets = np.array([row for rows in relevant for row in sorted(rows)], np.int64)
    return HeldOut("a", "b", np.arange(len(relevant)), starts, targets, NOTHING)


@examples(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 60), st.integers(0, 1000))
def test_all_metrics_agree_with_pyg(seed: int, sources: int, targets: int, first: int) -> None:
    """Over random scores, numbers of targets and of relevant ones, wherever the rows of the type begin."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(targets, dtype=np.float32), (sources, 1)), axis=1)
    relevant = [rng.permutation(targets)[: rng.integers(1, targets + 1)] for _ in range(sources)]
    edges = torch.tensor([(source, row) for source, rows in enumerate(relevant) for row in rows.tolist()]).T
    ranking = np.argsort(-scores, axis=1)[:, :LISTED].copy()
    held = held_out([[int(row) + first for row in rows] for rows in relevant])

    values = per_source(Withheld(held.sources, held.starts, held.targets), (ranking + first).astype(np.int32))

    ours = dict(zip(NAMES, values.mean(axis=0), strict=True))
    for cutoff in (10, 20):
        for name, kind in METRICS.items():
            metric = kind(k=cutoff)
            metric.update(torch.from_numpy(ranking), edges)
            assert pytest.approx(float(metric.compute()), abs=1e-6) == ours[f"{name}@{cutoff}"]
    assert pytest.approx(ours["ndcg@10"]) == float(ndcg(scores, held, range(first, first + targets)).mean())


def test_a_source_without_a_hit_counts_zero_and_one_that_is_right_counts_one() -> None:
    """The best ranking reaches 1 however many targets are relevant, the worst 0."""
    scores = np.array([np.arange(40), -np.arange(40)], np.float32)
    held = held_out([[39, 38, 37], [38, 39]])

    assert [1.0, 0.0] == ndcg(scores, held, range(40)).tolist()


def test_predictions_that_come_true_as_often_as_they_say_have_no_calibration_error() -> None:
    """And those that are sure of what never happens are wrong by one."""
    rng = np.random.default_rng(0)
    predicted = rng.random(200_000)

    assert calibration_error(calibration_bins(predicted, rng.random(200_000) < predicted)) < 0.01
    assert 1.0 == calibration_error(calibration_bins(np.ones(1000), np.zeros(1000, bool)))
    assert 0.0 == calibration_error(calibration_bins(np.empty(0), np.empty(0, bool)))


def test_the_fast_metric_equals_the_naive_one() -> None:
    """NDCG agrees with a plain loop over random scores."""
    rng = np.random.default_rng(0)
    scores = rng.random((40, 30)).astype(np.float32)
    lists = [np.sort(rng.permutation(30)[: rng.integers(1, 15)]) + 5 for _ in range(40)]
    starts = np.concatenate([[0], np.cumsum([len(relevant) for relevant in lists])])
    held = HeldOut("a", "b", np.arange(40), starts, np.concatenate(lists), EMPTY_HISTORY)

    ours = ndcg(scores, held, range(5, 35))

    naive = []
    for source, relevant in enumerate(lists):
        ranking = sorted(range(30), key=lambda target: -scores[source, target])[:10]
        gains = [1 / np.log2(rank + 2) for rank, target in enumerate(ranking) if target + 5 in relevant]
        naive.append(sum(gains) / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(relevant)))))
    assert naive == pytest.approx(ours.tolist())
