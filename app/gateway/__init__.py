"""The HTTP edge: authentication, idempotency, schemas, errors; it opens the transaction and holds no domain rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apiflask import APIFlask

    from app.config import Settings


def create_app(settings: Settings | None = None) -> APIFlask:
    """The WSGI application; imported here and not above, so that importing the package costs nothing."""
    from app.gateway.app import create_app as build

    return build(settings)
