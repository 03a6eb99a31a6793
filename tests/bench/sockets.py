"""Which TCP ports of this machine a process talks from, from /proc. Linux only."""

from __future__ import annotations

import os
import re
from pathlib import Path

# What a file descriptor of a socket points to.
SOCKET = re.compile(r"socket:\[(?P<inode>\d+)\]")


def ports_of(pid: int) -> set[int]:
    """The local port of each of its IPv4 connections; none of a process that is gone."""
    try:
        links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    inodes = {match["inode"] for link in links if (match := SOCKET.fullmatch(link))}
    rows = [line.split() for line in lines]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}
