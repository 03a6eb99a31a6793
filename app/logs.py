"""What a process says of itself: one line per thing on stderr, JSON or, for people, text; ids and nothing personal."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.types import Processor

# `event` is a row of the bus here, so what a line is about is its message.
_MESSAGE = structlog.processors.EventRenamer("message")
# What is known of every line, ours or a library's.
_KNOWN: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
)


class LossyLogger(structlog.WriteLogger):
    """A line that cannot be written is lost, as one of logging's is: what it tells of was done, and is answered so."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def configure(form: str = "", stream: TextIO | None = None) -> None:
    """Give every line of this process one form: `json`, `text`, or, when it is empty, text on a terminal only.

    Called by the process's entry, before a line is written. Libraries' own lines begin with warnings.
    """
    stream = stream or sys.stderr
    rendered = _text(stream) if form == "text" or (not form and stream.isatty()) else _json()
    structlog.configure(
        processors=[*_KNOWN, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # a line is one write, so that those of several processes do not mix on their way through one pipe
        logger_factory=lambda *_: LossyLogger(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_KNOWN, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, _MESSAGE, structlog.processors.JSONRenderer(serializer=_dumps)]


# What is no JSON, such as a UUID, as its text. Made once: json.dumps would make one for each line.
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)


def _dumps(line: Any, **_: Any) -> str:
    return _ENCODER.encode(line)


def _text(stream: TextIO) -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="at", exception_formatter=plain)]
