"""The threads that answer requests: what has to be done waits in one queue, and nobody waits for what comes of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger()


class Threads:
    """As many as there may be, from the start, and until the process ends.

    What concurrent.futures does for a result that somebody may ask for, its locks above all, took four times as long as
    handing over does.
    """

    def __init__(self, count: int) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.SimpleQueue()
        for number in range(count):
            threading.Thread(target=self._work, name=f"request {number}", daemon=True).start()

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return self._queue.qsize()

    def submit(self, do: Callable[..., object], *arguments: Any) -> None:
        self._queue.put((do, arguments))

    def shutdown(self, wait: bool = True) -> None:
        """Nothing: gunicorn asks for it at the end, when what is still on its way ends with the process."""

    def _work(self) -> None:
        while True:
            do, arguments = self._queue.get()
            try:
                do(*arguments)
            except BaseException:
                log.exception("a request was given up")
            # a request is as large as its body, and its thread may have nothing to do for long
            del do, arguments
