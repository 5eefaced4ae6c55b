"""The decomposition of the typed graph: its leading eigenvectors, in one space for the entities of all types.

All entities stand in one symmetric adjacency A in which each relation has a weight. It is normalised,
`(D + a)^-1/2 A (D + a)^-1/2`, where dislikes may weigh less than zero and D sums what edges weigh, whatever their sign
(Kunegis et al. 2010). Its eigenpairs of largest absolute value are what infinitely many linear message-passing layers
converge to (GF-CF, Shen et al. 2021, for one pair of types; here for all at once).

Where the types fall into two sides that only link across (users and items, say), every eigenvalue comes with both
signs, so the positive ones tell all and are found at half the cost, by the singular vectors of the block between the
sides.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucid.errors import TrainingFailed
from lucid.graph.relation_weights import RelationWeights
from lucid.graph.typed_graph import EdgeType, TypedGraph
from lucid.model.embedding import Embedding
from lucid.schema.fields import Device


@dataclass(frozen=True)
class DecompositionConfig:
    """How far the iteration goes; where values were measured, `benchmarks/LOG.md` has the figures."""

    rounds: int = 4
    """Of subspace iteration; measured: six, eight and fourteen changed no figure by more than its noise."""
    warm_rounds: int = 2
    """From vectors of nearly the same graph; measured to be enough."""
    refit_rounds: int = 1
    """From vectors of the same graph but for what was withheld; measured: a second changes no figure."""
    oversampling: int = 16
    """Columns beyond the rank, as Halko et al. 2011 have them; set by hand."""
    panel: int = 64
    """Columns multiplied at a time; measured: so many stay in the processor's cache, which halves the time."""
    block: int = 256
    """Columns of symmetric and triangular matrices that are worked on at a time; set by hand."""
    panel_rows: int = 65_536
    """Rows of a tall matrix that are worked on at a time, as a second one of its size would not fit in memory."""
    max_rank: int = 1024
    """Singular triplets at most; twice as many eigenpairs where the types have no two sides, which tell as much.

    Measured: 2048 gain on what is withheld and lose on the test part of gowalla, and cost a quarter more time there."""
    max_values: int = 250_000_000
    """Numbers that the vectors of a graph may hold: a gigabyte in single precision."""
    max_work: float = 3e12
    """Floating-point operations that the iteration may take, a minute or so; bounds the rank of large graphs."""


CONFIG = DecompositionConfig()
_LOST = 1e-4
"""Square of an entity's vector, beside that of others, below which it starts at random; set by hand."""
_SAME_DIRECTION = 1e-5
"""Square of the length that is left of a unit column beside the others, below which single precision tells of noise."""


@dataclass(frozen=True)
class Solver:
    """How vectors are computed: with the same seed and device they are the same."""

    seed: int = 0
    device: str = "cpu"

    @classmethod
    def of(cls, seed: int, device: Device) -> "Solver":
        """`auto` takes a GPU where torch finds one. Raises TrainingFailed for a GPU that is not there."""
        found = torch.cuda.is_available()
        if device == "cuda" and not found:
            raise TrainingFailed("LUCID_DEVICE is cuda, but torch finds no GPU; set it to auto or cpu")
        return cls(seed, "cuda" if found and device != "cpu" else "cpu")


