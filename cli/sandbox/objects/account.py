"""Owns the one account of the sandbox, as `GET /v1/account` shows it."""

from typing import Any

from cli.sandbox.table import Row
from cli.sandbox.world import World


def render_account(world: World, _ident: str = "", _params: Any = None) -> Row:
    """The account; its id is derived from the ledger's seed, so it survives a restart."""
    return {
        "id": world.account,
        "object": "account",
        "business_profile": None,
        "business_type": "company",
        "capabilities": {
            "card_payments": "active",
            "transfers": "active",
            "us_bank_account_ach_payments": "active",
        },
        "charges_enabled": True,
        "country": "US",
        "created": 1767225600,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": None,
        "type": "standard",
    }
