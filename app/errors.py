"""The errors of the domain: the docstring is the default message; none carries an HTTP number or database text."""

from __future__ import annotations


class PostboxError(Exception):
    """Something went wrong."""

    code = "error"

    def __init__(self, detail: str | None = None, **extra: object) -> None:
        self.detail = detail or (self.__class__.__doc__ or "").strip()
        self.extra = extra
        super().__init__(self.detail)


class NotFound(PostboxError):
    """No such object."""

    code = "not_found"


class NothingToHandle(NotFound):
    """It is no dead letter, or not any more: nothing to do."""


class Unauthenticated(PostboxError):
    """The API key is missing, malformed, revoked, expired, unknown, or not to be used from this address."""

    code = "unauthenticated"


class ScopeMissing(PostboxError):
    """The API key does not carry the scope that this needs."""

    code = "scope_missing"


class SignInRefused(PostboxError):
    """Name, password or code is wrong."""

    code = "sign_in_refused"


class SignInBlocked(PostboxError):
    """Too many attempts to sign in; the next one has to wait."""

    code = "sign_in_blocked"


class NotSignedIn(PostboxError):
    """Nobody is signed in, or the session has ended."""

    code = "not_signed_in"


class RoleRefused(PostboxError):
    """Your role does not allow this."""

    code = "role_refused"


class SamePerson(PostboxError):
    """Nobody approves what they proposed: another person has to."""

    code = "same_person"


class TakesTwo(PostboxError):
    """This takes two people: one proposes it at /ops/v1, and another person decides."""

    code = "takes_two"


class Invalid(PostboxError):
    """The request is well-formed but its content is refused."""

    code = "invalid"

    def __init__(self, detail: str | None = None, *, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


class AmountRefused(Invalid):
    """The provider would refuse this amount or currency."""

    code = "amount_refused"


class IllegalTransition(PostboxError):
    """The payment's state does not allow this."""

    code = "state_conflict"


class NothingToWriteOff(IllegalTransition):
    """Clearing holds nothing of it that could be written off."""


class NotEnough(IllegalTransition):
    """The merchant has not so much."""


class BooksOutOfBalance(IllegalTransition):
    """Nothing is paid out while a ledger_imbalance is open."""


class OverDebt(IllegalTransition):
    """The merchant does not owe so much."""


class BankLineUsed(IllegalTransition):
    """This line of the bank has paid another of the merchant's payouts."""


class ActorRefused(PostboxError):
    """This actor may not do this."""

    code = "actor_refused"


class ActorMissing(PostboxError):
    """No actor was set in the transaction."""

    code = "actor_missing"


class VersionChanged(PostboxError):
    """The payment is no longer of the version that If-Match names."""

    code = "precondition_failed"


class OperationOpen(PostboxError):
    """Another operation on this payment is still open."""

    code = "operation_open"


class KeyMissing(PostboxError):
    """The Idempotency-Key header is required on every POST."""

    code = "idempotency_key_missing"


class KeyReused(PostboxError):
    """This Idempotency-Key was used with another request."""

    code = "idempotency_key_reused"


class KeyInUse(PostboxError):
    """A request with this Idempotency-Key is still running."""

    code = "idempotency_key_in_use"


class Busy(PostboxError):
    """The database is busy; try again shortly."""

    code = "busy"


class TooSlow(Busy):
    """A statement or transaction took longer than it may."""


class DatabaseDown(PostboxError):
    """The database cannot be reached."""

    code = "database_down"


class UnsafeDatabase(DatabaseDown):
    """The database cannot be used now."""


class WebhookRefused(PostboxError):
    """The webhook's signature, age or body was refused."""

    code = "webhook_refused"


class ConstraintViolated(PostboxError):
    """A rule of the database was violated."""

    code = "constraint_violated"

    def __init__(
        self, detail: str | None = None, *, constraint: str | None = None, sqlstate: str | None = None
    ) -> None:
        super().__init__(detail)
        self.constraint = constraint
        self.sqlstate = sqlstate
