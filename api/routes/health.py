"""Whether the API lives; needs no key."""

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/health")
def health() -> dict[str, str]:
    """Answers while the API runs."""
    return {"status": "ok"}
