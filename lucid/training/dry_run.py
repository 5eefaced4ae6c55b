"""A training that only looks: what it would select, how long it would take, how much memory it would need.

Nothing is entered in the catalog and no version is made. As a program it does that in a process of its own, so that
neither its memory nor its time are those of who asks:

    python -m lucid.training.dry_run < request.json
"""

import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from typing import Any

from filelock import Timeout

from lucid.data.known import check_names
from lucid.data.selection import select
from lucid.errors import LucidError, Unavailable
from lucid.schema.fields import utc_now
from lucid.schema.training import TrainingEstimate, TrainingRequest
from lucid.settings import Settings, load_settings
from lucid.store.catalog import Catalog
from lucid.store.home import Home
from lucid.store.locks import forget, working
from lucid.store.machine import telling
from lucid.training.estimate import Estimate, estimate
from lucid.training.memory import in_words
from lucid.training.remaining import about
from lucid.training.room import here, most, room, share
from lucid.training.workload import Workload, count_workload

_STDOUT = 1
LOCK, _PATIENCE_SECONDS = "dry-run", 600.0
"""One at a time in a home: each reads as much as the beginning of a training."""
_MEMORY = "1GB"
"""For the selection; what does not fit is put on disk."""


def dry_run(settings: Settings, request: TrainingRequest) -> TrainingEstimate:
    """What a training would select, take and need; leaves nothing behind.

    Raises what makes such a training fail before or while it selects: InvalidRequest, UnknownType, TrainingFailed; and
    Unavailable where others are looked at for too long.
    """
    home, folder = settings.home, Home(settings.home).dry_run
    check_names(home, request)
    try:
        with telling(home), working(home, LOCK, _PATIENCE_SECONDS):
            try:
                shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
                return _look(settings, request)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        raise Unavailable("others ask what trainings would take, for too long now; try again") from None
    finally:
        forget(home, LOCK)


def _look(settings: Settings, request: TrainingRequest) -> TrainingEstimate:
    folder, began = Home(settings.home).dry_run, time.perf_counter()
    batches = Catalog(settings.home).batches.select(request.data_tags)
    selection = select(
        settings.home,
        batches,
        folder,
        started=utc_now(),
        maximum_interaction_age_days=request.maximum_interaction_age_days,
        data_filters=request.data_filters,
        metadata_rules=request.metadata_rules,
        interaction_rules=request.interaction_rules,
        precompute=request.precompute or (),
        allow_type_changes=request.allow_type_changes,
        memory_limit=_MEMORY,
    )
    workload = count_workload(folder, request.precompute or ())
    took = time.perf_counter() - began
    found = estimate(settings.home, request.model_id, workload)
    steps = [asdict(step) for step in selection.steps]
    return _told(settings, request, selection.batch_ids, steps, workload, found.with_select(took))


def _told(
    settings: Settings,
    request: TrainingRequest,
    batch_ids: list[str],
    steps: list[dict[str, Any]],
    workload: Workload,
    found: Estimate,
) -> TrainingEstimate:
    others = [share(cost) for _, cost in here(settings.home, Catalog(settings.home).trainings.running())]
    left, alone = room(settings, others), most(settings, others)
    fits = alone is None or found.memory_bytes <= alone
    message = f"{about(found.seconds)} and {in_words(found.memory_bytes)} of memory"
    if left is not None:
        message += f", of which {in_words(max(0, left))} are available"
        if found.memory_bytes > left:
            message += "; it would wait for other trainings" if fits else "; it would be refused"
    return TrainingEstimate.model_validate(
        {
            "model_id": request.model_id,
            "data_batch_ids": batch_ids,
            "steps": steps,
            "entity_types": dict(workload.entities),
            "relations": [asdict(edge) for edge in workload.edges],
            "pairs": [
                {
                    "source_type": pair.source_type,
                    "target_type": pair.target_type,
                    "interactions": pair.interactions,
                }
                for pair in workload.pairs
                if pair.is_forward
            ],
            "precomputed": workload.precomputed,
            "seconds": found.seconds,
            "seconds_by_stage": found.seconds_by_stage,
            "memory_bytes": found.memory_bytes,
            "memory_by_part": found.memory_by_part,
            "memory_available_bytes": left,
            "fits": fits,
            "message": message,
            "based_on": found.based_on,
        }
    )


def main() -> None:
    """Answer a request on the standard input; an error of ours is told by its name, code and message."""
    settings = load_settings()
    os.nice(settings.flow_niceness)
    request = TrainingRequest.model_validate_json(sys.stdin.read())
    try:
        answer = dry_run(settings, request).model_dump(mode="json")
    except LucidError as error:
        answer = {"error": type(error).__name__, "code": error.code, "detail": error.message}
    with os.fdopen(_STDOUT, "w", closefd=False) as answers:  # what is printed is a line of the log
        answers.write(json.dumps(answer))


if __name__ == "__main__":
    main()
