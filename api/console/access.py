"""Who may see and do what in the console: the one table of its pages and actions with the scope that each needs.

A page that `GET` names has its twin in JSON under the same path with `.json` at the end, and needs the same.
"""

from lucid.keys import Scope

CONSOLE = "/console"

ACCESS: dict[tuple[str, str], Scope | None] = {
    ("GET", "/home"): None,
    ("GET", "/tonight"): "train",
    ("POST", "/sign-out"): None,
    # Models
    ("GET", "/models/{model_id}/report"): "train",
    ("GET", "/models/{model_id}/pair"): "train",
    ("GET", "/models/{model_id}/graph"): "train",
    ("GET", "/models/{model_id}/versions"): "train",
    ("GET", "/models/{model_id}/compare"): "train",
    ("POST", "/models/{model_id}/promote"): "train",
    ("POST", "/models/{model_id}/reject"): "train",
    ("POST", "/models/{model_id}/pin"): "train",
    ("POST", "/models/{model_id}/unpin"): "train",
    ("GET", "/models/{model_id}/gate"): "train",
    ("POST", "/models/{model_id}/gate"): "train",
    ("POST", "/models/{model_id}/gate/reset"): "train",
    ("POST", "/models/{model_id}/rollback"): "train",
    ("POST", "/models/{model_id}/refresh"): "train",
    ("POST", "/models/{model_id}/delete"): "admin",
    ("GET", "/models/{model_id}/schedules"): "train",
    ("POST", "/models/{model_id}/schedules"): "train",
    ("POST", "/models/{model_id}/schedules/remove"): "train",
    ("POST", "/models/{model_id}/auto-train"): "train",
    ("POST", "/models/{model_id}/auto-train/off"): "train",
    ("GET", "/models/{model_id}/lineage"): "train",
    ("GET", "/models/{model_id}/attribution"): "train",
    # Training
    ("GET", "/train"): "train",
    ("POST", "/train"): "train",
    ("POST", "/train/dry-run"): "train",
    ("GET", "/models/{model_id}/progress"): "train",
    ("POST", "/models/{model_id}/cancel"): "train",
    ("GET", "/runs"): "train",
    # Explore
    ("GET", "/explore"): "recommend",
    ("GET", "/explore/found"): "recommend",
    ("GET", "/explore/entity"): "recommend",
    ("GET", "/explore/beside"): "recommend",
    ("GET", "/explore/mix"): "recommend",
    # Placements
    ("GET", "/placements"): "recommend",
    ("GET", "/placements/edit"): "train",
    ("POST", "/placements"): "train",
    ("POST", "/placements/preview"): "recommend",
    ("GET", "/placements/{name}/rules"): "recommend",
    ("GET", "/placements/{name}/preview"): "recommend",
    ("POST", "/placements/{name}/retire"): "train",
    # Experiments
    ("GET", "/experiments"): "train",
    ("POST", "/experiments"): "train",
    ("GET", "/experiments/{name}/results"): "train",
    ("POST", "/experiments/{name}/stop"): "train",
    ("POST", "/experiments/{name}/delete"): "train",
    # Data
    ("GET", "/data"): "data:read",
    ("GET", "/data/drift"): "data:read",
    ("GET", "/data/events"): "data:read",
    ("GET", "/data/{batch_id}/rows"): "data:read",
    ("POST", "/data/upload"): "data:write",
    ("POST", "/data/{batch_id}/tags"): "data:write",
    ("POST", "/data/{batch_id}/archive"): "data:write",
    ("POST", "/data/{batch_id}/delete"): "data:write",
    # Operations
    ("GET", "/keys"): "admin",
    ("POST", "/keys"): "admin",
    ("POST", "/keys/{key_id}/revoke"): "admin",
    ("GET", "/deliveries"): "train",
    ("POST", "/deliveries/{model_id}/{event_id}/resend"): "train",
    ("GET", "/erasures"): "admin",
    ("POST", "/erasures"): "admin",
    ("GET", "/disk"): "admin",
}
"""The scope of each page and action below `CONSOLE`; None for what everybody may who is signed in."""

TWIN = ".json"

OPEN = {CONSOLE, f"{CONSOLE}/sign-in", f"{CONSOLE}/static"}
"""What needs no session: the door, and the files of the pages, in which nothing of customers stands."""


def scope_of(method: str, path: str) -> Scope | None:
    """The scope of a page, its twin or an action by its path below `CONSOLE`; raises LookupError for none of them."""
    known = method, path.removeprefix(CONSOLE).removesuffix(TWIN)
    if known not in ACCESS:
        raise LookupError(f"{method} {path} is not in lucid.api.console.access.ACCESS")
    return ACCESS[known]
