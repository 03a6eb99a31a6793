"""A payment that cannot be compared stops nobody else's books from being compared."""

from __future__ import annotations

from typing import Any

import pytest

from app import errors
from jobs import reconcile
from jobs.reconcile import compare_due_once
from tests import factories
from tests.fixtures.worker import Hand

# What its comparison ends by: the clock of the statement, or a number beyond all bounds.
ENDS = {"57014": errors.TooSlow, "22003": errors.ConstraintViolated}


@pytest.mark.parametrize("sqlstate", ENDS)
@pytest.mark.parametrize("place", [0, 4, 6])
def test_a_payment_that_cannot_be_compared_is_put_off_and_all_others_are_compared(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, place: int, sqlstate: str
) -> None:
    monkeypatch.setattr(reconcile, "PAYMENTS_PER_BATCH", 5)
    # who is initiated is silent, and looked at again in an hour
    payments = [factories.payment(hand.connection)["id"] for _ in range(7)]
    hand.connection.execute("update reconcile_due set due_at = clock_timestamp() - interval '1 minute'")
    poison(hand, payments[place], sqlstate)
    hand.retime(reconcile_sweep=600.0)
    with pytest.raises(ENDS[sqlstate]):
        compare_due_once(hand.runtime)
    compare_due_once(hand.runtime)
    assert due(hand) == []
    hand.connection.execute(
        "update reconcile_due set due_at = clock_timestamp() where payment_id = %s", [payments[place]]
    )
    assert due(hand) == [payments[place]], "it waits for its next turn"


def poison(hand: Hand, payment_id: Any, sqlstate: str) -> None:
    """Whoever compares this payment, alone or among others, fails."""
    hand.connection.execute(f"""
        alter function reconcile_payments rename to compare_books;
        create function reconcile_payments(p_merchant_ids uuid[], p_payment_ids uuid[], p_scale float8)
          returns table (merchant_id uuid, payment_id uuid, type text, ref text, currency text, expected bigint,
            actual bigint, evidence_at timestamptz)
          language plpgsql stable set search_path = postbox, pg_temp as $$
        begin
          if '{payment_id}' = any (p_payment_ids) then
            raise exception 'out of bounds' using errcode = '{sqlstate}';
          end if;
          return query select * from compare_books(p_merchant_ids, p_payment_ids, p_scale);
        end $$;
    """)


def due(hand: Hand) -> list[Any]:
    rows = hand.connection.execute("select payment_id from reconcile_due where due_at <= clock_timestamp()")
    return [row["payment_id"] for row in rows]
