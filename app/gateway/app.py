"""Puts the gateway together; everything a request needs is made here, and no connection is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apiflask import APIFlask
from flask import Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Settings, SettingsError, load_settings
from app.db import Database
from app.db.wake import Waker
from app.gateway import (
    balance,
    disputes,
    docs,
    document,
    errors,
    events,
    limits,
    metrics,
    operations,
    ops,
    payments,
    refunds,
    request_id,
    request_log,
    security_headers,
    trace,
    webhooks,
)
from app.gateway.context import EXTENSION, Gateway, gateway
from app.gateway.door import Door, caller_of
from app.gateway.inbox import Inbox
from app.gateway.queue_age import QueueAge
from app.model.actor import Role
from app.providers.stripe import StripeProvider

# People click; they share a few connections and leave the merchants' alone.
OPERATOR_POOL = 2

BLUEPRINTS = (
    payments.blueprint,
    refunds.blueprint,
    disputes.blueprint,
    balance.blueprint,
    events.blueprint,
    webhooks.blueprint,
    operations.blueprint,
    *ops.BLUEPRINTS,
    docs.blueprint,
)


def create_app(settings: Settings | None = None) -> APIFlask:
    """The WSGI application. Raises SettingsError; opens nothing, so it may be made before a fork."""
    settings = settings or load_settings()
    if not settings.key_pepper:
        raise SettingsError("POSTBOX_KEY_PEPPER is not set: API keys cannot be checked without it")
    # Not the framework's docs page, it loads its scripts from a CDN (docs.py is ours), and no static files.
    app = APIFlask("postbox", title="Postbox", docs_path=None, static_folder=None)  # type: ignore[arg-type]
    # No view is a coroutine, and to find that out takes as long as some of them.
    app.ensure_sync = _as_it_is  # type: ignore[assignment,method-assign]
    # Never a debug page or a raw exception, whatever FLASK_DEBUG says.
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = _gateway(settings)
    errors.register(app)
    document.register(app)
    app.before_request(_begin)
    app.after_request(_end)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    _trust_proxies(app, settings.trusted_proxies)
    return app


def _trust_proxies(app: APIFlask, count: int) -> None:
    """Take the client's address and scheme from this many proxies in front of us; from nobody unless told."""
    if count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=0, x_port=0, x_prefix=0
        )


def _as_it_is(view: Callable[..., Any]) -> Callable[..., Any]:
    return view


def _gateway(settings: Settings) -> Gateway:
    operators = {}
    if settings.operator_url:
        operators[Role.OPERATOR] = Database(
            settings.operator_url,
            size=OPERATOR_POOL,
            application="postbox web operators",
            unsafe_accepted=settings.unsafe_postgres,
        )
    database = Database(
        settings.database_url,
        size=settings.api_pool_size,
        application="postbox web",
        others=operators,
        unsafe_accepted=settings.unsafe_postgres,
    )
    stripe = StripeProvider(
        settings.stripe_api_key,
        account=settings.stripe_account,
        api_base=settings.stripe_api_base,
        webhook_secrets=settings.stripe_webhook_secrets,
    )
    return Gateway(
        settings,
        database,
        Waker(database, every=settings.timing.wake_every),
        Door(settings.shed, database, QueueAge(database)),
        inboxes={(stripe.name, stripe.account): Inbox(stripe, database)},
    )


# One function before a request and one after it: the framework finds out anew what kind of function each of them is.
def _begin() -> Response | None:
    request_id.begin()
    trace.begin()
    metrics.begin()
    edge = gateway()
    # patient_worker asks before it gives a request a thread; this is for what came another way.
    found = edge.door.refusal(request.method, request.path, lambda: caller_of(request.environ))
    if found is not None:
        return errors.refuse(found.error, found.headers)
    # Here and not in create_app, so that a pool never crosses a fork; opening an open one does nothing.
    edge.database.open()
    return None


def _end(response: Response) -> Response:
    # Log and metrics come last: they see what the client gets.
    for end in (security_headers.end, trace.end, request_id.end, limits.end, metrics.end, request_log.end):
        response = end(response)
    return response
