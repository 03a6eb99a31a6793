"""Something of every kind that a path can name, in every interesting state: what a fuzzer reads and acts upon."""

from __future__ import annotations

from uuid import UUID

from tests import factories
from tests.factories import MAKER, Connection, Row
from tests.gateway.ops.test_reads import dead_letter
from tests.reconciliation.comparing import compare

# Path parameter, or member of a body, -> ids that exist.
Existing = dict[str, list[str]]

# So many of each that is used up by acting on it.
ENOUGH = 12
PAYMENTS = ("initiated", "requires_action", "authorized", "authorized", "confirmed", "settled", "failed", "canceled")


def seed(conn: Connection, merchant_id: UUID) -> Existing:
    """One merchant's, and what of the platform's operators see."""

    def payment(state: str) -> Row:
        return factories.payment(conn, state, merchant_id=merchant_id)

    def letter() -> str:
        return dead_letter(conn, payment("initiated"))

    keys = [factories.api_key(conn, merchant_id).id for _ in range(ENOUGH)]
    return {
        "payment_id": [f"pay_{payment(state)['id'].hex}" for state in PAYMENTS],
        "refund_id": [f"re_{factories.refund(conn, payment('confirmed'), state)['id'].hex}" for state in REFUNDS],
        "dispute_id": [f"dp_{factories.dispute(conn, payment('confirmed'), state)['id'].hex}" for state in DISPUTES],
        "account": ["default"],
        "code": ["invalid", "not_found"],
        "letter": [letter() for _ in range(ENOUGH)],
        "webhook_id": [str(factories.webhook(conn)["id"]) for _ in range(ENOUGH)],
        "key_id": keys,
        "proposal_id": [proposal(conn, merchant_id, letter()) for _ in range(ENOUGH)],
        "discrepancy_id": [discrepancy(conn, payment("submitted")) for _ in range(ENOUGH)],
        "merchant": [str(merchant_id)],
    }


REFUNDS = ("requested", "pending", "succeeded", "failed")
DISPUTES = ("inquiry", "open", "won", "lost")


def proposal(conn: Connection, merchant_id: UUID, letter: str) -> str:
    """What somebody else wants done, so that whoever is signed in may decide."""
    return str(factories.proposed(conn, "discard", merchant_id, {"letter": letter}, by=MAKER)["id"])


def discrepancy(conn: Connection, p: Row) -> str:
    """A payment of which nothing was heard for too long."""
    compare(conn, p, scale=0.0)
    row = conn.execute("select id from discrepancies where payment_id = %(id)s limit 1", p).fetchone()
    assert row is not None, "silence is a discrepancy"
    return str(row["id"])
