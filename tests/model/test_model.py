"""The model: laws that hold on data where the right answer is known."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from lucid.errors import TrainingFailed
from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import measure
from lucid.evaluation.splitting import hold_out
from lucid.graph.entity_types import EntityTypes
from lucid.graph.histories import InteractionHistory
from lucid.graph.relation_weights import RelationWeights
from lucid.graph.typed_graph import TypedGraph
from lucid.model.calibration import Calibration
from lucid.model.decomposition import Solver, decompose
from lucid.model.embedding import Embedding
from lucid.model.item_knn import ItemKNN
from lucid.model.pair_model import Blend, PairModel
from lucid.model.scorer import Scorer
from lucid.model.spectral_filter import SpectralFilter
from lucid.model.top_n import TopN, top_n
from lucid.training.fitting import choose, refit
from lucid.training.learned_filter import with_learned_gain
from lucid.typing import Rows
from lucid.versions.version import Version
from lucid.workspace import Workspace
from tests.support.checkerboard import ITEMS, USERS, liked, train_checkerboard, withheld, write_checkerboard


def board(*, shuffle: int | None = None) -> TypedGraph:
    """The checkerboard as a graph, its edges in another order if a seed is given."""
    edges = np.array([(user, item) for user in range(USERS) for item in range(ITEMS) if liked(user, item)]).T
    if shuffle is not None:
        edges = edges[:, np.random.default_rng(shuffle).permutation(edges.shape[1])]
    data = HeteroData()
    data["item"].num_nodes, data["user"].num_nodes = ITEMS, USERS
    store = data["user", "interaction:likes", "item"]
    store.edge_index = torch.from_numpy(edges)
    store.time = torch.full((edges.shape[1],), torch.nan, dtype=torch.float64)
    store.repeats = torch.ones(edges.shape[1], dtype=torch.int64)
    return TypedGraph(data, EntityTypes(("item", "user"), (0, ITEMS, ITEMS + USERS)))


def with_items(items: int) -> TypedGraph:
    """Users with random items, each of which has one of ten colours as metadata."""
    rng = np.random.default_rng(0)
    data = HeteroData()
    data["colour"].num_nodes, data["item"].num_nodes, data["user"].num_nodes = 10, items, USERS
    edges = {
        ("user", "interaction:likes", "item"): np.stack(
            [np.repeat(np.arange(USERS), 100), rng.integers(0, items, USERS * 100)]
        ),
        ("item", "metadata:colour", "colour"): np.stack([np.arange(items), np.arange(items) % 10]),
    }
    for kind, index in edges.items():
        data[kind].edge_index = torch.from_numpy(np.unique(index, axis=1))
        count = data[kind].edge_index.shape[1]
        data[kind].time = torch.full((count,), torch.nan, dtype=torch.float64)
        data[kind].repeats = torch.ones(count, dtype=torch.int64)
    return TypedGraph(data, EntityTypes(("colour", "item", "user"), (0, 10, 10 + items, 10 + items + USERS)))


def quiet(_percent: float, _doing: str) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("board")
    return train_checkerboard(Workspace(folder / "home"), folder)


def test_the_withheld_checkerboard_item_is_found_first(trained: Workspace) -> None:
    """Every user is first recommended the one item of its colour that it has not liked."""
    table = trained.recommend("board", source_type="user", target_type="item", max_recommendations=1)

    first = dict(zip(table["source_id"], table["target_id"], strict=True))
    assert {f"u{user:02}": f"i{withheld(user):02}" for user in range(USERS)} == first


def test_types_that_nothing_links_directly_can_be_asked(trained: Workspace) -> None:
    """Users are recommended the colour of their items, though no interaction links users and colours."""
    table = trained.recommend("board", source_type="user", target_type="colour", max_recommendations=1)

    first = dict(zip(table["source_id"], table["name"], strict=True))
    assert {f"u{user:02}": "white" if user % 2 else "black" for user in range(USERS)} == first


def test_users_of_one_colour_are_nearest_to_each_other(trained: Workspace) -> None:
    """Within one type, the best are those with the same taste, never the source itself."""
    table = trained.recommend("board", source_id=["u00", "u01"], target_type="user", max_recommendations=USERS // 2 - 1)

    assert {
        source: {int(target[1:]) % 2 for target in rows} for source, rows in table.groupby("source_id")["target_id"]
    } == {
        "u00": {0},
        "u01": {1},
    }
    assert not (table["source_id"] == table["target_id"]).any()


@pytest.mark.parametrize("colour", ["black", "white"])
def test_an_entity_without_interactions_is_near_its_kin(tmp_path: Path, colour: str) -> None:
    """One metadata link is enough: a new item finds the items of its colour first, and the users who like them."""
    workspace, parity = Workspace(tmp_path / "home"), int(colour == "white")
    new = tmp_path / "new.csv"
    new.write_text(
        f'id,type,name,metadata,media_url\ni99,item,New item,"{{""colour"": ""{colour}""}}",\nu99,user,New user,,\n'
    )
    workspace.import_files([*write_checkerboard(tmp_path), new])
    workspace.train("board")

    kin = workspace.recommend("board", source_id="i99", target_type="item", max_recommendations=ITEMS // 2)
    users = workspace.recommend("board", source_id="i99", target_type="user", max_recommendations=USERS // 2)
    items = workspace.recommend("board", source_type="user", target_type="item", max_recommendations=2)

    assert {int(item[1:]) % 2 for item in kin["target_id"]} == {parity}
    assert {int(user[1:]) % 2 for user in users["target_id"]} == {parity}
    # Next to the one item of its colour that a user lacks, the new one is all that is left of it.
    fans = {source: set(rows) for source, rows in items.groupby("source_id")["target_id"] if source != "u99"}
    assert {user for user, rows in fans.items() if "i99" in rows} == {
        f"u{user:02}" for user in range(USERS) if user % 2 == parity
    }


def test_saved_and_loaded_vectors_give_the_same_scores(trained: Workspace) -> None:
    """What was computed ahead at training equals what the stored vectors give."""
    version = Version(trained.settings.home, "board", 1)
    scorer = version.scorer("user", "user")

    stored = trained.recommend("board", source_type="user", target_type="user", max_recommendations=5)
    found = top_n(scorer, scorer.profiles(version.config.sources("user")), 5)

    assert stored["score"].tolist() == found.scores.tolist()


def test_the_same_seed_gives_the_same_model() -> None:
    """Two fits with one seed agree to the last bit, another seed may differ."""
    first, second = (
        refit(board(), choose(board(), hold_out(board(), 7), Solver(7), quiet), Solver(7)) for _ in range(2)
    )

    assert np.array_equal(first.embeddings[0].vectors, second.embeddings[0].vectors)
    assert first.pairs == second.pairs


def test_the_order_of_edges_does_not_matter() -> None:
    """Shuffled edges give the same scores."""
    spectral = SpectralFilter("positive", 12, 0.1, 0.25)
    sources, items = np.arange(ITEMS, ITEMS + USERS), range(ITEMS)

    plain, shuffled = (
        decompose(graph, RelationWeights({}, 3.0), 12, Solver()) for graph in (board(), board(shuffle=3))
    )

    assert np.allclose(
        plain.raw_scores(spectral, sources, items), shuffled.raw_scores(spectral, sources, items), atol=1e-5
    )


@pytest.mark.parametrize("friends", [False, True])
def test_the_decomposition_equals_numpys(friends: bool) -> None:
    """What the leading eigenpairs reconstruct agrees with a dense decomposition; with two sides, between the sides."""
    graph, damping = board(), 3.0
    if friends:
        store = graph.data["user", "interaction:follows", "user"]
        store.edge_index = torch.tensor([[0, 1, 2, 3, 9], [2, 3, 9, 5, 0]])
        store.time, store.repeats = torch.full((5,), torch.nan, dtype=torch.float64), torch.ones(5, dtype=torch.int64)
    size = graph.entity_types.size
    dense = np.zeros((size, size))
    for edge_type in graph.edge_types:
        rows = graph.rows(edge_type).numpy()
        dense[rows[0], rows[1]] = dense[rows[1], rows[0]] = 1
    damped = 1 / np.sqrt(dense.sum(axis=1) + damping)
    values, vectors = np.linalg.eigh(damped[:, None] * dense * damped)
    order = np.argsort(-np.abs(values))[:4]
    expected = (vectors[:, order] * values[order]) @ vectors[:, order].T

    ours = decompose(graph, RelationWeights({}, damping), 4 if friends else 2, Solver())

    found = (ours.vectors * ours.values) @ ours.vectors.T
    if friends:
        assert np.allclose(np.abs(values[order]), np.abs(ours.values), atol=1e-3)
        assert np.allclose(expected, found, atol=1e-3)
    else:
        assert np.allclose(np.abs(values[order]), np.repeat(ours.values, 2), atol=1e-3)
        assert np.allclose(expected[:ITEMS, ITEMS:], found[:ITEMS, ITEMS:], atol=1e-3)


def test_a_gpu_that_is_not_there_is_asked_for_in_vain() -> None:
    """`auto` takes what there is; `cuda` without a GPU is an error that says what to set."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")

    assert Solver(3, "cpu") == Solver.of(3, "auto")
    with pytest.raises(TrainingFailed, match="set it to auto or cpu"):
        Solver.of(3, "cuda")


