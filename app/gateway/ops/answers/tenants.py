"""Merchants and their keys."""

from __future__ import annotations

from marshmallow import fields

from app.gateway.answers import Answer, moment, one_of, text
from app.gateway.ops.answers.fields import uuid, whole, yes_or_no
from app.model.scope import ALL_SCOPES


class Merchant(Answer):
    object = one_of("merchant")
    merchant_id = uuid()
    name = text("Corner shop")
    active = yes_or_no(True)
    created_at = moment()
    usable_keys = whole(1)


class Key(Answer):
    object = one_of("key")
    id = text("0123456789abcdef")
    merchant_id = uuid()
    label = text("till")
    livemode = yes_or_no(False)
    scopes = fields.List(one_of(*ALL_SCOPES))
    allowed_from = fields.List(text("203.0.113.0/24"), allow_none=True, metadata={"examples": [["203.0.113.0/24"]]})
    created_at = moment()
    expires_at = moment(null=True)
    revoked_at = moment(null=True)
    replaces = text(None, null=True)
    last_used_at = moment(null=True)
    last_address = text("203.0.113.9", null=True)


class CreatedMerchant(Answer):
    object = one_of("merchant_created")
    merchant_id = uuid()
    name = text("Corner shop")
    active = yes_or_no(True)
    created_at = moment()


class CreatedKey(Answer):
    """`key` is shown this once; a replay of the request says null."""

    object = one_of("key_created")
    id = text("0123456789abcdef")
    key = text("pb_test_0123456789abcdef_...", null=True)
    merchant_id = uuid()
    label = text("till")
    livemode = yes_or_no(False)
    scopes = fields.List(one_of(*ALL_SCOPES))
    allowed_from = fields.List(text("203.0.113.0/24"), allow_none=True, metadata={"examples": [["203.0.113.0/24"]]})
    expires_at = moment(null=True)
    replaces = text(None, null=True)
    created_at = moment()


class RevokedKey(Answer):
    object = one_of("key_revoked")
    id = text("0123456789abcdef")
    merchant_id = uuid()
    revoked_at = moment()
