"""Why the embedded PostgreSQL cannot run, in one line that says what to do."""

import errno
import re
from pathlib import Path


class ClusterError(Exception):
    """The embedded PostgreSQL cannot run."""


def explain(output: str, data_dir: Path) -> str:
    """Reduce what PostgreSQL wrote to one line that says what to do."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return f"the disk is full: PostgreSQL could not write under {data_dir.parent}"
    if "Address already in use" in output:
        return "another program took PostgreSQL's port while it started: try again"
    if "pre-existing shared memory block" in output or "is another postmaster" in output.lower():
        return "the data directory is still in use by a PostgreSQL that was killed: try again in a moment"
    told = re.findall(r"(?:PANIC|FATAL|initdb: error|error while loading[^:]*):\s*(.+)", output)
    cause = told[-1] if told else (output.strip().splitlines() or ["it wrote no message"])[-1]
    if "Permission denied" in output or "Operation not permitted" in output:
        return f"not permitted: PostgreSQL says {cause}"
    if told and (data_dir / "PG_VERSION").exists():
        return broken(data_dir, cause)
    return f"PostgreSQL did not start: {cause}"


def explain_os_error(error: OSError, home: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: could not write under {home}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"not permitted to use {error.filename or home}"
    return f"cannot run PostgreSQL: {error}"


def broken(data_dir: Path, cause: str) -> str:
    return f"the data directory {data_dir} is broken ({cause}): restore it, or move it away to start empty"
