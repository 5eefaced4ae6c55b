"""Figures of a report in words, as tables for people show them."""

from lucid.evaluation.pair_quality import Difference, Interval, PairQuality


def shown(found: Interval) -> str:
    """A figure with its interval, as `0.192 (0.164 to 0.220)`."""
    return f"{found.mean:.3f}" + ("" if found.low is None else f" ({found.low:.3f} to {found.high:.3f})")


def figure(pair: PairQuality, who: str, name: str = "ndcg@10") -> str:
    """A figure of a pair, with its interval where the report has one; by `model`, `popularity` or `item_knn`."""
    if pair.figures:
        return shown(pair.figures.ranking[who][name])
    return f"{getattr(getattr(pair, who), name.removesuffix('@10')):.3f}"


def against(pair: PairQuality, who: str, name: str = "ndcg@10") -> str:
    """Whether the model is better than a baseline; nothing where the report does not tell."""
    return verdict(pair.figures.differences[who][name]) if pair.figures else ""


def against_before(pair: PairQuality, name: str = "ndcg@10") -> str:
    """Whether the model is better than what answered before; nothing where that cannot be told."""
    before = pair.figures and pair.figures.answered_before
    return verdict(before.difference[name]) if before and before.difference else ""


def verdict(difference: Difference) -> str:
    """A difference in words, as `better by 0.141`."""
    if not difference.significant:
        return "too few sources" if difference.p is None else "no sure difference"
    return f"{'better' if difference.mean > 0 else 'worse'} by {abs(difference.mean):.3f}"
