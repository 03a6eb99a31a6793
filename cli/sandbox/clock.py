"""Owns the sandbox's time (real time plus an offset that only grows) and the durations that hang on it."""

import dataclasses
import time


@dataclasses.dataclass
class Timing:
    """Durations in seconds, as a developer wants them to watch a payment settle; `scaled` for tests."""

    balance_after: float = 0.5  # until an asynchronous capture has its balance transaction
    available_after: float = 5.0  # until a balance transaction is available
    bank_after: float = 5.0  # until a bank debit succeeds or fails
    refund_after: float = 3.0  # until a pending refund moves on
    dispute_after: float = 1.0  # until a card that is made to be disputed is
    payout_after: float = 5.0  # until a payout has arrived
    authorization_for: float = 7 * 86400.0  # how long an uncaptured authorization holds
    key_kept: float = 86400.0  # how long an idempotency key is remembered
    hold: float = 30.0  # how long a fault holds a connection: past every client's deadline
    webhook_retry: float = 1.0  # the first wait after a failed delivery, doubled each time
    webhook_retry_cap: float = 60.0
    webhook_timeout: float = 10.0

    def scaled(self, factor: float) -> "Timing":
        """Every duration multiplied by `factor` (0.01 is a hundredth of the time)."""
        return Timing(**{name: value * factor for name, value in dataclasses.asdict(self).items()})

    def change(self, values: dict[str, float]) -> None:
        """Set some durations (seconds) while the server runs; an unknown name is a ValueError."""
        names = {field.name for field in dataclasses.fields(self)}
        for name, value in values.items():
            if name not in names:
                raise ValueError(f"no such duration: {name}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise ValueError(f"{name} must be a number of seconds")
        for name, value in values.items():
            setattr(self, name, float(value))


class Clock:
    """`now()` is seconds since the epoch, UTC; it never runs backwards."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._frozen: float | None = None
        self._latest = 0.0

    def now(self) -> float:
        if self._frozen is not None:
            return self._frozen
        self._latest = max(self._latest, time.time() + self.offset)
        return self._latest

    def freeze(self, at: float) -> None:
        """Stand still at `at`, so that what falls due is dated when it fell due, however far the clock was moved."""
        self._frozen = at

    def thaw(self) -> None:
        self._frozen = None

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("the clock cannot run backwards")
        self.offset += seconds
