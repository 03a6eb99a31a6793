"""Owns the errors the sandbox answers with, in Stripe's own shape; it must not decide when they happen."""

from typing import Any

DOC_URL = "https://stripe.com/docs/error-codes/"


class StripeError(Exception):
    """An answer that is not 2xx (https://docs.stripe.com/api/errors).

    `saved` says whether an idempotency key remembers it: true once execution began, false for
    validation, conflicts and authentication (https://docs.stripe.com/api/idempotent_requests).
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        saved: bool = False,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.saved = saved
        self.body: dict[str, Any] = {"message": message, "type": kind}
        if code is not None:
            self.body["code"] = code
            self.body["doc_url"] = DOC_URL + code.replace("_", "-")
        if param is not None:
            self.body["param"] = param
        self.body.update({name: value for name, value in extra.items() if value is not None})


def invalid(message: str, *, code: str | None = None, param: str | None = None, **extra: Any) -> StripeError:
    """A 400 that validation raises before anything ran."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, **extra)


def refused(message: str, *, code: str | None = None, param: str | None = None, **extra: Any) -> StripeError:
    """A 400 that the running endpoint raises, because the object's state forbids the request."""
    return StripeError(400, "invalid_request_error", message, code=code, param=param, saved=True, **extra)


def missing(kind: str, ident: str, param: str, status: int = 404) -> StripeError:
    """`resource_missing`: 404 for the object in the path, 400 for one named in a parameter."""
    return StripeError(
        status, "invalid_request_error", f"No such {kind}: '{ident}'", code="resource_missing", param=param
    )


def unknown_param(name: str) -> StripeError:
    return invalid(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def missing_param(name: str) -> StripeError:
    return invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)


def unexpected_state(message: str, intent: dict[str, Any]) -> StripeError:
    """`payment_intent_unexpected_state`, with the payment intent as it is now inside the error."""
    return refused(message, code="payment_intent_unexpected_state", payment_intent=intent)


def unauthorized(key: str) -> StripeError:
    if not key:
        message = "You did not provide an API key. Send it as 'Authorization: Bearer YOUR_SECRET_KEY'."
    else:
        message = f"Invalid API Key provided: {key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}"
    return StripeError(401, "invalid_request_error", message)


def server_error() -> StripeError:
    """The 500 an execution ends in; a key remembers it like any other result."""
    return StripeError(
        500, "api_error", "An unknown error occurred. Check the object before you try again.", saved=True
    )


def rate_limited() -> StripeError:
    return StripeError(429, "invalid_request_error", "Too many requests in a short time.", code="rate_limit")


def key_in_use(key: str) -> StripeError:
    return StripeError(
        409,
        "idempotency_error",
        f"Another request that uses the idempotency key '{key}' is still in progress. Try again later.",
        code="idempotency_key_in_use",
    )


def key_reused(key: str) -> StripeError:
    return StripeError(
        400,
        "idempotency_error",
        "Keys for idempotent requests can only be used with the same parameters they were first used with. "
        f"Use a key other than '{key}' to execute a different request.",
    )
