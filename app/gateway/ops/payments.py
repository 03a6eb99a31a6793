"""/ops/v1/payments: found by any identifier, shown with what is open, and told from the evidence."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import request
from marshmallow import RAISE

from app.db import Tx
from app.errors import NotFound
from app.gateway import etags
from app.gateway.answers import beside
from app.gateway.context import gateway
from app.gateway.contract import conditional, problems
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import Adopt, ListPayments, RefundPayment
from app.gateway.ops.showing import page, show, shown
from app.gateway.representation import listing
from app.model import public_id
from app.model.operator_role import Right
from app.model.public_id import PAYMENT, parse
from app.services import operator_pages, proposals, refunds, registers, trace
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_payments", __name__, url_prefix="/ops/v1/payments")


@blueprint.get("")
@blueprint.output(answers.list_of(answers.FoundPayment))
@looking(Right.READ)
@blueprint.input(ListPayments, location="query", unknown=RAISE)
def find(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Payments of all merchants, newest first; `query` finds by any identifier there is, whoever's it is.

    It may be ours (pay_, op_, evt_, or a UUID), a provider's (pi_, ch_, txn_, evt_), an idempotency key, or the
    merchant's own reference.
    """
    before = row_position(query_data.pop("cursor", None), "payments")
    query, limit = query_data.get("query"), query_data["limit"]
    if query:
        rows = operator_pages.payments_by(tx, query.strip())
        return page(answers.FoundPayment, "payments", rows, at="created_at", by="payment_id", limit=None)
    rows = operator_pages.payments(
        tx, merchant_id=query_data.get("merchant"), state=query_data.get("state"), before=before, limit=limit
    )
    return page(answers.FoundPayment, "payments", rows, at="created_at", by="payment_id", limit=limit)


@blueprint.get("/<payment_id>")
@blueprint.output(answers.PaymentSheet)
@looking(Right.READ)
def sheet(tx: Tx, person: Person, payment_id: str) -> Shown:
    """One payment as it stands, with its operations and what is still open about it."""
    identity = parse(PAYMENT, payment_id)
    if identity is None:
        raise NotFound()
    return shown(answers.PaymentSheet, registers.one(tx, identity))


@blueprint.get("/<payment_id>/trace")
@blueprint.output(answers.list_of(answers.Evidence))
@looking(Right.READ)
def story(tx: Tx, person: Person, payment_id: str) -> Shown:
    """Every piece of evidence about one payment, once each, in time order."""
    identity = parse(PAYMENT, payment_id)
    if identity is None:
        raise NotFound()
    row = registers.one(tx, identity)
    evidence = trace.evidence(tx, row)
    body = listing([show(answers.Evidence, piece) for piece in evidence], next_cursor=None)
    return Shown(body, [row, *({"merchant_id": row["merchant_id"]} for _ in evidence)])


@blueprint.post("/<payment_id>/adopt")
@blueprint.output(answers.Proposal, 202)
@problems("state_conflict")
@conditional
@doing(Right.PROPOSE)
@blueprint.input(Adopt)
def adopt(tx: Tx, person: Person, payment_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Propose to take a payment that failed or was canceled as paid: another person decides."""
    identity = parse(PAYMENT, payment_id)
    if identity is None:
        raise NotFound()
    made = proposals.propose_adoption(
        tx,
        identity,
        amount=json_data["amount"],
        by=person.name,
        reason=json_data["reason"],
        timing=gateway().settings.timing,
        versions=etags.allowed(request.headers.get("If-Match")),
    )
    return show(answers.Proposal, made), 202


@blueprint.post("/<payment_id>/refunds")
@blueprint.output(answers.RequestedRefund, 201)
@blueprint.doc(responses=beside(202, answers.Proposal))
@problems("state_conflict", "amount_refused")
@conditional
@doing(Right.PROPOSE)
@blueprint.input(RefundPayment)
def refund(tx: Tx, person: Person, payment_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Give money back: at once up to the limit of one person (201), else as a proposal to another person (202)."""
    amount, cause = json_data["amount"], json_data["cause"]
    versions = etags.allowed(request.headers.get("If-Match"))
    payment, takes_two = refunds.for_operator(tx, parse(PAYMENT, payment_id), amount=amount, versions=versions)
    if takes_two:
        made = proposals.propose_refund(
            tx,
            payment,
            amount=amount,
            cause=cause,
            by=person.name,
            reason=json_data["reason"],
            timing=gateway().settings.timing,
        )
        return show(answers.Proposal, made), 202
    row = refunds.request_by_operator(tx, payment["id"], amount=amount, reason=cause)
    shown_as = {"id": public_id.show(public_id.REFUND, row["id"]), "cause": row["reason"]}
    return show(answers.RequestedRefund, row | shown_as), 201
