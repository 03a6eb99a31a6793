"""gunicorn's own lines in the form of all others; its access log stays off, request_log.py tells of requests."""

from __future__ import annotations

import os
from typing import Any

from gunicorn import glogging

from app import logs
from app.config import SettingsError, log_form


class GunicornLog(glogging.Logger):  # type: ignore[misc]
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        try:
            form = log_form(os.environ)
        except SettingsError as error:
            raise RuntimeError(str(error)) from error  # which gunicorn prints as one line
        logs.configure(form)
        self.error_log.handlers = []
        self.error_log.propagate = True
