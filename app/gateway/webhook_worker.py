"""gunicorn's worker of the gateway: a patient one, which answers plain webhooks many with one thread."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from concurrent.futures import Future

from gunicorn.workers.gthread import TConn

from app.gateway import plain_webhooks
from app.gateway.framing import Incoming
from app.gateway.patient_worker import PatientWorker
from app.gateway.plain_webhooks import Hook
from app.gateway.together import MOST, PATIENCE_SECONDS
from app.gateway.wire import Received

# Threads that answer webhooks: while one waits for the database another reads. More would make the groups smaller.
MOST_BATCHES = 2

# How a request ended whose connection is kept alive.
KEPT: Future[bool] = Future()
KEPT.set_result(True)

# A connection, the request on it, and the webhook that this is.
Held = tuple[TConn, Incoming, Hook]


class WebhookWorker(PatientWorker):
    """Gives webhooks that are plain to a thread as many as came at once, and all other requests a thread each.

    A thread that is woken, the framework, the interpreter's lock and the database's round trip are paid once for all of
    them. What turns out to need the framework gets its own thread and asks it.
    """

    patience_seconds = PATIENCE_SECONDS

    def init_process(self) -> None:
        self.held: deque[Held] = deque()
        self.batches = 0
        super().init_process()

    def _let_in(self, conn: TConn, incoming: Incoming) -> None:
        self._begin_work(conn)
        hook = plain_webhooks.plain(self.edge, incoming) if self._is_usual else None
        if hook is None:
            self._hand_over(conn, incoming)
        else:
            self.held.append((conn, incoming, hook))

    @property
    def _is_usual(self) -> bool:
        """Connections are kept alive, and nobody wants gunicorn's own word of each request."""
        return (
            self.alive
            and self.nr + len(self.held) + MOST_BATCHES * MOST < self.max_requests
            and len(self.keepalived_conns) < self.max_keepalived
            and self.cfg.keepalive > 0
            and not (self.cfg.accesslog or self.cfg.statsd_host)
        )

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout)
        if not self.alive:
            # who is served last is told that his connection ends, which the framework does
            while self.held:
                self._hand_over(*self.held.popleft()[:2])
        # after all that came at once
        while self.held and self.batches < MOST_BATCHES:
            some = [self.held.popleft() for _ in range(min(MOST, len(self.held)))]
            self.batches += 1
            self.tpool.submit(self._answer, some)

    def _answer(self, some: list[Held]) -> None:
        """In a thread; `_answered` goes on in the loop, whatever happens here."""
        answers: list[bytes | None] = [None] * len(some)
        try:
            answers = plain_webhooks.answer(self.wsgi, self.edge, [hook for _, _, hook in some])
        except Exception:
            self.log.exception("webhooks were not answered together")
        finally:
            self.method_queue.defer(self._answered, some, answers)

    def _answered(self, some: list[Held], answers: list[bytes | None]) -> None:
        self.batches -= 1
        for held, answer in zip(some, answers, strict=True):
            with self._sparing(held[0]):
                if answer is None and not self._is_late(held):
                    self._hand_over(*held[:2])
                else:
                    self._finish(held, answer)

    def _is_late(self, held: Held) -> bool:
        return held[2].at + self.patience_seconds <= time.monotonic()

    def _finish(self, held: Held, answer: bytes | None) -> None:
        """Write the answer; one that waited too long for those before it is told to come back."""
        conn, incoming, hook = held
        self.nr += 1
        conn.sock.sendall(answer or plain_webhooks.come_back(self.wsgi, hook))
        with contextlib.suppress(OSError):  # the loop finds out when it reads on, or sends the rest
            conn.sock.send_on()
        conn.parser.unreader = Received(bytes(incoming.buffer[incoming.size :]))
        self.finish_request(conn, KEPT)

    def murder_pending(self) -> None:
        """And tell those to come back that waited too long for the ones before them."""
        super().murder_pending()
        while self.held and self._is_late(self.held[0]):
            held = self.held.popleft()
            with self._sparing(held[0]):
                self._finish(held, None)
