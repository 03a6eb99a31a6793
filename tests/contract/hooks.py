"""What Schemathesis cannot know of our API: keys are for one effect, Stripe signs, a 422 has a reason. Loaded by it."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import requests
import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

from app.db import Database
from app.gateway.auth import SESSION_COOKIE
from app.gateway.card_numbers import holds_card_number
from app.services.sign_in import csrf_token
from tests.contract.fields import signature
from tests.fixtures.database import OPERATOR_KEY, WEBHOOK_SECRET
from tests.gateway.documented import violations
from tests.gateway.ops.conftest import open_session

_numbers = itertools.count()
# A key at its longest stays one.
ROOM = 200
# Path parameter, or member of a body, -> the ids that exist; bin/fuzz and the test say which.
EXISTING: dict[str, list[str]] = json.loads(os.environ["POSTBOX_FUZZ_EXISTING"])
DATABASE = Database(os.environ["POSTBOX_FUZZ_DATABASE"], size=2, application="fuzz").open()
# Of these, members of bodies.
MEMBERS = {"merchant"}
# The part of a key that names it.
OUR_KEY = os.environ["POSTBOX_API_KEY"].split("_")[2]
ORIGIN = os.environ["POSTBOX_FUZZ_ORIGIN"]
# Why a request that fits its schema may be refused, because no schema can say it: the provider's limits by currency,
# card numbers, hosts and ports of URLs, cursors, keys used before; and 1.0, which is an integer to JSON Schema and a
# float to us, as is more than was authorized.
BEYOND_SCHEMAS = {"amount_refused", "idempotency_key_reused", "idempotency_key_in_use"}
MEMBERS_BEYOND_SCHEMAS = {"/cursor", "/return_url", "/amount", "/overlap_seconds"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Lead most cases to what there is, and give most keys a number, or nearly all would be a 404 or a replay.

    Every fourth goes out as it was generated, but never to end the key that all of this goes by.

    A scenario is led by its links alone. What there is changes as it is asked; Hypothesis gives up when the same steps
    are answered differently the second time, and Schemathesis says nothing of it.
    """
    number = next(_numbers)
    follows = case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL
    ends_ours = (case.path_parameters or {}).get("key_id") == OUR_KEY
    if number % 4 == 0 and not ends_ours and not follows:
        return
    for name in set(case.path_parameters or {}) & set(EXISTING) if ends_ours or not follows else ():
        case.path_parameters[name] = EXISTING[name][number % len(EXISTING[name])]
    if (
        not follows
        and isinstance(case.body, dict)
        and case.meta is not None
        and not case.meta.is_negative_at(ParameterLocation.BODY)
    ):
        for name in set(case.body) & MEMBERS:
            case.body[name] = EXISTING[name][number % len(EXISTING[name])]
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < ROOM:
        case.headers["Idempotency-Key"] = f"{key}{os.getpid()}.{number}"


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/v1/")
class Key:
    """The merchant's API key."""

    def get(self, case: Any, context: Any) -> str:
        return os.environ["POSTBOX_API_KEY"]

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/webhooks/")
class Signature:
    """Signs the body as Stripe does, unless Schemathesis wants to see what happens without."""

    def get(self, case: Any, context: Any) -> str:
        return WEBHOOK_SECRET

    def set(self, case: Any, data: str, context: Any) -> None:
        sent = {name: value for name, value in case.as_transport_kwargs("http://x").items() if name in ("json", "data")}
        raw = requests.Request("POST", "http://x", **sent).prepare().body or b""
        raw = raw.encode() if isinstance(raw, str) else raw
        case.headers["Stripe-Signature"] = signature(raw)


@schemathesis.auth(refresh_interval=None).apply_to(path_regex="^/ops/v1/")
class Session:
    """An administrator's session, and one of its own for each who signs out: it is not heard of again."""

    def get(self, case: Any, context: Any) -> str:
        if case.method == "DELETE":
            return open_session(DATABASE, "admin")
        if not hasattr(self, "token"):
            self.token = open_session(DATABASE, "admin")
        return self.token

    def set(self, case: Any, data: str, context: Any) -> None:
        case.cookies[SESSION_COOKIE] = data
        if case.meta is not None and case.meta.is_negative_at(ParameterLocation.HEADER):
            return
        # Schemathesis soon leaves them out, having seen that they are always written here.
        if case.method != "GET":
            case.headers.update({"Origin": ORIGIN, "X-CSRF-Token": csrf_token(data, OPERATOR_KEY)})


@schemathesis.check
def no_undocumented_member(ctx: CheckContext, response: Any, case: Any) -> None:
    """Schemas of answers are open, so that clients bear more members; what we send today is described all the same."""
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {}).get("content", {})
    media_type = response.headers.get("content-type", [""])[0].partition(";")[0]
    if media_type not in told or not media_type.endswith("json"):
        return  # other checks see to that
    if found := violations(told[media_type]["schema"], response.json()):
        raise Failure(operation=case.operation.label, title="Undocumented member", message="\n".join(found))


@schemathesis.check
def a_refusal_has_a_reason_beyond_schemas(ctx: CheckContext, response: Any, case: Any) -> None:
    """A 422 or 400 on a request that fits its schema says one of the few things that no schema can say."""
    fits = case.meta is not None and case.meta.generation.mode.is_positive
    # what is told to the webhooks' receiver is Stripe's to say, and has an expectation of its own
    if response.status_code not in (400, 422) or not fits or case.operation.path.startswith("/webhooks/"):
        return
    problem = response.json()
    if response.status_code == 400:
        key = response.request.headers.get("Idempotency-Key", "")
        if problem["code"] != "idempotency_key_malformed" or not holds_card_number(key):
            raise Failure(operation=case.operation.label, title="Refused although it fits", message=response.text)
        return
    beyond = [
        e for e in problem["errors"] if e["code"] == "card_number_refused" or e["pointer"] in MEMBERS_BEYOND_SCHEMAS
    ]
    if problem["code"] not in BEYOND_SCHEMAS and beyond != problem["errors"]:
        raise Failure(operation=case.operation.label, title="Refused although it fits", message=response.text)
