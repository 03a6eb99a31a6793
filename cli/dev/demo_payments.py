"""The 20 demo payments: what each asks for, what happens to it, and where it must end."""

from dataclasses import dataclass, replace
from typing import Any

# Faults are named as the sandbox names them (cli/sandbox/README.md). They strike the confirmation, where money moves.
TIMEOUT_AFTER = "timeout_after"
ERROR_BEFORE = "error_500_before"
ERROR_AFTER = "error_500_after"


@dataclass(frozen=True)
class Story:
    """One payment of the demo; amounts in minor units."""

    title: str
    amount: int
    end: str
    currency: str = "usd"
    token: str = "pm_card_visa"  # noqa: S105 - a published test payment method
    capture_method: str = "automatic"
    fault: str | None = None
    fault_seconds: float | None = None
    press: str | None = None  # "complete" or "fail" on the 3-D Secure page
    capture: int | None = None
    cancel: bool = False

    def request(self) -> dict[str, Any]:
        """Return the body of the POST /v1/payments."""
        return {
            "amount": self.amount,
            "currency": self.currency,
            "method": {"type": "card", "token": self.token},
            "capture_method": self.capture_method,
            "return_url": "https://example.com/return",
            "description": f"Demo: {self.title}",
        }


SUCCESS = Story("card", 1999, "settled")
DECLINE = Story("declined", 2500, "failed")
SECURE = Story("3-D Secure, passed", 8900, "settled", token="pm_card_threeDSecure2Required", press="complete")  # noqa: S106
MANUAL = Story("captured later", 12_000, "settled", capture_method="manual", capture=12_000)

STORIES = (
    # Faults first: they take longest, and each is sent alone so that no other payment is struck.
    Story("provider timeout, had succeeded", 4200, "settled", fault=TIMEOUT_AFTER),
    Story("answer lost, had succeeded", 4300, "settled", fault=TIMEOUT_AFTER, fault_seconds=1),
    Story("provider 500, nothing done", 4400, "settled", fault=ERROR_BEFORE),
    Story("provider 500, had succeeded", 4500, "settled", fault=ERROR_AFTER),
    SUCCESS,
    replace(SUCCESS, title="Mastercard", amount=4999, token="pm_card_mastercard"),  # noqa: S106
    replace(SUCCESS, title="card in euro", amount=2350, currency="eur"),
    replace(SUCCESS, title="card in pounds", amount=780, currency="gbp"),
    replace(SUCCESS, title="card in yen", amount=5000, currency="jpy"),
    replace(SUCCESS, title="American Express", amount=150_000, token="pm_card_amex"),  # noqa: S106
    replace(SUCCESS, title="debit card", amount=1250, token="pm_card_visa_debit"),  # noqa: S106
    replace(DECLINE, token="pm_card_chargeDeclined"),  # noqa: S106
    replace(DECLINE, title="insufficient funds", token="pm_card_chargeDeclinedInsufficientFunds"),  # noqa: S106
    replace(DECLINE, title="expired card", token="pm_card_chargeDeclinedExpiredCard"),  # noqa: S106
    SECURE,
    replace(SECURE, amount=9900),
    replace(SECURE, title="3-D Secure, not passed", end="failed", press="fail"),
    MANUAL,
    replace(MANUAL, title="half captured", capture=6_000),
    replace(MANUAL, title="authorized, then canceled", end="canceled", capture=None, cancel=True),
)
