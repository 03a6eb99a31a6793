"""gunicorn's worker of the gateway: a patient one, which answers plain webhooks many with one thread."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from gunicorn.workers.gthread import TConn

from app.gateway import plain_webhooks
from app.gateway.framing import Incoming
from app.gateway.patient_worker import PatientWorker
from app.gateway.plain_webhooks import PlainWebhook
from app.gateway.together import MOST, PATIENCE_SECONDS

# Threads that answer webhooks: while one waits for the database another reads. More would make the groups smaller.
MOST_BATCHES = 2


class WebhookRequest(NamedTuple):
    """A plain webhook, on its connection."""

    conn: TConn
    incoming: Incoming
    webhook: PlainWebhook


class WebhookWorker(PatientWorker):
    """Gives webhooks that are plain to a thread as many as came at once, and all other requests a thread each.

    A thread that is woken, the framework, the interpreter's lock and the database's round trip are paid once for all of
    them. What turns out to need the framework gets its own thread and asks it.
    """

    patience_seconds = PATIENCE_SECONDS

    def init_process(self) -> None:
        self.waiting: deque[WebhookRequest] = deque()
        self.batches = 0
        super().init_process()

    def _let_in(self, conn: TConn, incoming: Incoming) -> None:
        self._begin_work(conn)
        webhook = plain_webhooks.plain(self.edge, incoming) if self._is_usual else None
        if webhook is None:
            self._hand_over(conn, incoming)
        else:
            conn.sock.held += len(webhook.body)  # for the second time, as a part of the request
            self.waiting.append(WebhookRequest(conn, incoming, webhook))

    @property
    def _is_usual(self) -> bool:
        """Connections are kept alive, and nobody wants gunicorn's own word of each request."""
        return (
            self.alive
            and self.nr + len(self.waiting) + MOST_BATCHES * MOST < self.max_requests
            and len(self.keepalived_conns) < self.max_keepalived
            and self.cfg.keepalive > 0
            and not (self.cfg.accesslog or self.cfg.statsd_host)
        )

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout)
        if not self.alive:
            # who is served last is told that his connection ends, which the framework does
            while self.waiting:
                request = self.waiting.popleft()
                self._hand_over(request.conn, request.incoming)
        # after all that came at once
        while self.waiting and self.batches < MOST_BATCHES:
            some = [self.waiting.popleft() for _ in range(min(MOST, len(self.waiting)))]
            self.batches += 1
            self.tpool.submit(self._ask, some)

    def _ask(self, some: list[WebhookRequest]) -> None:
        """In a thread; `_answered` goes on in the loop, whatever happens here."""
        answers: list[bytes | None] = [None] * len(some)
        try:
            answers = plain_webhooks.answer(self.wsgi, self.edge, [request.webhook for request in some])
        except Exception:
            self.log.exception("webhooks were not answered together")
        finally:
            self.method_queue.defer(self._answered, some, answers)

    def _answered(self, some: list[WebhookRequest], answers: list[bytes | None]) -> None:
        self.batches -= 1
        for request, answer in zip(some, answers, strict=True):
            with self._sparing(request.conn):
                if answer is None and not self._is_late(request):
                    self._hand_over(request.conn, request.incoming)
                else:
                    self._finish(request, answer)

    def _is_late(self, request: WebhookRequest) -> bool:
        return request.webhook.at + self.patience_seconds <= time.monotonic()

    def _finish(self, request: WebhookRequest, answer: bytes | None) -> None:
        """Write the answer; one that waited too long for those before it is told to come back."""
        self.nr += 1
        self._answer(request.conn, request.incoming, answer or plain_webhooks.come_back(self.wsgi, request.webhook))

    def murder_pending(self) -> None:
        """And tell those to come back that waited too long for the ones before them."""
        super().murder_pending()
        while self.waiting and self._is_late(self.waiting[0]):
            request = self.waiting.popleft()
            with self._sparing(request.conn):
                self._finish(request, None)
