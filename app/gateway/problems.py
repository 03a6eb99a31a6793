"""What goes wrong at the edge itself, before any service is asked: headers and bodies that are not even requests."""

from __future__ import annotations

from app.errors import PostboxError

# Members that an error may add to its problem; answers.Problem has each.
EXTENSIONS = ("state",)


class MalformedBody(PostboxError):
    """The body is not the JSON we accept."""

    code = "malformed_json"


class WrongMediaType(PostboxError):
    """The body must be application/json, without content encoding."""

    code = "unsupported_media_type"


class KeyMalformed(PostboxError):
    """The Idempotency-Key must be 1 to 255 visible ASCII characters and no card number."""

    code = "idempotency_key_malformed"


class RateLimited(PostboxError):
    """Too many requests with this key or of this merchant; nothing was done."""

    code = "rate_limited"


class Overloaded(PostboxError):
    """More is waiting than can be done soon; nothing was done. Reads and webhooks go on."""

    code = "overloaded"


class WrongMode(PostboxError):
    """The API key is of the other mode: live and test payments do not mix."""

    code = "wrong_mode"


class CrossSite(PostboxError):
    """The request does not come from our own pages: Origin or X-CSRF-Token is missing or another's."""

    code = "cross_site"


class OperatorsOff(PostboxError):
    """This deployment has no operator API: POSTBOX_OPERATOR_KEY is not set."""

    code = "operators_off"
