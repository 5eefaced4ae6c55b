"""Judging spectral filters: how well they rank what was withheld of the sources of one pair."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.metrics import ndcg
from lucid.evaluation.quality import among_withheld
from lucid.model.embedding import Embedding, as_index
from lucid.model.masking import masked_places
from lucid.model.spectral_filter import SpectralFilter
from lucid.typing import Floats, Rows


class Judged:
    """Withheld interactions of one pair, as filters are judged by them: what is masked is looked up once."""

    def __init__(self, held: HeldOut, targets: range) -> None:
        self.held, self._targets = held, targets
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

    def on(self, embedding: Embedding) -> "JudgedOn":
        """To judge filters of one embedding."""
        return JudgedOn(embedding, self._parts, self._rows, self._targets)


class JudgedOn:
    """Judges filters of one embedding; scores by positive and by negative eigenvalues are summed apart.

    So filters that differ in their sign mode alone cost no more than one of them.
    """

    def __init__(
        self,
        embedding: Embedding,
        parts: Sequence[tuple[HeldOut, tuple[Rows, Rows]]],
        rows: range | Rows,
        targets: range,
    ) -> None:
        self._embedding, self._parts, self._rows, self._targets = embedding, parts, rows, targets
        sides = np.flatnonzero(embedding.values > 0), np.flatnonzero(embedding.values < 0)
        self._sides = [columns for columns in sides if len(columns)]
        vectors = embedding.vectors[as_index(rows)]
        self._vectors = [vectors if len(self._sides) == 1 else vectors[:, columns] for columns in self._sides]

    def ndcg(self, filters: Sequence[SpectralFilter]) -> list[NDArray[np.float64]]:
        """NDCG of every source under each of some filters."""
        found = [list(self._ndcg_of(*part, filters)) for part in self._parts]
        return [np.concatenate(figures) for figures in zip(*found, strict=True)]

    def _ndcg_of(
        self, held: HeldOut, masked: tuple[Rows, Rows], filters: Sequence[SpectralFilter]
    ) -> Iterator[NDArray[np.float64]]:
        summed: dict[SpectralFilter, list[Floats]] = {}
        table = np.empty((len(held.sources), len(self._targets)), np.float32)
        for spectral in filters:
            signed = replace(spectral, sign_mode="signed", degree_exponent=0.0)
            if not spectral.is_popularity and signed not in summed:
                summed = {signed: [self._summed(side, signed, held.sources) for side in range(len(self._sides))]}
            factor = self._embedding.target_factor(spectral, self._rows)
            if spectral.is_popularity:
                table[:] = factor
            elif spectral.sign_mode == "positive":
                np.multiply(np.add.reduce(summed[signed][:1]), factor, out=table)
            else:
                np.multiply(np.add.reduce(summed[signed]), factor, out=table)
            table[masked] = -np.inf
            yield ndcg(table, held, self._targets)

    def _summed(self, side: int, signed: SpectralFilter, sources: Rows) -> Floats:
        """Scores (sources, targets) by the eigenvalues of one sign, before degrees count."""
        columns = self._sides[side][: np.searchsorted(self._sides[side], signed.rank)]
        left = self._embedding.vectors[np.ix_(sources, columns)] * signed.response(self._embedding.values)[columns]
        return np.asarray(left @ self._vectors[side][:, : len(columns)].T, np.float32)
