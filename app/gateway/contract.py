"""What every kind of route can answer, as one table; the document is made of it and answers are held to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """What all routes of one kind have in common: who may ask, by which headers, and what can go wrong."""

    # Names of security schemes, of which one is enough; none is for everybody.
    security: tuple[str, ...]
    problems: tuple[str, ...]
    sends: tuple[str, ...] = ()  # request headers, beside those of every request
    answers: tuple[str, ...] = ()  # headers of every answer to a known caller
    answers_on_success: tuple[str, ...] = ()
    tells_of_absence: bool = True  # that there is no such thing as the path names


# Whatever is asked: the database may be away, and we may be wrong.
_STORED = ("busy", "database_down", "internal_error")
_LIMITED = ("RateLimit", "RateLimit-Policy")
_KEYED = ("unauthenticated", "scope_missing", "rate_limited")
_SIGNED_IN = ("not_signed_in", "operators_off", "rate_limited")
_BODY = ("bad_request", "malformed_json", "body_too_large", "unsupported_media_type")

KINDS: dict[str, Kind] = {
    "reading": Kind(security=("apiKey",), problems=(*_KEYED, *_STORED), answers=_LIMITED),
    "writing": Kind(
        security=("apiKey",),
        problems=(
            *_KEYED,
            *_BODY,
            "idempotency_key_missing",
            "idempotency_key_malformed",
            "idempotency_key_reused",
            "idempotency_key_in_use",
            "wrong_mode",
            "overloaded",
            *_STORED,
        ),
        sends=("Idempotency-Key",),
        answers=_LIMITED,
        answers_on_success=("Idempotency-Replayed",),
    ),
    "signing_in": Kind(
        security=(),
        problems=(
            "cross_site",
            "sign_in_refused",
            "sign_in_blocked",
            "rate_limited",
            "operators_off",
            *_BODY,
            *_STORED,
        ),
        sends=("Origin",),
        answers=_LIMITED,
        answers_on_success=("Set-Cookie",),
    ),
    "signing_out": Kind(
        security=("session",),
        problems=("cross_site", *_SIGNED_IN, *_STORED),
        sends=("Origin", "X-CSRF-Token"),
        answers=_LIMITED,
        answers_on_success=("Set-Cookie",),
    ),
    "signed_in": Kind(security=("session",), problems=(*_SIGNED_IN, *_STORED), answers=_LIMITED),
    "looking": Kind(security=("session",), problems=(*_SIGNED_IN, "role_refused", *_STORED), answers=_LIMITED),
    "doing": Kind(
        security=("session",),
        problems=(
            *_SIGNED_IN,
            "role_refused",
            "cross_site",
            *_BODY,
            "idempotency_key_missing",
            "idempotency_key_malformed",
            "idempotency_key_reused",
            "idempotency_key_in_use",
            *_STORED,
        ),
        sends=("Origin", "X-CSRF-Token", "Idempotency-Key"),
        answers=_LIMITED,
        answers_on_success=("Idempotency-Replayed",),
    ),
    "webhook": Kind(
        security=("webhookSignature",),
        problems=("webhook_refused", "bad_request", "body_too_large", *_STORED),
        tells_of_absence=False,
    ),
    "probe": Kind(security=(), problems=("internal_error",)),
    "public": Kind(security=(), problems=("internal_error",)),
}

# What the server answers, whatever is asked, before the application hears of it (patient_worker.py).
BY_SERVER = (
    "bad_request",
    "request_timeout",
    "body_too_large",
    "uri_too_long",
    "expectation_failed",
    "request_header_fields_too_large",
    "not_implemented",
)

# What a route can answer beside its kind's problems because of how it is made.
BY_PATH_PARAMETER = ("not_found",)
BY_INPUT = ("invalid",)

_CONDITIONAL = "_postbox_conditional"
_KIND, _PROBLEMS, _BODY_SCHEMA = "_postbox_kind", "_postbox_problems", "_postbox_body_schema"


def of_kind(name: str, view: View) -> View:
    """Say of which kind a view is; called by the decorators that make it one."""
    assert name in KINDS, f"{name} is no kind of route"
    view.__dict__[_KIND] = name
    return view


def kind_of(view: Callable[..., Any]) -> str | None:
    return view.__dict__.get(_KIND)


def probe(view: View) -> View:
    """A view for machines that look after this process: no key, no tenant."""
    return of_kind("probe", view)


def public(view: View) -> View:
    """A view for everybody, about nobody."""
    return of_kind("public", view)


def webhook(view: View) -> View:
    """A view that a provider calls, and signs."""
    return of_kind("webhook", view)


def problems(*codes: str) -> Callable[[View], View]:
    """Say which problems a view can answer beside those of its kind; stands outermost or anywhere below."""

    def mark(view: View) -> View:
        view.__dict__[_PROBLEMS] = (*problems_of(view), *codes)
        return view

    return mark


def problems_of(view: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(view.__dict__.get(_PROBLEMS, ()))


def conditional(view: View) -> View:
    """Say that a view heeds If-Match."""
    view.__dict__[_CONDITIONAL] = True
    return problems("precondition_failed")(view)


def is_conditional(view: Callable[..., Any]) -> bool:
    return bool(view.__dict__.get(_CONDITIONAL))


def reads_raw(schema: type) -> Callable[[View], View]:
    """Say what shape the body has that a view reads as bytes, without having the framework read it."""

    def mark(view: View) -> View:
        view.__dict__[_BODY_SCHEMA] = schema
        return view

    return mark


def raw_schema_of(view: Callable[..., Any]) -> type | None:
    return view.__dict__.get(_BODY_SCHEMA)
