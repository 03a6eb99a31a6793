"""Where the output of supervised processes goes: a bounded file for each, and the terminal."""

import threading
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

# Two files of this size are kept for each process: hours of a busy day, and never a full disk.
LOG_BYTES = 5 * 1024 * 1024
LINE_BYTES = 16 * 1024

COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


class ServiceLog:
    """The log of one process, written by its pump and by the supervisor."""

    def __init__(self, name: str, directory: Path, console: Console, colour: str) -> None:
        self.path = directory / f"{name}.log"
        self.last_line = ""
        self.echo = False
        self._name = name
        self._console = console
        self._colour = colour
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self.path.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        """Append one line; a full disk loses log lines and stops nothing."""
        line = line[:LINE_BYTES].rstrip(b"\r\n")
        with self._lock, suppress(OSError):
            if not self._file.closed:
                self._append(line)
        text = line.decode(errors="replace")
        if text.strip():
            self.last_line = text.strip()
        if self.echo:
            self._console.print(Text.assemble((f"{self._name:>8} | ", self._colour), text), soft_wrap=True)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _append(self, line: bytes) -> None:
        if self._file.tell() > LOG_BYTES:
            self._file.close()
            self.path.replace(self.path.with_suffix(".log.1"))
            self._file = self.path.open("ab", buffering=0)
        self._file.write(line + b"\n")
