"""Attribution: what came of the answers of a model that were noted, in a period, by version, pair or rank."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from lucid.api.console.guard import Screen
from lucid.api.console.pages import Named, page
from lucid.api.services import ServicesDep
from lucid.experiments.attribution import attribution
from lucid.models import find_model
from lucid.schema.attribution import Attribution, AttributionGroup, By, EventRate
from lucid.schema.fields import utc_now
from lucid.schema.training import Model

router = APIRouter(route_class=Screen)

_EMPTY_IS_NONE = BeforeValidator(lambda value: value or None)  # as forms send it
Moment = Annotated[datetime | None, _EMPTY_IS_NONE]
_PERIODS = (1, 7, 30, 90)
"""Days that one may choose at once."""


@dataclass(frozen=True)
class RatesOfType:
    """How often rows of each group led to events of one type; None for a group of which nothing came.

    `most` is the highest end of an interval.
    """

    type: str
    groups: list[tuple[AttributionGroup, EventRate | None]]
    most: float


@dataclass(frozen=True)
class AttributionPage:
    """What came of a model's answers; `periods` are days that one may choose with the date at which they begin.

    Answers are kept for so many `kept_days`.
    """

    model: Model
    attribution: Attribution
    by_type: list[RatesOfType]
    periods: list[tuple[int, str]]
    kept_days: int


@page(router, "/models/{model_id}/attribution", "attribution.html")
def show_attribution(
    services: ServicesDep,
    model_id: Named,
    from_time: Annotated[Moment, Query(alias="from")] = None,
    to_time: Annotated[Moment, Query(alias="to")] = None,
    by: Annotated[By | None, _EMPTY_IS_NONE, Query()] = None,
) -> AttributionPage:
    """Rows that were shown from one moment to before another, and what people did with them until now."""
    found = attribution(services.settings, model_id, from_time, to_time, by)
    periods = [(days, (utc_now() - timedelta(days)).date().isoformat()) for days in _PERIODS]
    by_type = [_of_type(found, one.type) for one in found.total.events]
    model = find_model(services.settings, model_id)
    return AttributionPage(model, found, by_type, periods, services.settings.keep_impressions_days)


def _of_type(found: Attribution, event_type: str) -> RatesOfType:
    groups = [
        (group, next((one for one in group.events if one.type == event_type), None))
        for group in (found.groups if found.by else [found.total])
    ]
    return RatesOfType(event_type, groups, max((one.high for _, one in groups if one), default=0.0))
