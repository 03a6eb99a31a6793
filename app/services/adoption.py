"""Takes a payment that was over as paid, on evidence that people have seen; that two agreed is looked at elsewhere."""

from __future__ import annotations

from uuid import UUID

from app.db.pool import Row, Tx
from app.errors import IllegalTransition, Invalid, NotFound
from app.model.states import CLOSED
from app.services.versions import Versions, hold


def adoptable(tx: Tx, payment_id: UUID, *, amount: int, versions: Versions = None) -> Row:
    """The payment, locked; `versions`, where given, are those that it may have.

    Raises NotFound, VersionChanged, IllegalTransition unless it failed or was canceled, Invalid.
    """
    payment = tx.one("payments.lock_to_adopt", payment_id=payment_id)
    if payment is None:
        raise NotFound()
    hold(payment, versions)
    if payment["state"] not in CLOSED:
        raise IllegalTransition(f"A payment that is {payment['state']} cannot be adopted.", state=payment["state"])
    if payment["provider_ref"] is None:
        raise Invalid("The provider never had this payment, so it cannot have been paid.")
    if not 0 < amount <= payment["amount"]:
        raise Invalid(
            errors=[{"pointer": "/amount", "code": "invalid", "detail": f"At most {payment['amount']} was asked for."}]
        )
    return payment


def adopt(tx: Tx, payment_id: UUID, *, amount: int) -> Row:
    """Confirmed, with what was captured, in minor units, and on to what its refunds and disputes say, if they say more.

    The clock looks at the provider at once. Raises as above.
    """
    payment = adoptable(tx, payment_id, amount=amount)
    row = tx.one("payments.adopt", merchant_id=payment["merchant_id"], payment_id=payment_id, amount=amount)
    assert row is not None, "the payment is locked"
    return row
