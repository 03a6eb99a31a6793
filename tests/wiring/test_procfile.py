"""What the Procfile types exists."""

from __future__ import annotations

import shlex

import click
import pytest

from app.config import ROOT
from app.gateway import create_app
from cli.main import main

LINES = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line.strip())


def test_the_processes_are_release_web_and_worker() -> None:
    assert set(LINES) == {"release", "web", "worker"}


@pytest.mark.parametrize("process", ["release", "worker"])
def test_a_postbox_command_of_the_procfile_exists(process: str) -> None:
    program, *words = shlex.split(LINES[process])
    assert program == "postbox"
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None


def test_the_web_process_names_the_factory_and_a_configuration_that_exist() -> None:
    program, target, option, config = shlex.split(LINES["web"])
    assert (program, target, option) == ("gunicorn", "app.gateway:create_app()", "--config")
    assert callable(create_app)
    assert (ROOT / config).exists()
