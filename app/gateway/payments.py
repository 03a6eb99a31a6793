"""/v1/payments: create, show, list, capture, cancel, refund, timeline."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import request
from marshmallow import RAISE

from app.db import Tx
from app.gateway import answers, etags, expanding
from app.gateway import cursor as cursors
from app.gateway import representation as shown
from app.gateway.context import gateway
from app.gateway.contract import conditional, problems
from app.gateway.schemas import CancelPayment, CapturePayment, CreatePayment, CreateRefund, Expand, ListPayments
from app.gateway.transaction import reading, writing
from app.model.public_id import PAYMENT, parse
from app.model.scope import Scope
from app.services import payments, refunds, requests
from app.services.authentication import Caller
from app.services.payments import Filter

blueprint = APIBlueprint("payments", __name__, url_prefix="/v1/payments")

# The one provider there is; which account of it is a setting.
PROVIDER = "stripe"


@blueprint.post("")
@blueprint.output(answers.Payment, 201)
@problems("amount_refused")
@writing(Scope.PAYMENTS_WRITE)
@blueprint.input(CreatePayment)
def create(tx: Tx, caller: Caller, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Accept a payment; a worker submits it after the commit."""
    account = gateway().settings.stripe_account
    return shown.payment(payments.create(tx, caller, json_data, provider=PROVIDER, account=account)), 201


@blueprint.get("")
@blueprint.output(answers.Payments)
@reading(Scope.PAYMENTS_READ)
@blueprint.input(ListPayments, location="query", unknown=RAISE)
def page(tx: Tx, caller: Caller, query_data: dict[str, Any]) -> dict[str, Any]:
    """Payments, newest first.

    `expand=refunds,disputes` tells the newest ten of each along with every payment.
    """
    before, names = cursors.payment_position(query_data.pop("cursor", None)), query_data.pop("expand")
    rows = payments.page(tx, caller, Filter(before=before, **query_data))
    last = rows[-1] if len(rows) == query_data["limit"] else None
    return shown.listing(
        expanding.payments(tx, caller, rows, names),
        next_cursor=cursors.after_payment(last["created_at"], last["id"]) if last else None,
    )


@blueprint.get("/<payment_id>")
@blueprint.output(answers.Payment)
@reading(Scope.PAYMENTS_READ)
@blueprint.input(Expand, location="query", unknown=RAISE)
def show(tx: Tx, caller: Caller, payment_id: str, query_data: dict[str, Any]) -> dict[str, Any]:
    """One payment as it is now.

    `expand` tells the newest ten of its `refunds` and `disputes` as well, and its whole `history`.
    """
    named, names = parse(PAYMENT, payment_id), query_data["expand"]
    [told] = expanding.payments(tx, caller, [payments.get(tx, caller, named)], names)
    if "history" in names:
        told["history"] = [shown.timeline_entry(row) for row in payments.timeline(tx, caller, named)]
    return told


@blueprint.get("/<payment_id>/timeline")
@blueprint.output(answers.Timeline)
@reading(Scope.PAYMENTS_READ)
def timeline(tx: Tx, caller: Caller, payment_id: str) -> dict[str, Any]:
    """What happened to one payment, oldest first."""
    rows = payments.timeline(tx, caller, parse(PAYMENT, payment_id))
    return shown.listing([shown.timeline_entry(row) for row in rows], next_cursor=None)


@blueprint.post("/<payment_id>/capture")
@blueprint.output(answers.Operation, 202)
@problems("amount_refused", "state_conflict", "operation_open")
@conditional
@writing(Scope.PAYMENTS_WRITE)
@blueprint.input(CapturePayment)
def capture(tx: Tx, caller: Caller, payment_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Ask for the money of an authorized payment, or a part of it."""
    versions = etags.allowed(request.headers.get("If-Match"))
    named = parse(PAYMENT, payment_id)
    operation = requests.capture(tx, caller, named, amount=json_data.get("amount"), versions=versions)
    return shown.operation(operation), 202


@blueprint.post("/<payment_id>/cancel")
@blueprint.output(answers.Payment)
@blueprint.doc(responses=answers.beside(202, answers.Operation))
@problems("state_conflict", "operation_open")
@conditional
@writing(Scope.PAYMENTS_WRITE)
@blueprint.input(CancelPayment)
def cancel(tx: Tx, caller: Caller, payment_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Cancel at once what nobody was asked about (200, the payment), or ask the provider to (202, the operation)."""
    versions = etags.allowed(request.headers.get("If-Match"))
    named = parse(PAYMENT, payment_id)
    payment, operation = requests.cancel(tx, caller, named, reason=json_data["reason"], versions=versions)
    return (shown.payment(payment), 200) if payment else (shown.operation(operation or {}), 202)


@blueprint.post("/<payment_id>/refunds")
@blueprint.doc(responses=answers.beside(201, answers.Refund))
@problems("amount_refused", "state_conflict")
@conditional
@writing(Scope.REFUNDS_WRITE)
@blueprint.input(CreateRefund)
def refund(tx: Tx, caller: Caller, payment_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Ask for the money to go back, all that is left of it or a part; a worker asks the provider after the commit."""
    wanted = {"amount": json_data.get("amount"), "reason": json_data["reason"]}
    versions = etags.allowed(request.headers.get("If-Match"))
    return shown.refund(refunds.request(tx, caller, parse(PAYMENT, payment_id), **wanted, versions=versions)), 201
