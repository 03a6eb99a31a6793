"""What `bin/run` remembers in .postbox: its lock, its secrets, its ports and the environment file for scripts."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class StateError(Exception):
    """The directory .postbox cannot be used."""


class AlreadyRunning(StateError):
    """Postbox already runs on this directory."""


@dataclass(frozen=True)
class Secrets:
    """Made once per .postbox: what keys are hashed with, what the sandbox signs with, what operators are kept under."""

    key_pepper: str
    webhook_secret: str
    operator_key: str


def hold(root: Path) -> IO[str]:
    """Take the directory for this process; keep the returned file open for as long as it is used."""
    # 0711: as root, PostgreSQL runs under another account and must pass through; it can list nothing.
    root.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    file = (root / "run.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise AlreadyRunning(f"Postbox already runs on {root} (process {holder}): stop that one first") from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def load_secrets(root: Path) -> Secrets:
    """Return the secrets of this directory, made on first use."""
    path = root / "secrets.json"
    if not path.exists():
        made = {"key_pepper": secrets.token_urlsafe(32), "webhook_secret": "whsec_" + secrets.token_urlsafe(24)}
        write_private(path, json.dumps(made))
    try:
        found = json.loads(path.read_text())
        if "operator_key" not in found:  # the directory is new, or of an earlier release
            found["operator_key"] = secrets.token_urlsafe(32)
            write_private(path, json.dumps(found))
        return Secrets(found["key_pepper"], found["webhook_secret"], found["operator_key"])
    except (ValueError, KeyError, TypeError) as e:
        raise StateError(f"{path} is broken: restore it, or remove it and make new API keys") from e


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of the last run, empty when there was none."""
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {name: value for name, equals, value in lines if equals}


def write_env_file(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the file at once, so that a script never reads half of it."""
    text = "# Written by bin/run. In a shell: set -a; . .postbox/dev.env; set +a\n"
    write_private(path, text + "".join(f"{name}={value}\n" for name, value in variables.items()))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads: whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
