"""The gateway's gunicorn worker with less patience, so that no test waits for production's; and one with a mistake."""

from app.gateway.webhook_worker import Held, WebhookWorker


class HurriedWorker(WebhookWorker):
    answer_seconds = 2.0
    patience_seconds = 0.3


class ClumsyWorker(WebhookWorker):
    def _finish(self, held: Held, answer: bytes | None) -> None:
        assert held[2].request_id != "clumsy"
        super()._finish(held, answer)