def test_warm_and_cold_starts_find_the_same_vectors() -> None:
    """Starting from the vectors of a part of the graph leads to those of the whole."""
    graph, weights = board(), RelationWeights({}, 3.0)
    part = decompose(hold_out(graph, 0).train, weights, 3, Solver())

    cold, warm = decompose(graph, weights, 3, Solver()), decompose(graph, weights, 3, Solver(), start=part)

    assert np.allclose(cold.values[:2], warm.values[:2], atol=1e-3)


def test_withheld_pairs_are_gone_from_what_propagates() -> None:
    """No withheld pair of entities is linked in the training part, in either direction."""
    graph = board()
    parts = hold_out(graph, 0)
    left = parts.train.history()

    withheld_pairs = [
        (int(source), int(target))
        for held in parts.warm.validation + parts.warm.test
        for place, source in enumerate(held.sources)
        for target in held.of(place)
    ]

    assert 0.05 < len(withheld_pairs) / 2 / graph.data.num_edges < 0.15  # each pair is judged in both directions
    assert not any(target in left.of(source) for source, target in withheld_pairs)


def test_later_interactions_are_withheld_before_earlier_ones() -> None:
    """With timestamps, what a source did last is what must be predicted: nothing kept is younger."""
    graph = board()
    store = graph.data[graph.edge_types[0]]
    store.time = torch.arange(store.edge_index.shape[1], dtype=torch.float64)
    times = {tuple(edge): index for index, edge in enumerate(graph.rows(graph.edge_types[0]).T.tolist())}

    parts = hold_out(graph, 0)

    kept = graph.entity_types.rows("user")
    youngest = {row: max(times[row, int(item)] for item in parts.train.history().of(row)) for row in kept}
    for held in (held for held in parts.warm.validation + parts.warm.test if held.source_type == "user"):
        for place, source in enumerate(held.sources.tolist()):
            assert all(times[source, int(item)] > youngest[source] for item in held.of(place))


