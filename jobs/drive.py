"""Drives one operation to a definite outcome: claim, call, record; an unknown outcome is resolved by asking.

Every decision is made under the payment's lock from what is stored, so any run can go on where another was killed.
"""

from __future__ import annotations

from collections.abc import Callable

from app.db import Tx
from app.model.outcome import Reply
from jobs.decide import Call, Decider, Leave, Next, Over, Wait
from jobs.record import Recorder
from jobs.run import Run


def drive(run: Run, find_operation: Callable[[Tx], str | None]) -> None:
    """Run until the delivery is done or has to wait. `find_operation` returns None when there is nothing to do."""
    driver = Driver(run)

    def first(tx: Tx) -> Next:
        operation_id = find_operation(tx)
        upcoming = driver.decider.decide(tx, operation_id) if operation_id else Over()
        driver.end(tx, upcoming)
        return upcoming

    upcoming = run.begin(first)
    while isinstance(upcoming, Call):
        upcoming = driver.send_and_record(upcoming)


class Driver:
    """The protocol for one run: sends what was decided, and has recorded what came of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.decider = Decider(run)
        self.recorder = Recorder(self.decider)

    def send_and_record(self, call: Call) -> Next:
        """One HTTP call with no transaction open, then one transaction for what it means."""
        self.decider.calls_left -= 1
        reply = self.run.send(call.request)
        return self.run.record(lambda tx: self.record_and_end(tx, call, reply))

    def record_and_end(self, tx: Tx, call: Call, reply: Reply) -> Next:
        upcoming = self.recorder.record(tx, call, reply)
        self.end(tx, upcoming)
        return upcoming

    def end(self, tx: Tx, upcoming: Next) -> None:
        """Mark the delivery in the same transaction as what led here."""
        if isinstance(upcoming, Over):
            if upcoming.misuse:
                self.run.bury(tx, "misuse")
            else:
                self.run.done(tx)
        elif isinstance(upcoming, Wait):
            self.run.defer(tx, upcoming.seconds, upcoming.why)
        elif isinstance(upcoming, Leave):
            self.run.leave(tx)
