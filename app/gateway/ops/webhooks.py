"""/ops/v1/webhooks: what providers told us, and what became of it."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway.contract import problems
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import ListWebhooks, Reasoned
from app.gateway.ops.showing import page, show, shown, uuid_of
from app.model.operator_role import Right
from app.services import operator_pages, webhooks
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_webhooks", __name__, url_prefix="/ops/v1/webhooks")


@blueprint.get("/<webhook_id>")
@blueprint.output(answers.WebhookSheet)
@looking(Right.READ)
def sheet(tx: Tx, person: Person, webhook_id: str) -> Shown:
    """One stored provider event."""
    return shown(answers.WebhookSheet, operator_pages.webhook(tx, uuid_of(webhook_id)))


@blueprint.get("")
@blueprint.output(answers.list_of(answers.ReceivedWebhook))
@looking(Right.READ)
@blueprint.input(ListWebhooks, location="query", unknown=RAISE)
def find(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Stored provider events, newest first."""
    rows = operator_pages.webhooks(
        tx,
        type=query_data.get("type"),
        provider_event_id=query_data.get("provider_event_id"),
        before=row_position(query_data.get("cursor"), "webhooks"),
        limit=query_data["limit"],
    )
    return page(answers.ReceivedWebhook, "webhooks", rows, at="received_at", by="id", limit=query_data["limit"])


@blueprint.post("/<webhook_id>/replay")
@blueprint.output(answers.ReplayedWebhook)
@problems("state_conflict")
@doing(Right.HANDLE)
@blueprint.input(Reasoned)
def replay(tx: Tx, person: Person, webhook_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Have a stored provider event handled again: the object is fetched, and what it says is applied."""
    webhook = operator_pages.webhook(tx, uuid_of(webhook_id))
    webhooks.replay(tx, webhook, by=person.name, reason=json_data["reason"])
    return show(answers.ReplayedWebhook, webhook), 200
