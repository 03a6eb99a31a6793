"""The demo merchant and its API key, made with the same commands that a person would type."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from cli.dev.processes import POSTBOX


class MerchantError(Exception):
    """The demo merchant could not be created."""


def key_works(url: str, api_key: str) -> bool:
    """Say whether the API knows this key; a key of another database does not work."""
    if not api_key:
        return False
    headers = {"Authorization": f"Bearer {api_key}"}
    return requests.get(f"{url}/v1/payments", params={"limit": "1"}, headers=headers, timeout=10).ok


def create(env: Mapping[str, str], cwd: Path) -> str:
    """Create a merchant and a key, and return the key."""
    made = postbox(["merchants", "create", "Demo merchant", "--json"], env, cwd)
    return str(postbox(["keys", "create", made["id"], "--json"], env, cwd)["key"])


def postbox(arguments: list[str], env: Mapping[str, str], cwd: Path) -> Any:
    """What a command prints with --json. Raises MerchantError."""
    ran = subprocess.run([POSTBOX, *arguments], env=env, cwd=cwd, capture_output=True, text=True)
    if ran.returncode:
        told = (ran.stderr.strip() or ran.stdout.strip() or "no message").splitlines()[-1]
        raise MerchantError(f"postbox {' '.join(arguments)} failed: {told.removeprefix('Error: ')}")
    return json.loads(ran.stdout)
