"""Owns the durable ledger file: append-only JSON lines, replayed at start; it does not know what they mean."""

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = "postbox-sandbox-1"


class JournalError(Exception):
    """The sandbox's ledger file cannot be used."""


class Journal:
    """One file, one writer. A line is handed to the kernel before its answer leaves, so kill -9 loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warning: str | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise JournalError(f"{path} is in use by another sandbox") from None

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield every record in order; a torn last line is cut off with a warning, any other damage is an error."""
        good = 0
        with open(self.path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    record = json.loads(line)
                    if not isinstance(record, dict):
                        raise ValueError("not a record")
                except ValueError:
                    if line.endswith(b"\n"):
                        raise JournalError(f"{self.path} line {number} is damaged") from None
                    record = None
                if record is None or not line.endswith(b"\n"):
                    self.warning = f"{self.path}: the last line was torn and is dropped"
                    break
                if number == 1 and record.get("format") != FORMAT:
                    raise JournalError(f"{self.path} is not a ledger of this sandbox")
                good += len(line)
                yield record
        if self.warning:
            os.ftruncate(self._fd, good)

    def append(self, line: str) -> None:
        """Write one record (JSON text without a newline), with a single write where the kernel takes it whole.

        A ledger that cannot be written ends the process: what is in memory already differs from the file, and an
        answer given now could not be given again.
        """
        data = (line + "\n").encode()
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                data = data[written:]
                written = os.write(self._fd, data)
        except OSError as error:
            print(
                f"postbox sandbox stripe: cannot write {self.path}: {error.strerror}",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)

    def close(self) -> None:
        os.close(self._fd)
