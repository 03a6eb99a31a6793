"""The gateway's gunicorn worker with less patience, so that no test waits for production's."""

from app.gateway.webhook_worker import WebhookWorker


class HurriedWorker(WebhookWorker):
    answer_seconds = 2.0
    patience_seconds = 0.3