def test_what_comes_later_never_reaches_what_is_judged_by_it() -> None:
    """Two histories that differ only in what is withheld propagate exactly the same."""
    graph, other = board(), board()
    kind = graph.edge_types[0]
    users, items = graph.data[kind].edge_index
    times = torch.arange(len(users), dtype=torch.float64)
    graph.data[kind].time = other.data[kind].time = times
    first = hold_out(graph, 0)
    judged = torch.tensor([row for held in first.warm.validation + first.warm.test for row in held.sources])
    last = torch.cat([users[1:] != users[:-1], torch.tensor([True])])
    later = last & torch.isin(users + graph.entity_types.rows("user").start, judged)
    # In the other history these users last liked an item of the other colour.
    other.data[kind].edge_index = torch.stack([users, torch.where(later, items ^ 1, items)])

    second = hold_out(other, 0)

    assert later.sum() > USERS / 2
    assert torch.equal(first.train.rows(kind), second.train.rows(kind))


def test_some_targets_lose_all_interactions_where_metadata_tells_of_them() -> None:
    """Whole targets are withheld for the choice of their spectral, and nothing else is judged by them."""
    graph = with_items(2000)
    assert [] == [held for held in hold_out(board(), 0).cold.validation if len(held.sources)]  # nothing tells of those

    parts = hold_out(graph, 0)

    (held,) = (held for held in parts.cold.validation if len(held.sources))
    left = parts.train.history()
    cold = np.unique(held.targets)
    assert ("user", "item") == held.pair
    assert 20 < len(cold) <= 100
    assert not any(len(left.of(int(row))) for row in cold)
    assert not any(np.isin(judged.targets, cold).any() for judged in parts.warm.validation + parts.warm.test)


