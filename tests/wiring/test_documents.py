"""README and runbook say what is true: every setting, command and option they name exists, and none is missing."""

import ast
import re

import click
import pytest

from app.config import ROOT
from cli.main import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
READERS = ("app/config.py", "app/gateway/gunicorn_conf.py")
# Set and read by gunicorn's own metrics library, not by people.
NOT_FOR_PEOPLE = {"PROMETHEUS_MULTIPROC_DIR"}


def environment_names(source: str) -> set[str]:
    """Every upper-case string constant that is an argument or a key of an environment lookup."""
    return {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", node.value)
        and len(node.value) > 3
    }


def test_the_configuration_table_names_exactly_the_variables_that_are_read() -> None:
    read = set().union(*(environment_names((ROOT / path).read_text(encoding="utf-8")) for path in READERS))
    table = README.split("## Configuration")[1].split("## ")[0]
    told = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", "\n".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    assert told == read - NOT_FOR_PEOPLE


def invocations() -> list[list[str]]:
    """Every `postbox ...` in the two documents, as words, up to the first placeholder."""
    found = re.findall(r"(?:^|[`(]|\.venv/bin/)postbox ([a-z][^`#\n]*)", README + RUNBOOK, re.MULTILINE)
    return sorted({tuple(line.split()) for line in found})  # type: ignore[arg-type]


@pytest.mark.parametrize("words", invocations(), ids=" ".join)
def test_a_command_in_the_documents_exists_with_its_options(words: list[str]) -> None:
    command: click.Command = main
    rest = list(words)
    while rest and isinstance(command, click.Group):
        names = [name for name in rest[0].split("|") if name]
        found = [command.get_command(click.Context(command), name) for name in names]
        assert all(found), f"there is no command {rest[0]!r}"
        command = found[0]  # type: ignore[assignment]
        rest.pop(0)
    options = {name for parameter in command.params for name in parameter.opts}
    asked = {word for word in rest if word.startswith("--")}
    assert asked <= options, f"{command.name} has no {asked - options}"


def test_every_table_is_said_once_to_be_kept_or_to_go() -> None:
    schema = (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")
    section = (ROOT / "sql" / "README.md").read_text(encoding="utf-8").split("## What is kept, and what goes")[1]
    named = re.findall(r"`([a-z_0-9]+)`", section.split("\n## ")[0])
    assert sorted(named) == sorted(re.findall(r"^CREATE (?:UNLOGGED )?TABLE postbox\.(\w+)", schema, re.MULTILINE))
