"""/healthz, /readyz and /metrics: for probes and scrapers; none of them needs a key, none tells about a merchant."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from app.errors import DatabaseDown, PostboxError, UnsafeDatabase
from app.gateway import answers
from app.gateway.context import actor, gateway
from app.gateway.contract import probe
from app.gateway.metrics import scrape
from app.services.health import pending_migrations, unsafe_settings

blueprint = APIBlueprint("operations", __name__)


@blueprint.get("/healthz")
@blueprint.output(answers.Alive)
@probe
def healthz() -> dict[str, str]:
    """The process answers; it asks nobody."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@blueprint.doc(responses=answers.beside(200, answers.Ready) | answers.beside(503, answers.Unready))
@probe
def readyz() -> tuple[dict[str, Any], int]:
    """Whether to send traffic here: the database answers, keeps what it commits, and has every file of this release."""
    edge = gateway()
    try:
        pending, unsafe = edge.database.transact(
            actor("readyz"), lambda tx: (pending_migrations(tx), unsafe_settings(tx))
        )
    except UnsafeDatabase as error:
        return {"status": "unready", "reason": "database_unsafe", "settings": error.extra["settings"]}, 503
    except DatabaseDown:
        return {"status": "unready", "reason": "database_down"}, 503
    except PostboxError:
        return {"status": "unready", "reason": "database_not_migrated"}, 503
    if not edge.settings.unsafe_postgres.issuperset(unsafe):
        return {"status": "unready", "reason": "database_unsafe", "settings": unsafe}, 503
    if pending:
        return {"status": "unready", "reason": "migrations_pending", "pending": pending}, 503
    return {"status": "ready"}, 200


@blueprint.get("/metrics")
@blueprint.doc(responses=answers.PLAIN_TEXT)
@probe
def metrics() -> Response:
    """Prometheus text: this process's group of requests, and the queue as the database sees it."""
    return scrape()
