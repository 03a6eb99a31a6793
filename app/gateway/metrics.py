"""Prometheus metrics: requests of all gunicorn workers through its multiprocess files, the queue from the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache

from flask import Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.db.pool import Row
from app.gateway.context import Gateway, gateway
from app.gateway.errors import instance

# gunicorn_conf.py sets this before a worker starts; without it there is one process and its own registry.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS = Counter("postbox_http_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram(
    "postbox_http_request_seconds",
    "Time to answer.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)


def begin() -> None:
    g.started = time.monotonic()


def end(response: Response) -> Response:
    method, route = known_method(request.method), instance()
    count(method, route, response.status_code)
    observe(method, route, time.monotonic() - g.get("started", time.monotonic()))
    return response


def known_method(method: str) -> str:
    """Only names we know: a stranger's must not make a new time series, nor stand in a log."""
    return method if method in METHODS else "other"


def count(method: str, route: str, status: int) -> None:
    """One more request answered; of those that the door refuses there is no time to tell."""
    _requests(method, route, status).inc()


# Looked up without the lock of all series; methods, routes and statuses are few.
@cache
def _requests(method: str, route: str, status: int) -> Counter:
    return REQUESTS.labels(method, route, str(status))


@cache
def _seconds(method: str, route: str) -> Histogram:
    return SECONDS.labels(method, route)


def observe(method: str, route: str, seconds: float) -> None:
    """How long one took."""
    _seconds(method, route).observe(seconds)


def scrape() -> Response:
    registry = CollectorRegistry()
    registry.register(_Queue(gateway()))
    text = generate_latest(registry)
    if os.environ.get(MULTIPROCESS):
        requests = CollectorRegistry()
        multiprocess.MultiProcessCollector(requests)  # type: ignore[no-untyped-call]
        text += generate_latest(requests)
    else:
        text += generate_latest(REGISTRY)
    return Response(text, content_type=CONTENT_TYPE_LATEST)


class _Queue(Collector):
    def __init__(self, edge: Gateway) -> None:
        self._edge = edge

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seen = self._edge.queue.read(self._edge.database)
        handlers, unknown = seen.handlers, seen.unknown
        yield _gauge("postbox_database_up", "Whether the database answered.", float(unknown is not None))
        for name, about in (("pending", "Deliveries to be done."), ("dead", "Deliveries that wait for a person.")):
            yield _labelled(f"postbox_deliveries_{name}", about, handlers, name, "lane", "handler")
        oldest = "Age of the oldest pending one that was counted: in a backlog larger than is counted, of some."
        yield _labelled("postbox_deliveries_oldest_seconds", oldest, handlers, "oldest", "lane", "handler")
        if unknown is not None:
            yield _gauge("postbox_payments_outcome_unknown", "Payments without a definite answer.", unknown["payments"])
            yield _gauge("postbox_payments_outcome_unknown_oldest_seconds", "For how long.", unknown["oldest"])
            for name, column, about in (
                ("open", "discrepancies", "Books that do not meet."),
                ("overdue", "overdue", "Of these, past their deadline."),
                ("unacknowledged", "unacknowledged", "Of these, not acknowledged in time."),
            ):
                yield _labelled(f"postbox_discrepancies_{name}", about, seen.discrepancies, column, "type", "severity")
            yield _labelled(
                "postbox_merchants_owing", "Who has less than nothing.", seen.debts, "merchants", "currency"
            )
            yield _labelled("postbox_merchants_owed_minor_units", "What they owe.", seen.debts, "owed", "currency")


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)


def _labelled(name: str, about: str, rows: list[Row], column: str, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    for row in rows:
        family.add_metric([row[label] for label in labels], row[column])
    return family
