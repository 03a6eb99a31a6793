"""The gateway's gunicorn worker with less patience, so that no test waits for production's; and one with a mistake."""

from app.gateway.webhook_worker import WebhookRequest, WebhookWorker


class HurriedWorker(WebhookWorker):
    answer_seconds = 2.0
    patience_seconds = 0.3


class ClumsyWorker(WebhookWorker):
    def _finish(self, request: WebhookRequest, answer: bytes | None) -> None:
        assert request.webhook.request_id != "clumsy"
        super()._finish(request, answer)
