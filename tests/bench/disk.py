"""What one page of a database's files takes from the disk by itself: what no statement can be faster than."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

PAGE = 8192


def forget(path: Path) -> None:
    """Drop what the system keeps of a file that is on the disk; where it cannot be asked to, it keeps what it likes."""
    if not hasattr(os, "posix_fadvise"):
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def read_some(files: Sequence[Path], count: int) -> list[float]:
    """Seconds of each of so many reads of one page, from anywhere in these files, of which nothing is in memory."""
    for path in files:
        forget(path)
    pages = [path.stat().st_size // PAGE for path in files]
    chosen = random.choices(files, weights=pages, k=count)
    opened = {path: os.open(path, os.O_RDONLY) for path in set(chosen)}
    seconds = []
    try:
        for path in chosen:
            offset = random.randrange(path.stat().st_size // PAGE) * PAGE
            began = time.perf_counter()
            read = os.pread(opened[path], PAGE, offset)
            seconds.append(time.perf_counter() - began)
            assert len(read) == PAGE, f"{path.name} has a page at {offset}"
    finally:
        for file in opened.values():
            os.close(file)
    return seconds
