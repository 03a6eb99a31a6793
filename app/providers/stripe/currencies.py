"""Where Stripe counts a currency in other units than ISO 4217: exact in both directions, and nowhere else."""

from __future__ import annotations

from app.errors import AmountRefused

# https://docs.stripe.com/currencies#special-cases and #zero-decimal: ISK and UGX have no minor unit in ISO, yet Stripe
# wants two digits that are always 00; the ariary has two digits in ISO and none at Stripe.
STRIPE_UNITS_PER_OURS = {"isk": 100, "ugx": 100}
OUR_UNITS_PER_STRIPES = {"mga": 100}
# https://docs.stripe.com/currencies#three-decimal: the last digit has to be 0.
MULTIPLE_AT_STRIPE = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10}


class InexactAmount(ValueError):
    """Stripe named an amount that our minor units cannot hold."""


def to_stripe(amount: int, currency: str) -> int:
    """Our minor units as Stripe counts them. Raises AmountRefused where Stripe cannot express or would refuse it."""
    code = currency.lower()
    ours = OUR_UNITS_PER_STRIPES.get(code, 1)
    theirs, rest = divmod(amount * STRIPE_UNITS_PER_OURS.get(code, 1), ours)
    if rest or theirs % MULTIPLE_AT_STRIPE.get(code, 1):
        raise AmountRefused(f"Stripe cannot take {amount} minor units of {code}")
    return theirs


def from_stripe(amount: int, currency: str) -> int:
    """Stripe's units as our minor units. Raises InexactAmount rather than rounding money."""
    code = currency.lower()
    ours, rest = divmod(amount * OUR_UNITS_PER_STRIPES.get(code, 1), STRIPE_UNITS_PER_OURS.get(code, 1))
    if rest:
        raise InexactAmount(f"{amount} of Stripe's units of {code} is no whole number of minor units")
    return ours
