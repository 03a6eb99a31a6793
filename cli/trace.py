"""`postbox trace`: one payment's story, from whatever identifier somebody has."""

from __future__ import annotations

import click

from app.db.pool import Row
from app.errors import NotFound
from app.model import public_id
from app.services import trace as service
from cli.render import print_json, print_rows
from cli.session import Session, json_option, with_session

CANDIDATES = {"payment": "Payment", "recognised": "Found as", "state": "State", "created_at": "Created",
              "reference": "Reference", "provider_ref": "Provider"}  # fmt: skip
EVIDENCE = {"at": "When (UTC)", "source": "Source", "what": "What", "change": "State", "who": "Who", "ref": "Reference",
            "reason": "Why", "intact": ""}  # fmt: skip


@click.command()
@click.argument("identifier")
@json_option
@with_session
def trace(session: Session, identifier: str, as_json: bool) -> None:
    """Tell the story of the payment that IDENTIFIER means.

    IDENTIFIER is one of ours (pay_, op_, evt_, or a UUID), a provider's (pi_, ch_, txn_, evt_), an idempotency key
    (the merchant's or an attempt's) or a merchant's reference. When it means several payments they are listed.
    """
    found = session.read(lambda tx: service.candidates(tx, identifier.strip()))
    if not found:
        raise NotFound(f"nothing is known by {identifier}")
    named = [{"payment": public_id.show(public_id.PAYMENT, row["payment_id"])} | row for row in found]
    if len(named) > 1:
        _list(named, as_json)
        return
    evidence = session.read(lambda tx: service.evidence(tx, found[0]))
    if as_json:
        print_json({"candidates": named, "evidence": evidence})
        return
    one = named[0]
    title = f"{one['payment']} is {one['state']} (found as {one['recognised']}), {len(evidence)} pieces of evidence"
    print_rows([_for_people(row) for row in evidence], EVIDENCE, empty="", title=title)


def _list(named: list[Row], as_json: bool) -> None:
    if as_json:
        print_json({"candidates": named, "evidence": None})
    else:
        print_rows(named, CANDIDATES, empty="", title=f"{len(named)} payments; trace one of them")


def _for_people(row: Row) -> Row:
    change = " -> ".join(part for part in (row["from_state"], row["to_state"]) if part)
    who = ":".join(part for part in (row["actor_type"], row["actor_id"]) if part)
    at = f"{row['at']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    return row | {"at": at, "change": change, "who": who, "intact": "ALTERED" if row["hash_ok"] is False else ""}
