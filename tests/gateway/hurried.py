"""The gateway's gunicorn worker with less patience, so that no test waits for production's; and others for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from app.db.pool import Timeouts
from app.gateway import patient_worker
from app.gateway.framing import Incoming
from app.gateway.webhook_worker import WebhookRequest, WebhookWorker

App = Callable[[dict[str, Any], Callable[..., Any]], Any]


class HurriedWorker(WebhookWorker):
    answer_seconds = 2.0
    patience_seconds = 0.3


class ClumsyWorker(WebhookWorker):
    """One with a mistake of ours, and with an application that breaks off in an answer."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.wsgi.wsgi_app = breaking_off(self.wsgi.wsgi_app)

    def _finish(self, request: WebhookRequest, answer: bytes | None) -> None:
        assert request.webhook.request_id != "clumsy"
        super()._finish(request, answer)


def breaking_off(app: App) -> App:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        return half(start) if environ["QUERY_STRING"] == "clumsy" else app(environ, start)

    def half(start: Callable[..., Any]) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "8")])
        yield b"half"
        raise RuntimeError

    return answer


class LockedWorker(WebhookWorker):
    """Its statements wait for a lock for as long as a test holds it."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.edge.database.timeouts = Timeouts(statement=120_000, lock=100_000)


class MisreadingWorker(WebhookWorker):
    """Its loop sees a request end as many bytes too early or too late as the request says."""

    def init_process(self) -> None:
        patient_worker.Incoming = Misread
        super().init_process()


class Misread(Incoming):
    def is_whole(self) -> bool:
        if not super().is_whole() and not self.has_head:
            return False
        self.size += int(self.headers.get(b"x-misread", b"0"))
        return len(self.buffer) >= self.size