def test_pairs_two_steps_apart_are_judged_by_what_only_withheld_edges_tell() -> None:
    """Users and makers are linked over items only: judged by makers that a user does not reach in what propagates."""
    rng, items, makers = np.random.default_rng(0), 400, 100
    data, entity_types = HeteroData(), EntityTypes(("item", "maker", "user"), (0, items, items + makers, 900))
    edges = {
        ("item", "metadata:maker", "maker"): np.stack([np.arange(items), np.arange(items) % makers]),
        ("user", "interaction:likes", "item"): np.stack([np.repeat(np.arange(400), 12), rng.integers(0, items, 4800)]),
    }
    for kind in entity_types.types:
        data[kind].num_nodes = len(entity_types.rows(kind))
    for edge_type, index in edges.items():
        data[edge_type].edge_index = torch.from_numpy(np.unique(index, axis=1))
        count = data[edge_type].edge_index.shape[1]
        data[edge_type].time = torch.full((count,), torch.nan, dtype=torch.float64)
        data[edge_type].repeats = torch.ones(count, dtype=torch.int64)
    graph = TypedGraph(data, entity_types)

    parts = hold_out(graph, 0)

    def reached(part: TypedGraph) -> set[tuple[int, int]]:
        likes = part.rows(("user", "interaction:likes", "item")).T.tolist()
        return {(user, items + item % makers) for user, item in likes}

    new = reached(graph) - reached(parts.train)
    judged: dict[tuple[str, str], set[tuple[int, int]]] = {held.pair: set() for held in parts.indirect.validation}
    for held in parts.indirect.validation + parts.indirect.test:
        for place, source in enumerate(held.sources.tolist()):
            judged[held.pair] |= {(source, target) for target in held.of(place).tolist()}
    assert {("user", "maker"), ("maker", "user")} == judged.keys()
    assert judged["user", "maker"] <= new
    assert {(user, maker) for maker, user in judged["maker", "user"]} <= new
    assert len(judged["user", "maker"]) > 50


def test_older_and_repeated_interactions_count_as_the_weights_say() -> None:
    """An interaction of one half-life ago counts half, four repeats count twice with the exponent one half."""
    graph = board()
    store = graph.data[graph.edge_types[0]]
    store.time[0], store.time[1], store.repeats[2] = 1000.0, 2000.0, 4
    items = store.edge_index[1, :3]
    counts = torch.bincount(store.edge_index[1], minlength=ITEMS)[items].float()

    plain = decompose(graph, RelationWeights({}, 3.0), 2, Solver()).degrees[items]
    weighted = decompose(graph, RelationWeights({}, 3.0, repeats=0.5, half_life=1000.0), 2, Solver()).degrees[items]

    assert counts.tolist() == plain.tolist()
    assert [-0.5, 0.0, 1.0] == pytest.approx((weighted - plain).tolist())


def test_a_learned_filter_ranks_better_where_the_chosen_filter_is_wrong() -> None:
    """Learned on some sources, it finds more of what other sources chose by the middle of the spectrum."""
    vectors = random_vectors(400, 64)
    targets, plain = range(200, 400), SpectralFilter("signed", 64, 0.1, 0.0)
    strength = np.abs(vectors.values)
    middle = vectors.vectors[:200] * (strength * ((strength > 0.3) & (strength < 0.6)) * np.sign(vectors.values))
    chosen = np.sort(np.argsort(-(middle @ vectors.vectors[200:].T), axis=1)[:, :5], axis=1) + 200
    held = HeldOut("a", "b", np.arange(200), np.arange(0, 1001, 5), chosen.ravel(), NOTHING)
    others = held.part(np.arange(100, 200))

    learned = with_learned_gain(vectors, plain, held.part(np.arange(100)), targets)

    before, after = (
        measure(vectors.raw_scores(spectral, others.sources, targets), others, targets) for spectral in (plain, learned)
    )
    assert after.ndcg > 1.2 * before.ndcg
    assert learned == SpectralFilter.from_json(json.loads(json.dumps(asdict(learned))))


