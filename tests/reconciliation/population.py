"""Payments by the thousand, as the product makes them: by the right actors, through legal steps, with their lines."""

from __future__ import annotations

from typing import Any

from tests import factories
from tests.factories import Connection

# Of every twenty payments so many end like this; the rest are settled.
ENDS = {
    "confirmed": 3,
    "failed": 2,
    "canceled": 1,
    "refunded": 2,
    "refunded in part": 1,
    "disputed": 1,
    "charged_back": 1,
}
AFTER_SETTLEMENT = ("settled", "refunded", "refunded in part", "disputed", "charged_back")
DISPUTE_FEE = 1_500
MERCHANTS = 10
BPS, FIXED = 290, 30

_INSERT = """
insert into payments (merchant_id, amount, currency, provider, provider_account, method, method_token, return_url,
  reference, description)
select %(merchant_id)s, 500 + (g * 37) %% 90000, 'usd', 'stripe', 'default', 'card', 'pm_card_visa',
  'https://shop.example/back', 'order-' || %(from)s + g,
  (array_cat(%(ends)s::text[], array_fill('settled'::text, array[20 - cardinality(%(ends)s::text[])])))[1 + g %% 20]
from generate_series(1, %(count)s) g
"""
_OF = " where merchant_id = %(merchant_id)s and reference is not null and state = "
_FACTS = """
insert into provider_transactions (merchant_id, payment_id, provider, account, ref, kind, source_ref, currency, gross,
  fee, net, status, available_on, created_at_provider)
select merchant_id, id, 'stripe', 'default', 'txn_' || replace(id::text, '-', ''), 'charge', latest_charge_ref,
  currency, amount, compute_fee(amount, %(bps)s, %(fixed)s), amount - compute_fee(amount, %(bps)s, %(fixed)s),
  'pending', clock_timestamp() + interval '2 days', clock_timestamp()
from payments
"""
# A line of each refund or dispute, available like all that leaves us.
_LINE = """
insert into provider_transactions (merchant_id, payment_id, {child}_id, provider, account, ref, kind, source_ref,
  currency, gross, fee, net, status, available_on, created_at_provider)
select c.merchant_id, c.payment_id, c.id, 'stripe', 'default', 'txn_' || replace(c.id::text, '-', ''), '{kind}',
  c.provider_ref, c.currency, -{amount}, {fee}, -{amount} - {fee}, 'available', clock_timestamp(), clock_timestamp()
from {child}s c where c.merchant_id = %(merchant_id)s
"""
_STEPS = (
    "update payments set state = 'submitting'" + _OF + "'initiated'",
    "update payments set state = 'submitted', provider_ref = 'pi_' || replace(id::text, '-', ''), provider_rank = 30"
    + _OF + "'submitting'",
    "update payments set state = 'failed', failure_code = 'card_declined', failure_message = 'Declined.'"
    + _OF + "'submitted' and description = 'failed'",
    "update payments set state = 'canceled', cancel_reason = 'requested'"
    + _OF + "'submitted' and description = 'canceled'",
    "update payments set state = 'confirmed', amount_captured = amount, provider_rank = 50, observed_version = 1,"
    " latest_charge_ref = 'ch_' || replace(id::text, '-', '')" + _OF + "'submitted'",
    _FACTS + _OF + "'confirmed'",
    "update provider_transactions t set status = 'available' from payments p"
    " where p.merchant_id = %(merchant_id)s and t.merchant_id = p.merchant_id and t.payment_id = p.id"
    " and p.state = 'confirmed' and p.description = any(%(after_settlement)s)",
    "update payments set state = 'settled'" + _OF + "'confirmed' and description = any(%(after_settlement)s)",
    # refunds made at the provider, whole and in part
    "insert into refunds (merchant_id, payment_id, currency, amount, origin, provider, provider_account)"
    " select merchant_id, id, currency, case description when 'refunded' then amount else amount / 2 end, 'provider',"
    " provider, provider_account from payments" + _OF + "'settled' and description in ('refunded', 'refunded in part')",
    "update refunds set state = 'pending', provider_ref = 're_' || replace(id::text, '-', ''),"
    " provider_status = 'pending' where merchant_id = %(merchant_id)s and state = 'requested'",
    _LINE.format(child="refund", kind="refund", amount="c.amount", fee="0") + " and c.state = 'pending'",
    "update refunds set state = 'succeeded', provider_status = 'succeeded'"
    " where merchant_id = %(merchant_id)s and state = 'pending'",
    "update payments p set amount_refunded = r.amount,"
    " state = case p.description when 'refunded' then 'refunded' else p.state end from refunds r"
    " where p.merchant_id = %(merchant_id)s and r.merchant_id = p.merchant_id and r.payment_id = p.id"
    " and p.state = 'settled'",
    # disputes that withdrew all of it, and are open or lost
    "insert into disputes (merchant_id, payment_id, state, currency, amount, disputed_at, provider, provider_account,"
    " provider_ref, provider_status, reason)"
    " select merchant_id, id, 'open', currency, amount, clock_timestamp(), provider, provider_account,"
    " 'du_' || replace(id::text, '-', ''), 'needs_response', 'fraudulent' from payments"
    + _OF + "'settled' and description in ('disputed', 'charged_back')",
    _LINE.format(child="dispute", kind="dispute", amount="c.amount", fee="%(dispute_fee)s") + " and c.state = 'open'",
    "update disputes set amount_withdrawn = amount where merchant_id = %(merchant_id)s and state = 'open'",
    "update payments set amount_disputed = amount, state = 'disputed'"
    + _OF + "'settled' and description in ('disputed', 'charged_back')",
    "update disputes d set state = 'lost', provider_status = 'lost' from payments p"
    " where p.merchant_id = %(merchant_id)s and d.merchant_id = p.merchant_id and d.payment_id = p.id"
    " and p.description = 'charged_back' and d.state = 'open'",
    "update payments set amount_disputed = 0, amount_lost = amount, state = 'charged_back'"
    + _OF + "'disputed' and description = 'charged_back'",
)  # fmt: skip


def populate(conn: Connection, payments: int) -> None:
    """So many payments of ten merchants, each in its final state, none of them with anything left to ask a provider."""
    with factories.acting(conn, "operator"):
        conn.execute(
            "insert into provider_prices (provider, account, method, currency, bps, fixed)"
            " values ('stripe', 'default', 'card', 'usd', %s, %s) on conflict do nothing",
            [BPS, FIXED],
        )
    ends = [end for end, share in ENDS.items() for _ in range(share)]
    for number in range(MERCHANTS):
        merchant_id = factories.merchant(conn)["id"]
        row: dict[str, Any] = {
            "merchant_id": merchant_id, "from": number * payments, "count": payments // MERCHANTS, "ends": ends,
            "bps": BPS, "fixed": FIXED, "after_settlement": list(AFTER_SETTLEMENT), "dispute_fee": DISPUTE_FEE,
        }  # fmt: skip
        with conn.transaction():
            with factories.acting(conn, "api", merchant_id=str(merchant_id)):
                conn.execute(_INSERT, row)
            with factories.acting(conn, "worker"):
                for step in _STEPS:
                    conn.execute(step, row)
            answered(conn)


def answered(conn: Connection) -> None:
    """What would ask a provider has been answered: these payments are known to no sandbox."""
    conn.execute(
        "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null"
        " where status = 'pending' and lane = 'remote' and payment_id is not null"
    )
    conn.execute("delete from procrastinate_jobs where queue_name = 'remote' and status = 'todo'")
