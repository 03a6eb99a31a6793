"""The scripts in bin/ set up .venv by themselves and explain in one line why they cannot."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("run", "test", "lint", "bench")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a space in its path, whose .venv is not made yet."""
    checkout = tmp_path / "my checkout"
    shutil.copytree(ROOT / "bin", checkout / "bin")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    return checkout


@pytest.fixture
def setup(checkout: Path) -> ModuleType:
    """bin/.venv.py of that checkout, as a module."""
    spec = importlib.util.spec_from_file_location("venv_setup", checkout / "bin" / ".venv.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: Path, *arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [command, *arguments], cwd=cwd, env=os.environ | env, capture_output=True, text=True, timeout=60
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def fit_venv(checkout: Path, setup: ModuleType, extras: list[str]) -> None:
    """Make .venv look finished: a Python, a stamp, and a postbox that tells how it was called."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    program(checkout / ".venv" / "bin" / "postbox", 'echo "postbox $*"')
    setup.STAMP.write_text(setup.json.dumps({"fingerprint": setup._fingerprint(), "extras": extras}))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_executable_and_parses(script: str) -> None:
    path = ROOT / "bin" / script
    assert path.stat().st_mode & stat.S_IXUSR
    assert subprocess.run(["bash", "-n", path]).returncode == 0


def test_ci_runs_lint_and_test_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["bin/lint", "bin/test"]


def test_a_python_that_is_too_old_is_one_clear_line(checkout: Path) -> None:
    old = program(checkout / "old", 'case "$2" in *exit*) exit 1;; esac\necho "3.9.18 at /usr/bin/python3.9"')
    ran = run(checkout / "bin" / "run", cwd=checkout, PYTHON=str(old))
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "Postbox needs Python 3.11 or newer and found 3.9.18 at /usr/bin/python3.9: "
        "install one, or set PYTHON to its path"
    ]


def test_no_python_at_all_is_one_clear_line(checkout: Path) -> None:
    ran = run(checkout / "bin" / "run", cwd=checkout, PYTHON="/no/such/python")
    assert "found none" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_a_finished_venv_is_used_at_once_from_anywhere_and_through_symlinks(
    checkout: Path, tmp_path: Path, setup: ModuleType
) -> None:
    fit_venv(checkout, setup, [])
    link = tmp_path / "link"
    link.symlink_to(checkout / "bin" / "run")
    ran = run(link, "--port", "9000", cwd=tmp_path)
    assert (ran.stdout, ran.stderr) == ("postbox dev --port 9000\n", "")


def test_a_venv_is_stale_when_the_dependencies_the_extras_or_the_place_change(
    checkout: Path, setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_venv(checkout, setup, ["dev"])
    assert setup._installed() == {"", "dev"}
    assert not setup._installed() >= {"docs"}
    with monkeypatch.context() as moved:
        moved.setattr(setup, "ROOT", setup.ROOT.parent)
        shutil.copytree(checkout, checkout.parent, dirs_exist_ok=True, symlinks=True)
        assert setup._installed() == set()
    (checkout / "setup.cfg").write_text("[metadata]\n")
    assert setup._installed() == set()


@pytest.mark.parametrize(
    "output, told",
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("NewConnectionError('<...>: Failed to establish')\nERROR: No matching distribution found for x", "network"),
        ("Failed to establish: [Errno -3] Temporary failure in name resolution", "network"),
        ("ERROR: No matching distribution found for psycopg-binary", "machine and Python (psycopg-binary)"),
        ("The virtual environment was not created because ensurepip is not available.", "apt install python3-venv"),
        ("something else\nERROR: odd\n", "ERROR: odd"),
    ],
)
def test_what_stopped_an_installation_is_told_in_one_line(setup: ModuleType, output: str, told: str) -> None:
    cause = setup._cause(output)
    assert told in cause
    assert "\n" not in cause


def test_an_installation_without_network_fails_in_one_line_and_is_not_taken_for_finished(
    checkout: Path, setup: ModuleType
) -> None:
    # Stands for the interpreter of a venv: `pip` fails as it does without a network.
    program(checkout / "python", 'echo "NewConnectionError: no route"; exit 1')
    setup._create = lambda: program(setup.VENV / "bin" / "python", f'exec "{checkout}/python"')
    assert setup.main(["dev"]) == 1
    assert not setup.STAMP.exists()


def test_a_full_disk_stops_before_anything_is_installed(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "FREE_BYTES", 1 << 62)
    assert setup.main([]) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not setup.VENV.exists()


def test_one_that_waits_for_another_says_so_and_then_finds_the_work_done(checkout: Path, setup: ModuleType) -> None:
    with setup._locked():
        waiting = subprocess.Popen([sys.executable, checkout / "bin" / ".venv.py"], stderr=subprocess.PIPE, text=True)
        assert waiting.stderr
        assert waiting.stderr.readline() == "Another command is setting up .venv: waiting for it\n"
        fit_venv(checkout, setup, [])
    assert waiting.communicate(timeout=20)[1] == ""
    assert waiting.returncode == 0
