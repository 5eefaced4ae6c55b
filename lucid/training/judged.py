"""Judging spectral filters: how well they rank what was withheld of the sources of one pair."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import CUTOFF, ndcg
from lucid.evaluation.quality import among_withheld
from lucid.model.embedding import Embedding, as_index
from lucid.model.masking import masked_places
from lucid.model.spectral_filter import SpectralFilter
from lucid.typing import Floats, Rows


class Judged:
    """Withheld interactions of one pair, as filters are judged by them: what is masked is looked up once."""

    def __init__(self, held: HeldOut, targets: range, cutoff: int = CUTOFF) -> None:
        self.held, self._targets, self._cutoff = held, targets, cutoff
        self._rows: range | Rows = targets
        self._parts = [(part, masked_places(part.sources, targets, part.history)) for part in held.parts(targets)]

    @classmethod
    def among_withheld(cls, held: HeldOut) -> "Judged":
        """Only what was withheld of anybody competes, which nobody has."""
        judged, none = cls(held, range(0)), np.empty(0, np.int64)
        judged._rows, among = among_withheld(held)
        judged._targets = range(len(judged._rows))
        judged._parts = [(part, (none, none)) for part in among.parts(judged._targets)]
        return judged

    def on(self, by_sign: "BySign") -> "JudgedOn":
        """To judge filters of one embedding."""
        return JudgedOn(by_sign, self._parts, self._rows, self._targets, self._cutoff)


class BySign:
    """The columns of an embedding's vectors, those of positive and of negative eigenvalues apart."""

    def __init__(self, embedding: Embedding) -> None:
        self.embedding = embedding
        sides = np.flatnonzero(embedding.values > 0), np.flatnonzero(embedding.values < 0)
        self.columns = [columns for columns in sides if len(columns)] or [sides[0]]
        """Which of the eigenpairs are on each side; a side that has none is left out."""
        every, vectors = len(embedding.values), embedding.vectors
        self.vectors = [vectors if len(columns) == every else vectors[:, columns] for columns in self.columns]


class JudgedOn:
    """Judges filters of one embedding; scores by positive and by negative eigenvalues are summed apart.

    So filters that differ in their sign mode alone cost no more than one of them.
    """

    def __init__(
        self,
        by_sign: BySign,
        parts: Sequence[tuple[HeldOut, tuple[Rows, Rows]]],
        rows: range | Rows,
        targets: range,
        cutoff: int,
    ) -> None:
        self._by_sign, self._parts, self._rows, self._targets = by_sign, parts, rows, targets
        self._cutoff = cutoff
        self._vectors = [vectors[as_index(rows)] for vectors in by_sign.vectors]
        self._found: dict[SpectralFilter, NDArray[np.float64]] = {}

    def ndcg(self, filters: Sequence[SpectralFilter]) -> list[NDArray[np.float64]]:
        """NDCG of every source under each of some filters; nothing is computed twice."""
        new = [spectral for spectral in dict.fromkeys(filters) if spectral not in self._found]
        parts = [list(self._ndcg_of(*part, new)) for part in self._parts]
        self._found |= {spectral: np.concatenate(figures) for spectral, *figures in zip(new, *parts, strict=True)}
        return [self._found[spectral] for spectral in filters]

    def _ndcg_of(
        self, held: HeldOut, masked: tuple[Rows, Rows], filters: Sequence[SpectralFilter]
    ) -> Iterator[NDArray[np.float64]]:
        summed: dict[SpectralFilter, list[Floats]] = {}
        table = np.empty((len(held.sources), len(self._targets)), np.float32)
        for spectral in filters:
            signed = replace(spectral, sign_mode="signed", degree_exponent=0.0)
            if not spectral.is_popularity and signed not in summed:
                summed = {signed: [self._summed(side, signed, held.sources) for side in range(len(self._vectors))]}
            factor = self._by_sign.embedding.target_factor(spectral, self._rows)
            if spectral.is_popularity:
                table[:] = factor
            elif spectral.sign_mode == "positive" or len(self._vectors) == 1:
                np.multiply(summed[signed][0], factor, out=table)
            else:
                first, second = summed[signed]
                np.add(first, second, out=table)
                table *= factor
            table[masked] = -np.inf
            yield ndcg(table, held, self._targets, self._cutoff)

    def _summed(self, side: int, signed: SpectralFilter, sources: Rows) -> Floats:
        """Scores (sources, targets) by the eigenvalues of one sign, before degrees count."""
        columns = self._by_sign.columns[side]
        used = int(np.searchsorted(columns, signed.rank))
        response = signed.response(self._by_sign.embedding.values)[columns[:used]]
        left = self._by_sign.vectors[side][sources, :used] * response
        return np.asarray(left @ self._vectors[side][:, :used].T, np.float32)
