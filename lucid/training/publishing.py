"""The end of what makes a version: it answers from now on, or another one does and the version waits; and saying so.

A process that dies meanwhile leaves a version that is complete. Whoever ends its training then does the same again.
"""

from collections.abc import Callable

from lucid.schema.fields import utc_now
from lucid.schema.training import ModelStatus
from lucid.store.catalog import Catalog
from lucid.store.tables.deliveries import Event
from lucid.versions.lifecycle import ModelVersions
from lucid.versions.reviews import Review
from lucid.versions.version import Version


def publish(
    catalog: Catalog,
    versions: ModelVersions,
    made: Version,
    message: str = "",
    owes: Callable[[ModelStatus], Event] | None = None,
    *,
    despite_pin: bool = False,
) -> None:
    """Let a complete version answer, unless it is held or another one is pinned, and end its training well.

    A training puts an end to the wait of one that was held before it, a refresh or an erasure does not. `owes` as in
    `Trainings.end`.
    """
    if made.manifest.refresh_of is None:
        _supersede(catalog, versions, made)
    answers = versions.go_live(made, despite_pin=despite_pin)
    review = versions.review(made)
    waits = "" if answers or made.manifest.refresh_of is not None else _why_it_waits(versions, made, review)
    told = "; ".join(part for part in (waits, message) if part)
    catalog.trainings.end(versions.model_id, made.number, "completed", told, utc_now(), owes, held=bool(review))


def _why_it_waits(versions: ModelVersions, made: Version, review: Review | None) -> str:
    live = versions.live().number
    if review:
        return f"held: {review.reason}; version {live} answers on; promote or reject version {made.number}"
    if versions.is_pinned:
        return f"version {live} was pinned and answers on; promote version {made.number} to let it answer"
    return f"version {live} is newer and answers"


def _supersede(catalog: Catalog, versions: ModelVersions, made: Version) -> None:
    """Reject what was held before a training, and say why."""
    for version in versions.complete():
        review = versions.review(version)
        if review and review.held and version.number < made.number:
            reason = f"version {made.number} was trained before anybody had decided; {review.reason}"
            reject(catalog, versions, version, reason)


def reject(catalog: Catalog, versions: ModelVersions, version: Version, reason: str) -> None:
    """Let a version wait no more; it stays as long as others do."""
    versions.set_review(version, Review("rejected", reason))
    told = f"rejected: {reason}" if reason else "rejected"
    catalog.trainings.decide(versions.model_id, version.number, told, tell=False)


def promote(catalog: Catalog, versions: ModelVersions, version: Version, *, pinned: bool = False) -> None:
    """Let a version answer that somebody has chosen, whatever was against it; see `ModelVersions.switch`."""
    review = versions.review(version)
    versions.switch(version, pinned=pinned)
    if review:
        told = f"promoted; it was {review.state}: {review.reason}"
        catalog.trainings.decide(versions.model_id, version.number, told, tell=True)


def settle(catalog: Catalog, versions: ModelVersions, version: Version) -> None:
    """Let the catalog follow what became of a version that it calls held.

    Somebody has decided and died before that was written down, or the version was removed, as by an erasure.
    """
    review = versions.review(version)
    if not version.is_begun:
        said = "it was removed before anybody had decided"
    elif review is None:
        versions.forget_review(version)  # the file may still be there, beside a version that answers
        said = "promoted"
    elif review.held:
        return
    else:
        said = f"rejected: {review.reason}"
    catalog.trainings.decide(versions.model_id, version.number, said, tell=version.is_begun and review is None)
