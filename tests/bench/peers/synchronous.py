"""The design that Postbox replaces: one request does everything, its provider included, and answers when it is done.

Not worse than it has to be: no transaction is open while the provider is asked, and every row is written that Postbox
writes about the payment itself. What it cannot have: a provider that answers late holds a thread and a client, and a
process that ends in the middle leaves a payment of which nobody knows whether it was charged.
"""

from __future__ import annotations

import json
import os
from hashlib import sha256
from uuid import uuid4

from flask import Flask, Response, request

from app.config import Timing
from app.db import Database, Tx
from app.db.pool import Row
from app.model import public_id
from app.model.actor import Actor, ActorType, Role
from app.model.api_key import ApiKey, parse_key
from app.model.operation import submit_params
from app.model.outcome import Ok
from app.model.snapshot import Snapshot
from app.providers.protocol import Step
from app.providers.stripe import StripeProvider
from app.services import authentication, idempotency, ledger, payments, snapshots
from tests.fixtures.database import KEY_PEPPER

# What one request asks its provider, as our worker does: an object first, then its money.
STEPS = (Step.CREATE, Step.CONFIRM)
THREADS = 8
API = Actor(ActorType.API, "synchronous", Role.API)
WORKER = Actor(ActorType.WORKER, "synchronous", Role.WORKER)

app = Flask(__name__)
database = Database(os.environ["DATABASE_URL"], size=THREADS, application="synchronous").open()
provider = StripeProvider(os.environ["STRIPE_API_KEY"], account="default", api_base=os.environ["STRIPE_API_BASE"])


@app.get("/readyz")
def ready() -> str:
    return "ready"


@app.post("/v1/payments")
def pay() -> Response:
    key = parse_key(request.headers["Authorization"].removeprefix("Bearer "))
    assert key is not None, "a client of the benchmark has a key"
    payment, body = database.transact(API, lambda tx: _create(tx, key, request.headers["Idempotency-Key"]))
    snapshot = _ask(payment)
    database.transact(WORKER, lambda tx: _confirm(tx, payment, snapshot))
    return Response(body, 201, content_type="application/json")


def _create(tx: Tx, key: ApiKey, once: str) -> tuple[Row, bytes]:
    """The payment and what will answer for it, whenever it is asked again."""
    caller = authentication.authenticate(tx, key, pepper=KEY_PEPPER)
    claimed = idempotency.claim(tx, caller.merchant_id, once, sha256(request.get_data()).digest())
    assert claimed is None, "no client of the benchmark repeats itself"
    wanted = request.get_json() | {"capture_method": "automatic"}
    payment = payments.create(tx, caller, wanted, provider=provider.name, account=provider.account)
    body = json.dumps({"id": public_id.show(public_id.PAYMENT, payment["id"])}).encode()
    idempotency.keep(tx, caller.merchant_id, once, status=201, body=body)
    return payment, body


def _ask(payment: Row) -> Snapshot:
    """Create the provider's object and confirm it, while the client waits."""
    operation = str(uuid4())
    params = submit_params(payment, operation)
    ref = None
    for step in STEPS:
        sent = provider.prepare(step, params, ref=ref, key=f"{operation}:{step.value}:1")
        outcome = provider.send(sent).outcome
        assert isinstance(outcome, Ok) and outcome.snapshot, f"the sandbox takes this card: {outcome}"
        ref = outcome.snapshot.ref
    return outcome.snapshot


def _confirm(tx: Tx, payment: Row, snapshot: Snapshot) -> None:
    """What the provider said, and the merchant's credit."""
    ids = {"merchant_id": payment["merchant_id"], "payment_id": payment["id"]}
    tx.run("payments.move", **ids, state="submitting", failure_code=None, failure_message=None)
    snapshots.apply_snapshot(tx, *map(str, ids.values()), snapshot, observed_version=None, timing=Timing())
    ledger.credit_merchant(tx, *ids.values())
    ledger.close(tx)
