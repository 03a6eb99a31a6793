"""operation.requested: carry out a capture, a cancel, or the closing of an orphan."""

from __future__ import annotations

from jobs.drive import drive
from jobs.handlers.handler import RemoteHandler
from jobs.run import Run


def handle(run: Run) -> None:
    drive(run, lambda tx: str(run.delivery["operation_id"]))


HANDLER = RemoteHandler("run_operation", handle)
