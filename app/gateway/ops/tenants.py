"""/ops/v1/merchants and /ops/v1/keys: who we process for, and what lets them in."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway.context import gateway
from app.gateway.contract import problems
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.doing import doing
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import CreateKey, CreateMerchant, ListKeys, Reasoned, RotateKey
from app.gateway.ops.showing import page, show
from app.gateway.schemas import Page
from app.model.operator_role import Right
from app.services import api_keys, operator_pages
from app.services import merchants as service
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


@merchants.post("")
@merchants.output(answers.CreatedMerchant, 201)
@doing(Right.ADMINISTER)
@merchants.input(CreateMerchant)
def create_merchant(tx: Tx, person: Person, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A new merchant."""
    row = service.create(tx, json_data["name"])
    return show(answers.CreatedMerchant, row | {"merchant_id": row["id"]}), 201


@keys.post("")
@keys.output(answers.CreatedKey, 201)
@problems("not_found")
@doing(Right.ADMINISTER, once=("key",))
@keys.input(CreateKey)
def create_key(tx: Tx, person: Person, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A new API key, shown this once."""
    row = api_keys.create(
        tx,
        json_data["merchant"],
        label=json_data["label"],
        livemode=json_data["livemode"],
        pepper=gateway().settings.key_pepper,
        scopes=json_data["scopes"],
        allowed_from=json_data["allowed_from"],
        expires_at=json_data.get("expires_at"),
    )
    return show(answers.CreatedKey, row), 201


@keys.post("/<key_id>/rotate")
@keys.output(answers.CreatedKey, 201)
@doing(Right.ADMINISTER, once=("key",))
@keys.input(RotateKey)
def rotate_key(tx: Tx, person: Person, key_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A key that may do the same, shown this once; the old one works until the overlap is over."""
    row = api_keys.rotate(
        tx,
        key_id.replace("\0", ""),
        overlap=json_data["overlap_seconds"],
        reason=json_data["reason"],
        pepper=gateway().settings.key_pepper,
    )
    return show(answers.CreatedKey, row), 201


@keys.post("/<key_id>/revoke")
@keys.output(answers.RevokedKey)
@doing(Right.ADMINISTER)
@keys.input(Reasoned)
def revoke_key(tx: Tx, person: Person, key_id: str, json_data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """End a key at once."""
    row = api_keys.revoke(tx, key_id.replace("\0", ""), reason=json_data["reason"])
    return show(answers.RevokedKey, row), 200
