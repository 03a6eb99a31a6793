"""/ops/v1/merchants and /ops/v1/keys: who we process for, and what lets them in."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import ListKeys
from app.gateway.ops.showing import page
from app.gateway.schemas import Page
from app.model.operator_role import Right
from app.services import operator_pages
from app.services.sign_in import Person

merchants = APIBlueprint("ops_merchants", __name__, url_prefix="/ops/v1/merchants")
keys = APIBlueprint("ops_keys", __name__, url_prefix="/ops/v1/keys")


@merchants.get("")
@merchants.output(answers.list_of(answers.Merchant))
@looking(Right.READ)
@merchants.input(Page, location="query", unknown=RAISE)
def list_merchants(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Merchants, newest first."""
    limit = query_data["limit"]
    rows = operator_pages.merchants(tx, before=row_position(query_data.get("cursor"), "merchants"), limit=limit)
    return page(answers.Merchant, "merchants", rows, at="created_at", by="merchant_id", limit=limit)


@keys.get("")
@keys.output(answers.list_of(answers.Key))
@looking(Right.READ)
@keys.input(ListKeys, location="query", unknown=RAISE)
def list_keys(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """API keys, newest first; never their secrets."""
    limit = query_data["limit"]
    before = row_position(query_data.get("cursor"), "keys")
    rows = operator_pages.keys(tx, merchant_id=query_data.get("merchant"), before=before, limit=limit)
    return page(answers.Key, "keys", rows, at="created_at", by="id", limit=limit)
