"""What Prometheus reads: calls by route, method and status with their duration, rows recommended, work, the process."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import get_args

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client import Counter as PrometheusCounter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lucid.api.work import WorkFigures
from lucid.schema.fields import ServedBy
from lucid.serving.rendering import Answer, Block

OTHER = "other"
"""Stands for paths that are no route and for methods that HTTP does not name: what strangers make up is no label."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures of one application, since its process started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._calls = Histogram(
            "lucid_call_seconds",
            "Calls and how long they took, from the header to the end of the answer.",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._limited = PrometheusCounter(
            "lucid_rate_limited", "Calls refused because their key made too many.", registry=self._registry
        )
        self._recommendations = PrometheusCounter(
            "lucid_recommendations", "Recommendations given, in rows.", registry=self._registry
        )
        self._sources = PrometheusCounter(
            "lucid_sources_answered",
            "Sources that got recommendations, by what these came from.",
            ("served_by",),
            registry=self._registry,
        )
        self._served = {served_by: self._sources.labels(served_by) for served_by in get_args(ServedBy)}
        self.served: defaultdict[str, Counter[ServedBy]] = defaultdict(Counter)
        """The same by model, for people; only models that have answered are in it."""
        self.work = WorkFigures(self._registry)
        self._paths: dict[object, str] = {}
        self._series: dict[tuple[object, str, int], Histogram] = {}

    def know_routes(self, app: FastAPI) -> None:
        """Take the labels of routes from the application, once it has all of them."""
        routes = iter_route_contexts(app.routes)
        self._paths = {route.endpoint: route.path or OTHER for route in routes if route.endpoint}

    def call(self, endpoint: object, method: str, status: int, seconds: float) -> None:
        """Count a call that was answered by an endpoint, or by none."""
        known = endpoint, method, status
        series = self._series.get(known)  # looking labels up takes several times longer
        if series is None:
            labels = self._paths.get(endpoint, OTHER), method if method in _METHODS else OTHER, str(status)
            series = self._calls.labels(*labels)
            if OTHER not in labels:
                self._series[known] = series
        series.observe(seconds)
        if status == 429:
            self._limited.inc()

    def counted(self, answer: Answer) -> Answer:
        """The answer, with its rows counted while they are read."""
        blocks = self._counted(answer.blocks, self.served[answer.model_id])
        return replace(answer, blocks=blocks)

    def _counted(self, blocks: Iterable[Block], of_model: Counter[ServedBy]) -> Iterator[Block]:
        for block in blocks:
            self._recommendations.inc(block.rows)
            for served_by, sources in block.served_by.items():
                self._served[served_by].inc(sources)
                of_model[served_by] += sources
            yield block

    def text(self) -> bytes:
        """All figures in the text format of Prometheus."""
        return generate_latest(self._registry)


class Measured:
    """Measures every call that passes through."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # what the server answers where the application raises

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - began
            self._metrics.call(scope.get("endpoint"), scope["method"], status, seconds)
