"""Where the pages and actions of the console are, filled in for a home with the model `board`."""

import re

from lucid.api.console.access import ACCESS, CONSOLE

QUERIES = {
    "/models/{model_id}/pair": "?source_type=user&target_type=item",
    "/explore/found": "?model_id=board&q=item",
    "/explore/entity": "?model_id=board&id=i01",
    "/explore/beside": "?model_id=board&id=u01&target_type=item",
    "/explore/mix": "?model_id=board&plus=u01&plus=u03&minus=u02",
}
NEEDS_PREFECT = {"/tonight", "/models/{model_id}/schedules"}
"""Pages that ask Prefect, and say so where it does not answer."""

PAGES = [path for method, path in ACCESS if method == "GET"]
ACTIONS = [path for method, path in ACCESS if method == "POST"]


def address(path: str, batch_id: str = "0" * 32, suffix: str = "") -> str:
    """A page or an action of the table as it is asked for."""
    filled = path.replace("{model_id}", "board").replace("{batch_id}", batch_id)
    return CONSOLE + re.sub(r"\{\w+\}", "x", filled) + suffix + QUERIES.get(path, "")