def test_the_fast_metric_equals_the_naive_one() -> None:
    """NDCG and recall agree with a plain loop over random scores."""
    rng = np.random.default_rng(0)
    scores = rng.random((40, 30)).astype(np.float32)
    lists = [np.sort(rng.permutation(30)[: rng.integers(1, 15)]) + 5 for _ in range(40)]
    starts = np.concatenate([[0], np.cumsum([len(wanted) for wanted in lists])])
    held = HeldOut("a", "b", np.arange(40), starts, np.concatenate(lists), NOTHING)

    ours = measure(scores, held, range(5, 35))

    ndcg, recall = [], []
    for line, wanted in enumerate(lists):
        ranking = sorted(range(30), key=lambda place: -scores[line, place])[:10]
        gains = [1 / np.log2(rank + 2) for rank, place in enumerate(ranking) if place + 5 in wanted]
        ndcg.append(sum(gains) / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(wanted)))))
        recall.append(len(gains) / len(wanted))
    assert [float(np.mean(ndcg)), float(np.mean(recall))] == pytest.approx([ours.ndcg, ours.recall])


def random_vectors(entities: int, rank: int) -> Embedding:
    rng = np.random.default_rng(1)
    return Embedding(
        np.sort(rng.uniform(-1, 1, rank).astype(np.float32))[::-1].copy(),
        rng.normal(size=(entities, rank)).astype(np.float32),
        rng.integers(0, 50, entities).astype(np.float32),
        3.0,
        {"a": rng.random(entities) < 0.8},
    )


NOTHING = InteractionHistory.from_edges(900, np.empty(0, np.int64), np.empty(0, np.int64))
PAIR = PairModel(
    "a",
    "b",
    0,
    SpectralFilter("signed", 48, 0.1, 0.25),
    0,
    SpectralFilter("signed", 12, 0.3, 0.25),
    Blend(),
    Calibration(2.0, 1.5, -1.0),
)


def scorer_of(
    embedding: Embedding,
    sources: int,
    pair: PairModel = PAIR,
    interacted: InteractionHistory = NOTHING,
    *,
    share: float = 0.0,
) -> Scorer:
    """Scores the pair of the first `sources` rows and all others, of which a share is item-kNN."""
    entity_types = EntityTypes(("a", "b"), (0, sources, len(embedding.vectors)))
    return Scorer([embedding], replace(pair, blend=Blend(share, 2.0)), entity_types, interacted)


def best(scorer: Scorer, sources: Rows, n: int) -> TopN:
    return top_n(scorer, scorer.profiles(sources), n)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_one_source_alone_gets_what_it_gets_among_many(share: float) -> None:
    """Scores and order do not depend on which sources are asked together."""
    rng = np.random.default_rng(2)
    interacted = InteractionHistory.from_edges(900, rng.integers(0, 100, 2000), rng.integers(100, 900, 2000))
    scorer = scorer_of(random_vectors(900, 64), 100, interacted=interacted, share=share)

    together = best(scorer, np.arange(100), 20)
    alone = [best(scorer, np.array([source]), 20) for source in range(100)]

    assert np.array_equal(together.target_rows, np.concatenate([one.target_rows for one in alone]))
    assert np.array_equal(together.scores, np.concatenate([one.scores for one in alone]))


def test_the_best_targets_are_those_of_a_full_sort() -> None:
    """The short cut finds what sorting all scores finds, without what was interacted with.

    Targets that nothing links to the source type are scored by the filter for those.
    """
    vectors, targets = random_vectors(400, 64), range(5, 400)
    interacted = InteractionHistory.from_edges(400, np.repeat(np.arange(5), 10), np.arange(50) + 100)

    found = best(scorer_of(vectors, 5, interacted=interacted), np.arange(5), 15)

    warm, cold = (vectors.raw_scores(spectral, np.arange(5), targets) for spectral in (PAIR.filter, PAIR.cold_filter))
    raw = np.where(vectors.warm["a"][5:], warm, cold)
    for source in range(5):
        forbidden = set((interacted.of(source) - targets.start).tolist())
        ranking = [place for place in np.argsort(-raw[source], kind="stable").tolist() if place not in forbidden][:15]
        assert ranking == (found.target_rows[found.positions == source] - 5).tolist()


