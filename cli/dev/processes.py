"""Which processes make up Postbox on one machine, and when each of them serves."""

import random
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import requests

from cli.dev.postgres_home import PORTS
from cli.dev.postgres_process import is_free
from cli.dev.state import write_private
from cli.dev.supervisor import Service

# Money becomes available after days at Stripe; in the sandbox of a newcomer it may be watched.
AVAILABLE_AFTER_SECONDS = 5

POSTBOX = str(Path(sys.executable).with_name("postbox"))


def read_procfile(path: Path) -> dict[str, list[str]]:
    """Return the argument list of each process type, so that the Procfile is the only place they are written."""
    lines = (line.partition(":") for line in path.read_text().splitlines() if line.strip() and line[0] != "#")
    return {name.strip(): shlex.split(command) for name, _, command in lines}


def web_service(argv: list[str], env: Mapping[str, str], cwd: Path, port: int) -> Service:
    # On this machine only: the Procfile's own binding is for a server.
    own = {**env, "PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}"}
    return Service("web", argv, own, cwd, ready=lambda: _answers_ok(f"http://127.0.0.1:{port}/readyz"))


def worker_service(argv: list[str], env: Mapping[str, str], cwd: Path) -> Service:
    return Service("worker", argv, env, cwd)


def sandbox_service(env: Mapping[str, str], cwd: Path, *, data: Path, port: int, webhook_url: str) -> Service:
    """The Stripe sandbox; it signs webhooks with the first of STRIPE_WEBHOOK_SECRETS."""
    argv = [POSTBOX, "sandbox", "stripe", "--port", str(port), "--data", str(data)]
    argv += ["--webhook-url", webhook_url, "--webhook-secret", env["STRIPE_WEBHOOK_SECRETS"].partition(",")[0]]
    argv += ["--available-after", str(AVAILABLE_AFTER_SECONDS), "--time-scale", env.get("POSTBOX_TIME_SCALE") or "1"]
    return Service("sandbox", argv, env, cwd, ready=lambda: not is_free(port))


def forget_other_endpoints(sandbox_url: str, webhook_url: str) -> None:
    """Stop the sandbox from sending webhooks to the ports of earlier runs, which it remembers."""
    control = f"{sandbox_url}/_sandbox/webhooks/endpoints"
    for endpoint in requests.get(control, timeout=10).json()["endpoints"]:
        if endpoint["url"] != webhook_url and endpoint["status"] == "enabled":
            requests.delete(f"{control}/{endpoint['id']}", timeout=10)


def choose_port(remembered: Path) -> int:
    """Return the port of the last run while it is free, else any other."""
    text = remembered.read_text().strip() if remembered.exists() else ""
    if text.isdigit() and is_free(int(text)):
        return int(text)
    port = next(p for p in random.sample(PORTS, 200) if is_free(p))
    write_private(remembered, str(port))
    return port


def _answers_ok(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False
