"""Takes a token from the buckets of a key and its merchant, or a person's; how clients are told is not known here."""

from __future__ import annotations

from dataclasses import dataclass

from app.config import Rate, Rates, Timing
from app.db import Database
from app.errors import NotSignedIn, Unauthenticated
from app.model.actor import Actor
from app.model.api_key import ApiKey

MICRO = 1_000_000


@dataclass(frozen=True)
class Bucket:
    """A bucket after the take: `left` is in millionths of a token."""

    scope: str
    rate: Rate
    allowed: bool
    left: int

    @property
    def whole(self) -> int:
        """Requests that it would allow now."""
        return self.left // MICRO

    @property
    def seconds_to_next(self) -> int:
        """Until it allows one more, rounded up; 0 when it does now."""
        return max(0, -(-(MICRO - self.left) // (MICRO * self.rate.per_second)))

    @property
    def empty_for(self) -> float:
        """Seconds for which it cannot allow anything, whoever asks."""
        return max(0, MICRO - self.left) / (MICRO * self.rate.per_second)

    @property
    def seconds_to_full(self) -> int:
        """Until it is as it was before anybody came, rounded up."""
        return -(-(MICRO * self.rate.burst - self.left) // (MICRO * self.rate.per_second))


def take(
    database: Database, actor: Actor, key: ApiKey, *, class_: str, rates: Rates, pepper: str, address: str | None = None
) -> list[Bucket]:
    """Spend one token of a class (`read`, `write`) from the key's bucket, and for it one from its merchant's.

    Committed by itself before any work: a failure afterwards does not give it back, and no payment's transaction
    holds a row that the whole merchant waits for. The database compares the HMAC in the same statement, so whoever
    knows a key's id and not its secret, and ids stand in logs and audit entries, spends nothing of the merchant's
    and leaves no row: such a request costs one read by index. The same goes for a good key from an `address` that
    it is not bound to. What the merchant's bucket refuses costs the key its token all the same: were it given back, a
    key that asks ten times too much would come to that bucket at ten times its rate, and take its siblings' share.
    Raises Unauthenticated, Busy, DatabaseDown.
    """
    limits: dict[str, Rate] = {scope: getattr(rates, f"{scope}_{class_}") for scope in ("key", "merchant")}
    rows = database.statement(
        actor,
        "rate_limits.take",
        key_id=key.id,
        secret_hmac=key.hmac(pepper),
        class_=class_,
        address=address,
        **{f"{scope}_rate": limit.per_second for scope, limit in limits.items()},
        **{f"{scope}_burst": limit.burst for scope, limit in limits.items()},
    )
    if not rows:
        raise Unauthenticated()
    return [Bucket(row["scope"], limits[row["scope"]], row["allowed"], row["left_micro"]) for row in rows]


def take_of_operator(
    database: Database, actor: Actor, token_hmac: bytes, *, class_: str, rate: Rate, timing: Timing
) -> list[Bucket]:
    """Spend one token of whoever holds this session: a person has one bucket, however many sessions are theirs.

    Committed by itself before any work. Raises NotSignedIn, Busy, DatabaseDown.
    """
    rows = database.statement(
        actor,
        "rate_limits.take_of_operator",
        token_hmac=token_hmac,
        class_=class_,
        idle=timing.session_idle,
        longest=timing.session_longest,
        rate=rate.per_second,
        burst=rate.burst,
    )
    if not rows:
        raise NotSignedIn()
    return [Bucket("operator", rate, row["allowed"], row["left_micro"]) for row in rows]


def take_of_address(database: Database, actor: Actor, address: str | None, *, rate: Rate) -> list[Bucket]:
    """Spend one token of an address that wants to sign in. Raises Busy, DatabaseDown."""
    rows = database.statement(
        actor, "rate_limits.take_of_address", address=address, rate=rate.per_second, burst=rate.burst
    )
    return [Bucket("address", rate, row["allowed"], row["left_micro"]) for row in rows]
