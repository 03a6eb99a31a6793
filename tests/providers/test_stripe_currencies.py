"""Amounts survive the way to Stripe and back, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AmountRefused
from app.providers.stripe.currencies import InexactAmount, from_stripe, to_stripe

CURRENCIES = ["usd", "eur", "jpy", "krw", "mga", "isk", "ugx", "kwd", "bhd", "jod", "omr", "tnd"]


@given(st.integers(1, 2**53 - 1), st.sampled_from(CURRENCIES))
def test_what_stripe_takes_comes_back_the_same(amount, currency):
    try:
        sent = to_stripe(amount, currency)
    except AmountRefused:
        assert currency in {"mga", "kwd", "bhd", "jod", "omr", "tnd"}
    else:
        assert from_stripe(sent, currency) == amount


@pytest.mark.parametrize(
    "ours, currency, stripes", [(1000, "isk", 100_000), (500, "ugx", 50_000), (5000, "mga", 50), (500, "jpy", 500)]
)
def test_the_special_currencies_are_counted_as_stripe_counts_them(ours, currency, stripes):
    assert to_stripe(ours, currency) == to_stripe(ours, currency.upper()) == stripes
    assert from_stripe(stripes, currency) == ours


def test_half_a_krona_is_not_rounded():
    with pytest.raises(InexactAmount):
        from_stripe(150, "isk")


@given(st.integers(-(2**53), 2**53), st.sampled_from(["usd", "mga", "jpy"]))
def test_money_that_flows_back_keeps_its_sign(amount, currency):
    assert (from_stripe(amount, currency) < 0) == (amount < 0)
