"""How often a POST waits for the database, by libpq's own trace of what is sent."""

import re

from psycopg.pq import Trace

from app.config import Rates
from app.db import Database
from app.model.actor import Actor, ActorType, Role
from app.services import idempotency, payments, rate_limits
from app.services.admission import admit, opening
from tests import factories

API = Actor(ActorType.API, "k", Role.API)
WANTED = {
    "amount": 1_000, "currency": "usd", "method": {"type": "card", "token": "pm_card_visa"},
    "capture_method": "automatic", "return_url": factories.RETURN_URL,
}  # fmt: skip
# What ends a piece, whose answer is then waited for.
WAITED_FOR = re.compile(r"^F\t\d+\t(?:Sync|Query\t)", re.MULTILINE)


def _post(db, key, idempotency_key):
    """What a POST asks of the database; the application beside it asks other things at times of its own."""
    once = {"idempotency_key": idempotency_key, "fingerprint": bytes(32)}

    def work(tx):
        caller, _ = admit(tx, key, pepper=factories.PEPPER, **once)
        payments.create(tx, caller, WANTED, provider="stripe", account="default")
        idempotency.keep(tx, caller.merchant_id, idempotency_key, status=201, body=b"{}")

    rate_limits.take(db, API, key, class_="write", rates=Rates(), pepper=factories.PEPPER)
    db.transact(API, work, opening=opening(key, address=None, **once))


def test_a_post_takes_four_round_trips(api, database, tmp_path):
    """The token; the beginning, who asks and its key; the payment; the kept answer and the commit."""
    with (tmp_path / "trace").open("wb") as trace, Database(database.url, size=1) as db:
        _post(db, api.key, "the session's first, whose statements are parsed")
        with db.connection() as only:
            only.pgconn.trace(trace.fileno())
            only.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        _post(db, api.key, "another")
    assert len(WAITED_FOR.findall((tmp_path / "trace").read_text())) == 4