def max_rank(graph: TypedGraph, weights: RelationWeights) -> int:
    """Eigenpairs at most, so that vectors fit in memory and the iteration ends in a minute or so."""
    connected = _connected(graph, weights)
    sides = _sides(graph, weights)
    size, most = int(connected.sum()), 2 * CONFIG.max_rank
    if sides is not None:
        size, most = min(int((connected & (sides == side)).sum()) for side in (0, 1)), CONFIG.max_rank
    affordable = int((CONFIG.max_work / (4 * (CONFIG.rounds + 1) * max(size, 1))) ** 0.5)
    return min(size, most, max(64, min(affordable, CONFIG.max_values // max(graph.entity_types.size, 1))))


def decompose(
    graph: TypedGraph,
    weights: RelationWeights,
    rank: int,
    solver: Solver,
    start: Embedding | None = None,
    rounds: int | None = None,
) -> Embedding:
    """The leading eigenpairs of the normalised typed graph, by falling absolute value.

    Randomised subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4), exact where rank is nearly the graph's
    size. `start` are vectors of nearly the same graph, which save rounds; without `rounds` there are as many as usual.
    """
    if rounds is None:
        rounds = CONFIG.rounds if start is None else CONFIG.warm_rounds
    sides = _sides(graph, weights)
    generator = torch.Generator().manual_seed(solver.seed)
    degrees, matrices, members = _matrices(graph, weights, sides, solver.device)
    basis = _start(start, members[0], rank, generator).to(solver.device)
    find = _eigenpairs if sides is None else _singular_triplets
    found, turns = find(matrices, rank, basis, rounds)
    everyone = torch.zeros(graph.entity_types.size, len(found))
    for rows, (vectors, turn) in zip(members, turns, strict=True):
        for part in _panels(len(rows)):
            everyone[rows[part]] = (vectors[part] @ turn).cpu()
    return Embedding(found.cpu().numpy(), everyone.numpy(), degrees.numpy(), weights.damping, graph.warm())


Turn = tuple[Tensor, Tensor]
"""A basis (rows, columns) and what turns it into vectors (columns, q): multiplied only where they are needed."""


def _matrices(
    graph: TypedGraph, weights: RelationWeights, sides: Tensor | None, device: str
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Weighted degrees (n), what the iteration multiplies with in turn, and the rows that its matrices are about.

    Without sides that is the matrix twice; with them, the transposed block from the smaller side to the other and the
    block back.
    """
    rows, values, degrees = _normalised(graph, weights)
    if sides is None:
        place, connected = _numbering(degrees > 0)
        matrix = _sparse(place[rows], values, (len(connected), len(connected))).to(device)
        return degrees, [matrix, matrix], [connected]
    left, right = (_numbering((degrees > 0) & (sides == side)) for side in (0, 1))
    if len(left[1]) > len(right[1]):
        left, right = right, left
    across = torch.isin(rows[0], left[1])
    index = torch.stack([left[0][rows[0, across]], right[0][rows[1, across]]])
    shape = len(left[1]), len(right[1])
    block, transposed = (
        _sparse(ends, values[across], sizes).to(device)
        for ends, sizes in ((index, shape), (index.flip(0), shape[::-1]))
    )
    return degrees, [transposed, block], [left[1], right[1]]


def _eigenpairs(matrices: list[Tensor], rank: int, basis: Tensor, rounds: int) -> tuple[Tensor, list[Turn]]:
    matrix, _ = matrices
    if rank + CONFIG.oversampling >= matrix.shape[0]:
        basis = torch.eye(matrix.shape[0], device=basis.device)
        values, small = torch.linalg.eigh(matrix.to_dense())
    else:
        image = _iterate(matrices, basis, rounds)
        values, small = _eigh(_symmetric(basis, _product(matrix, basis, image)), _symmetric(basis, basis))
    order = torch.argsort(values.abs(), descending=True)[:rank]
    return values[order], [(basis, small[:, order])]


def _singular_triplets(matrices: list[Tensor], rank: int, basis: Tensor, rounds: int) -> tuple[Tensor, list[Turn]]:
    transposed, block = matrices
    if rank + CONFIG.oversampling >= block.shape[0]:
        basis = torch.eye(block.shape[0], device=basis.device)
        image = _product(transposed, basis, torch.empty(transposed.shape[0], block.shape[0], device=basis.device))
        squares, small = torch.linalg.eigh(image.T @ image)
    else:
        image = _product(transposed, basis, _iterate(matrices, basis, rounds))
        squares, small = _eigh(_symmetric(image, image), _symmetric(basis, basis))
    order = torch.argsort(squares, descending=True)[:rank]
    order = order[squares[order] > 1e-10]  # the others are zero but for rounding
    values = squares[order].sqrt()
    return values, [(basis, small[:, order]), (image, small[:, order] / values)]


def _iterate(matrices: list[Tensor], basis: Tensor, rounds: int) -> Tensor:
    """Rounds of the iteration, in place; returns the memory that it needed beside the basis.

    The basis is not orthonormal at the end: `_eigh` allows for that, at less than it costs to make it so.
    """
    first, second = matrices
    image = torch.empty(first.shape[0], basis.shape[1], device=basis.device)
    for number in range(rounds):
        if number:
            _make_orthonormal(basis)
        _product(second, _product(first, basis, image), basis)
    return image


def _product(matrix: Tensor, columns: Tensor, product: Tensor) -> Tensor:
    """Write a product into `product`, which is returned."""
    for start in range(0, columns.shape[1], CONFIG.panel):
        product[:, start : start + CONFIG.panel] = matrix @ columns[:, start : start + CONFIG.panel].contiguous()
    return product


def _make_orthonormal(basis: Tensor) -> None:
    """Orthonormal columns with the same span: by Cholesky, which costs a quarter of a QR, or by QR where that fails."""
    factor, failed = torch.linalg.cholesky_ex(_symmetric(basis, basis), upper=True)
    if failed:
        basis[:] = torch.linalg.qr(basis).Q
        return
    turn = torch.linalg.solve_triangular(factor, torch.eye(len(factor), device=basis.device), upper=True)
    for part in _panels(len(basis)):
        for columns in reversed(_blocks(len(turn))):  # in place, as columns are made of those before them only
            basis[part, columns] = basis[part, : columns.stop] @ turn[: columns.stop, columns]


def _eigh(matrix: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, rising, and vectors (columns) of `matrix y = value gram y`, so that `y.T gram y = 1`."""
    scale = gram.diagonal().double().rsqrt()  # the columns of the basis differ in length
    even = gram.double() * scale * scale[:, None]
    factor, failed = torch.linalg.cholesky_ex(even, upper=True)
    if failed or float(factor.diagonal().min()) < _SAME_DIRECTION**0.5:
        lengths, axes = torch.linalg.eigh(even)
        kept = lengths > _SAME_DIRECTION
        turn = axes[:, kept] * lengths[kept].rsqrt()
    else:
        turn = torch.linalg.solve_triangular(factor, torch.eye(len(gram), device=gram.device).double(), upper=True)
    turn = (turn * scale[:, None]).float()
    values, small = torch.linalg.eigh(turn.T @ matrix @ turn)
    return values, turn @ small


def _symmetric(left: Tensor, right: Tensor) -> Tensor:
    """`left.T @ right` where that is symmetric: little more than half of it is multiplied."""
    product = torch.empty(left.shape[1], left.shape[1], device=left.device)
    for columns in _blocks(len(product)):
        part = left[:, columns].T @ right[:, columns.start :]
        product[columns, columns.start :] = part
        product[columns.start :, columns] = part.T
    return product


def _blocks(columns: int) -> list[slice]:
    """Parts of the columns of a matrix."""
    return [slice(start, min(start + CONFIG.block, columns)) for start in range(0, columns, CONFIG.block)]


def _panels(rows: int) -> Iterator[slice]:
    """Parts of a tall matrix."""
    return (slice(start, start + CONFIG.panel_rows) for start in range(0, rows, CONFIG.panel_rows))


def _start(start: Embedding | None, rows: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """Where the iteration begins: random columns, after those of earlier vectors if there are any."""
    columns = min(rank + CONFIG.oversampling, len(rows))
    if start is None:
        return torch.randn(len(rows), columns, generator=generator)
    vectors = torch.from_numpy(start.vectors)
    known = min(vectors.shape[1], columns)
    basis, squares = torch.empty(len(rows), columns), torch.empty(len(rows))
    for part in _panels(len(rows)):
        basis[part, :known] = vectors[rows[part], :known]
        squares[part] = basis[part, :known].square().sum(dim=1)
    scale = (float(squares.mean()) / max(known, 1)) ** 0.5
    # Entities that had no vector to speak of get a small random one, or the iteration would never find them.
    (lost,) = torch.where(squares <= _LOST * squares.mean())
    basis[lost, :known] = torch.randn(len(lost), known, generator=generator).mul_(_LOST**0.5 * scale)
    basis[:, known:] = torch.randn(len(rows), columns - known, generator=generator).mul_(scale)
    return basis


def _normalised(graph: TypedGraph, weights: RelationWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Edges in both directions (2, 2E), their normalised weights, and the weighted degrees (n) of all entities."""
    used = _used(graph, weights)
    joined = torch.cat([graph.rows(edge_type) for edge_type in used], dim=1)
    given = torch.cat([torch.from_numpy(graph.edge_weights(edge_type, weights)) for edge_type in used])
    if not (weighs := given != 0).all():  # dislikes that are left out
        joined, given = joined[:, weighs], given[weighs]
    rows, values = torch.cat([joined, joined.flip(0)], dim=1), given.repeat(2)
    degrees = torch.zeros(graph.entity_types.size).index_add_(0, rows[0], values.abs())
    damped = (degrees + weights.damping).rsqrt()
    return rows, values * damped[rows[0]] * damped[rows[1]], degrees


def _used(graph: TypedGraph, weights: RelationWeights) -> list[EdgeType]:
    """Edge types that weigh anything."""
    return [edge_type for edge_type in graph.edge_types if weights.of(edge_type[1]) > 0]


def _sparse(index: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """CSR float32; an edge that several relations name counts with the sum of their weights."""
    with warnings.catch_warnings():  # torch calls its CSR support beta
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce().to_sparse_csr()


def _numbering(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Position of each chosen row among them, and their rows."""
    return torch.cumsum(chosen, 0) - 1, torch.nonzero(chosen).flatten()


def _connected(graph: TypedGraph, weights: RelationWeights) -> Tensor:
    """Whether an entity has any edge, (n) bool; the others would only take time and memory."""
    connected = torch.zeros(graph.entity_types.size, dtype=torch.bool)
    for edge_type in _used(graph, weights):
        connected[graph.rows(edge_type)[:, torch.from_numpy(graph.edge_weights(edge_type, weights) != 0)].flatten()] = (
            True
        )
    return connected


def _sides(graph: TypedGraph, weights: RelationWeights) -> Tensor | None:
    """0 or 1 for every entity, (n), so that edges only link across; None where the types allow no such division."""
    side: dict[str, int] = {}
    neighbours: dict[str, set[str]] = {entity_type: set() for entity_type in graph.entity_types.types}
    for source, _, target in _used(graph, weights):
        neighbours[source].add(target)
        neighbours[target].add(source)
    for first in graph.entity_types.types:
        waiting = [] if first in side else [first]
        side.setdefault(first, 0)
        while waiting:
            entity_type = waiting.pop()
            for other in neighbours[entity_type]:
                if side.get(other) == side[entity_type]:
                    return None
                if other not in side:
                    side[other] = 1 - side[entity_type]
                    waiting.append(other)
    lengths = np.diff(graph.entity_types.starts)
    return torch.from_numpy(np.repeat([side[entity_type] for entity_type in graph.entity_types.types], lengths))
