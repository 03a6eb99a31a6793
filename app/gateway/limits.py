"""Holds requests to the rates of their key and merchant, or their operator, and tells the client how much is left."""

from __future__ import annotations

import time

from flask import Response, g, request

from app.config import Rate
from app.gateway.context import Gateway, actor, client_address, gateway, operator, sign_in_door
from app.gateway.counters import REFUSED
from app.gateway.door import caller_of
from app.gateway.problems import RateLimited
from app.model.api_key import ApiKey
from app.services import rate_limits
from app.services.rate_limits import Bucket

# What an answer says about the buckets.
TOLD = ("RateLimit-Policy", "RateLimit", "Retry-After")


def take(edge: Gateway, key: ApiKey, class_: str) -> None:
    """Spend one token before anything else is done. Raises RateLimited, Unauthenticated."""
    settings = edge.settings
    g.took_at = time.monotonic()
    buckets = rate_limits.take(
        edge.database,
        actor(key.id),
        key,
        class_=class_,
        rates=settings.rates,
        pepper=settings.key_pepper,
        address=client_address(),
    )
    # who may spend of it has the right secret
    g.key_id = key.id
    _refuse_empty(buckets, class_)


def take_of_operator(edge: Gateway, token_hmac: bytes, class_: str) -> None:
    """The same for a person who is signed in. Raises RateLimited, NotSignedIn."""
    rate: Rate = getattr(edge.settings.rates, f"operator_{class_}")
    timing = edge.settings.timing
    _refuse_empty(
        rate_limits.take_of_operator(
            edge.database, operator("session"), token_hmac, class_=class_, rate=rate, timing=timing
        ),
        class_,
    )


def take_of_address(edge: Gateway) -> None:
    """The same for somebody who wants to sign in, by where they are. Raises RateLimited."""
    rate = edge.settings.rates.sign_in
    _refuse_empty(rate_limits.take_of_address(edge.database, sign_in_door(), client_address(), rate=rate), "write")


def _refuse_empty(buckets: list[Bucket], class_: str) -> None:
    g.buckets, g.rate_class = buckets, class_
    refusing = [bucket for bucket in buckets if not bucket.allowed]
    for bucket in refusing:
        REFUSED.labels(bucket.scope, class_).inc()
    if refusing:
        raise RateLimited()


def end(response: Response) -> Response:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers); Retry-After where they refused.

    `q` is the burst and `w` the seconds in which it refills, `r` what is left and `t` the seconds until it is full. An
    answer to a stranger carries none of it.
    """
    # A key whose secret is right and whose mode is not has spent a token, and is a stranger all the same.
    buckets: list[Bucket] = [] if response.status_code == 401 else g.get("buckets", [])
    if buckets:
        names = [f'"{bucket.scope}-{g.rate_class}"' for bucket in buckets]
        response.headers["RateLimit-Policy"] = ", ".join(
            f"{name};q={bucket.rate.burst};w={bucket.rate.window}" for name, bucket in zip(names, buckets, strict=True)
        )
        response.headers["RateLimit"] = ", ".join(
            f"{name};r={bucket.whole};t={bucket.seconds_to_full}" for name, bucket in zip(names, buckets, strict=True)
        )
    if not all(bucket.allowed for bucket in buckets):
        response.headers["Retry-After"] = str(max(bucket.seconds_to_next for bucket in buckets))
        if "took_at" in g:
            _remember(response, buckets)
    return response


def _remember(response: Response, buckets: list[Bucket]) -> None:
    """Until a token can be there nobody needs to ask the database again: the door says the same."""
    refusing = [bucket for bucket in buckets if not bucket.allowed]
    gateway().door.remember(
        caller_of(request.environ),
        g.rate_class,
        scopes=tuple(bucket.scope for bucket in refusing),
        until=g.took_at + max(bucket.empty_for for bucket in refusing),
        headers={name: response.headers[name] for name in TOLD},
    )
