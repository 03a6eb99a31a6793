"""Owns amounts: limits per currency, fees in integer arithmetic; every amount is in minor units."""

from cli.sandbox.errors import invalid

# https://docs.stripe.com/currencies#zero-decimal
_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"
ZERO_DECIMAL = frozenset(_ZERO_DECIMAL.split())
# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
_OTHER = (
    "bam bdt bhd bnd clp cop crc dop egp gel ghs idr ils isk jod kes krw kwd lkr mad mga mkd mur omr pab pen php "
    "pkr pyg qar rsd sar tnd try twd tzs uah ugx uyu uzs vnd xaf xof zar"
)
OTHER = frozenset(_OTHER.split())
_THREE_DECIMAL = "bhd jod kwd omr tnd"
THREE_DECIMAL = frozenset(_THREE_DECIMAL.split())
MAXIMUM = 99_999_999  # eight digits
FEE_BPS = 290
FEE_FIXED = 30
DISPUTE_FEE = 1500


def check_currency(currency: str) -> str:
    """The currency in lower case, or a 400 (`Invalid currency`)."""
    code = currency.lower()
    if code not in MINIMUM and code not in OTHER:
        raise invalid(f"Invalid currency: {currency}.", param="currency")
    return code


def check_amount(amount: int, currency: str) -> None:
    """Refuse what Stripe refuses: nothing, too little (50 cents), more than eight digits, a broken fils."""
    if amount < 0:
        raise invalid(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    if amount < MINIMUM.get(currency, 1) or amount == 0:
        raise invalid(
            f"Amount must be at least {MINIMUM.get(currency, 1)} {currency} in the smallest unit.",
            code="amount_too_small",
            param="amount",
        )
    if amount > MAXIMUM:
        raise invalid(
            f"Amount must be no more than {MAXIMUM} {currency} in the smallest unit.",
            code="amount_too_large",
            param="amount",
        )
    if currency in THREE_DECIMAL and amount % 10:
        raise invalid(f"Amount in {currency} must end with a 0.", param="amount")


def fee_of(amount: int, currency: str, method: str) -> int:
    """Stripe's fee: 2.9 % and 30 cents of a card; 0.8 %, at most 5.00, of a bank debit; rounded half up."""
    if method == "us_bank_account":
        return min((amount * 80 + 5_000) // 10_000, 500)
    fixed = 0 if currency in ZERO_DECIMAL else FEE_FIXED
    return (amount * FEE_BPS + 5_000) // 10_000 + fixed
