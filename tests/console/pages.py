"""Where the pages and actions of the console are, filled in for a home with the model `board` and what is named
`front`: a placement and an experiment."""

import re
from typing import Any

from lucid.api.console.access import ACCESS, CONSOLE

QUERIES = {
    "/models/{model_id}/pair": "?source_type=user&target_type=item",
    "/models/{model_id}/attribution": "?from=&to=&by=rank",
    "/explore/found": "?model_id=board&q=item",
    "/explore/entity": "?model_id=board&id=i01",
    "/explore/beside": "?model_id=board&id=u01&target_type=item",
    "/explore/mix": "?model_id=board&plus=u01&plus=u03&minus=u02",
    "/placements/edit": "?reference=front",
    "/placements/{name}/preview": "?model_id=board&source_id=u01&source_id=u02&target_type=item",
}
NEEDS_PREFECT = {"/tonight", "/models/{model_id}/schedules"}
"""Pages that ask Prefect, and say so where it does not answer."""

FRONT: dict[str, Any] = {
    "name": "front",
    "note": "for tests",
    "pin": [{"id": "i03", "rank": 1}],
    "bury": [{"when": [{"field": "metadata.colour", "op": "eq", "value": "black"}], "factor": 0.5}],
    "quotas": [{"each": "metadata.colour", "at_most": 5, "of": 10}],
}
"""The placement that pages show."""
TRIED: dict[str, Any] = {
    "name": "front",
    "model_id": "board",
    "variants": [{"name": "now", "share": 0.5}, {"name": "new", "share": 0.5, "placement": "front"}],
}
"""The experiment that pages show."""

PAGES = [path for method, path in ACCESS if method == "GET"]
ACTIONS = [path for method, path in ACCESS if method == "POST"]


def address(path: str, batch_id: str = "0" * 32, suffix: str = "") -> str:
    """A page or an action of the table as it is asked for."""
    filled = path.replace("{model_id}", "board").replace("{batch_id}", batch_id).replace("{name}", "front")
    return CONSOLE + re.sub(r"\{\w+\}", "x", filled) + suffix + QUERIES.get(path, "")
