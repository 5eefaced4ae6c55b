"""What answered before, judged on what it cannot know: the live version beside the one that is being trained.

The live version has learned from nearly all that is withheld now, and would look brilliant at finding it again. So it
is judged on those sources only of which it knows nothing that is withheld: mostly those with interactions that came
after its training.
"""

from collections.abc import Callable

import numpy as np

from lucid.errors import DamagedVersion, ModelNotReady, OutdatedVersion, UnknownModel
from lucid.evaluation.holdout import HeldOut
from lucid.evaluation.quality import top
from lucid.evaluation.recorded import LISTED, Before, Lists
from lucid.graph.entity_index import rows_elsewhere
from lucid.graph.typed_graph import TypedGraph
from lucid.training.run import Training
from lucid.typing import Rows
from lucid.versions.files import ENTITIES
from lucid.versions.version import Version

LEAST_SOURCES = 20
"""Sources that a comparison rests on at least; set by hand."""


def answering_before(training: Training, graph: TypedGraph) -> Callable[[HeldOut], Before] | None:
    """Tells for held-out interactions of a graph what the live version recommends; None where none can be read."""
    try:
        with training.versions.live().reading() as live:
            live.open()
            rows = rows_elsewhere(training.work / ENTITIES, live.folder / ENTITIES)
    except (ModelNotReady, UnknownModel, OutdatedVersion, DamagedVersion):
        return None
    linked = {either for pair in graph.pairs for either in (pair, pair[::-1])}

    def judged(held: HeldOut) -> Before:
        if not set(held.pair) <= set(live.config.entity_types.types):
            return Before(live.number, 0, "it does not know the pair")
        if held.pair not in linked:
            return Before(live.number, 0, "no interaction links the pair, so nobody can say what it has seen")
        return _judge(live, rows, held, graph.entity_types.rows(held.target_type))

    return judged


def _judge(live: Version, rows: Rows, held: HeldOut, targets: range) -> Before:
    sources, positions = live.config.entity_types.rows(held.source_type), []
    for position, source in enumerate(rows[held.sources].tolist()):
        if source in sources and not _has_seen(live, source, rows[held.of(position)]):
            positions.append(position)
    if len(positions) < LEAST_SOURCES:
        return Before(
            live.number,
            len(positions),
            f"of all but {len(positions)} of {len(held.sources)} test sources it has seen what is withheld, "
            f"or does not know them; {LEAST_SOURCES} are needed",
        )
    chosen = np.array(positions, np.int64)
    return Before(live.number, len(chosen), None, chosen, _lists(live, rows, held.part(chosen), targets))


def _has_seen(live: Version, source: int, withheld: Rows) -> bool:
    return any(np.isin(withheld, seen.of(source)).any() for seen in (live.history, live.left_out))


def _lists(live: Version, rows: Rows, held: HeldOut, targets: range) -> Lists:
    """What the live version recommends to some sources: neither what it knows them to have, nor what is known now."""
    scorer, there = live.scorer(*held.pair), rows[targets.start : targets.stop]
    columns = np.flatnonzero((there >= scorer.targets.start) & (there < scorer.targets.stop))
    found = []
    for part in held.parts(targets):
        scores = np.full((len(part.sources), len(targets)), -np.inf, np.float32)
        scores[:, columns] = scorer.masked(rows[part.sources])[:, there[columns] - scorer.targets.start]
        found.append(top(part.masked(scores, targets), targets, LISTED)[1])
    return np.concatenate(found)
