"""Where the web processes spend their time, by py-spy from outside: a share for each library, and every stack."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.config import ROOT
from tests.bench.arena import Arena
from tests.bench.peers.environments import make_environment

HERE = Path(__file__).parent / "profiler"
# Samples a second, of threads that hold the interpreter lock: who waits for PostgreSQL or for the lock costs nothing.
RATE, SECONDS = 200, 10
ATTACH_SECONDS = 60
# One frame as py-spy writes it: a function, its file and line.
FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)")
PACKAGE = re.compile(r".*/site-packages/(?P<name>[A-Za-z0-9_]+)")
# Reading and writing JSON, whoever calls it.
JSON = re.compile(r"/(?:lib/python[0-9.]+/json/\w+|app/gateway/strict_json)\.py$")
# What belongs to one decision; a library that is not named stands for itself.
GROUPS = {
    "flask": "Flask", "werkzeug": "Flask", "apiflask": "Flask", "flask_marshmallow": "Flask", "blinker": "Flask",
    "marshmallow": "marshmallow", "webargs": "marshmallow", "apispec": "marshmallow",
    "psycopg": "psycopg", "psycopg_pool": "psycopg", "psycopg_binary": "psycopg", "psycopg_c": "psycopg",
}  # fmt: skip
OURS = "Postbox"


def profile(arena: Arena, pid: int, load: Callable[[], object]) -> dict[str, Any]:
    """Sample the process and its children for `SECONDS` while `load` runs again and again."""
    make_environment(HERE)
    to = arena.directory / "py-spy.txt"
    argv = [str(HERE / ".venv/bin/py-spy"), "record", "--gil", "--subprocesses", "--full-filenames", "--nolineno"]
    argv += ["--format=raw", f"--rate={RATE}", f"--duration={SECONDS}", f"--output={to}", f"--pid={pid}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as spy:
        while spy.poll() is None:
            load()
        told = spy.communicate(timeout=ATTACH_SECONDS)[0]
    assert spy.returncode == 0 and to.exists(), f"py-spy: {told}"
    return read(to.read_text())


def read(text: str) -> dict[str, Any]:
    """Collapsed stacks, `outer;inner count` a line, as shares and as stacks without files."""
    shares: Counter[str] = Counter()
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [match for frame in stack.split(";") if (match := FRAME.fullmatch(frame))]
        if not frames:
            continue
        packages = [_package(frame["file"]) for frame in frames]
        shares[next((name for name in reversed(packages) if name), "Python")] += int(count)
        stacks[tuple(_label(frame["function"], name) for frame, name in zip(frames, packages, strict=True))] += int(
            count
        )
    total = sum(shares.values())
    assert total, "the web processes were busy"
    return {
        "samples": total,
        "shares": {name: round(count / total, 4) for name, count in shares.most_common()},
        "stacks": [[list(stack), count] for stack, count in stacks.items()],
    }


def _package(file: str) -> str | None:
    """Whose code it is; the standard library works for whoever called it."""
    if JSON.search(file):
        return "JSON"
    if found := PACKAGE.match(file):
        return GROUPS.get(found["name"], found["name"])
    return OURS if file.startswith(f"{ROOT}/app/") else None


def _label(function: str, package: str | None) -> str:
    return f"{package}: {function}" if package else function