def test_item_knn_counts_walks_of_three_steps() -> None:
    """A target scores by the sources that chose it together with the source's own targets, popular ones count less."""
    #  source 0: targets 3, 4; source 1: 4, 5; source 2: 5, 6
    interacted = InteractionHistory.from_edges(7, np.array([0, 0, 1, 1, 2, 2]), np.array([3, 4, 4, 5, 5, 6]))
    counts, root = {3: 1, 4: 2, 5: 2, 6: 1}, 2**-0.5
    expected = [
        # To 3 and 4 over source 0 itself, to 4 and 5 over source 1.
        root * (1 + counts[4] ** -0.5),
        root * (counts[4] ** -0.5 + 1 / counts[4]) + root / counts[4],
        root * counts[4] ** -0.5 * counts[5] ** -0.5,
        0.0,
    ]

    found = ItemKNN(interacted, EntityTypes(("a", "b"), (0, 3, 7)), ("a", "b")).scores(np.array([0]))

    assert expected == pytest.approx(found[0].tolist())


def test_equal_scores_follow_the_ids() -> None:
    """Targets that nothing tells apart come in the order of their rows, which is that of ids."""
    ones = np.ones((50, 4), np.float32)
    vectors = replace(random_vectors(50, 4), vectors=ones, degrees=ones[:, 0], warm={})

    found = best(scorer_of(vectors, 10), np.array([0]), 40)

    assert list(range(10, 50)) == found.target_rows.tolist()


@pytest.mark.parametrize("slope", [0.05, 1.5, 40.0])
def test_how_many_are_asked_for_changes_nothing_before_the_cut(slope: float) -> None:
    """Ties at the edge, exact and by rounding, are broken by id however many targets are asked for."""
    vectors = random_vectors(600, 16)
    vectors.vectors[200:] = vectors.vectors[200]  # four hundred targets that nothing tells apart
    vectors.degrees[100:] = 0
    vectors.warm["a"][200:] = True
    scorer = scorer_of(vectors, 20, replace(PAIR, calibration=Calibration(2.0, slope, -1.0)))

    every = best(scorer, np.arange(20), 580)

    for count in (1, 7, 100, 399):
        some = best(scorer, np.arange(20), count)
        for source in range(20):
            mine, all_of_it = some.positions == source, every.positions == source
            assert every.target_rows[all_of_it][:count].tolist() == some.target_rows[mine].tolist()
            assert every.scores[all_of_it][:count].tolist() == some.scores[mine].tolist()


def test_scores_stay_within_0_and_100_and_keep_the_order() -> None:
    """Calibration is monotone, for negative raw scores too."""
    raw = np.linspace(-50, 50, 1001)
    scores = PAIR.calibration.score(raw)

    assert (np.diff(scores) >= 0).all()
    assert 0 <= scores.min() < 1 < scores.max() <= 100


@pytest.mark.parametrize("entities", [(("u", "user"), ("v", "video")), (("u", "user"), ("v", "video"), ("w", "video"))])
def test_the_smallest_data_trains(workspace: Workspace, tmp_path: Path, entities: list[tuple[str, str]]) -> None:
    """One interaction is enough for a model that answers, even if there is nothing to choose on."""
    lines = ["id,type,name,metadata,media_url", *(f"{entity},{kind},,," for entity, kind in entities)]
    (tmp_path / "e.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "i.csv").write_text("type,source_id,target_id,timestamp,metadata\nsaw,u,v,,\n")
    workspace.import_files([tmp_path / "e.csv", tmp_path / "i.csv"])

    status = workspace.train("tiny")

    assert ("completed", 1) == (status.status, status.version)
    found = workspace.recommend("tiny", source_id="u", target_type="video")
    assert [entity for entity, kind in entities if kind == "video" and entity != "v"] == found["target_id"].tolist()
