"""Whatever only looks at the command line tells machines as well as people: `--json` on every read."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from cli.main import main

# Every command that shows what is there and changes nothing.
READS = {
    "check", "states", "status", "trace",
    "discrepancies list", "discrepancies show",
    "disputes list", "disputes show",
    "dlq list", "dlq show",
    "keys list",
    "ledger account", "ledger entry", "ledger trial-balance",
    "merchant-payouts list", "merchant-payouts show",
    "merchants list", "merchants owing",
    "operators list",
    "payments list", "payments show",
    "prices list",
    "proposals list", "proposals show",
    "reconcile balance", "reconcile payout",
    "refunds list", "refunds show",
    "webhooks list", "webhooks show",
}  # fmt: skip
# Every other one: it acts, or it runs, or what it prints is a document.
OTHERS = {
    "dev", "migrate", "openapi", "sandbox stripe", "worker",
    "pause", "resume",
    "discrepancies ack", "discrepancies resolve", "discrepancies write-off",
    "dlq discard", "dlq replay",
    "keys create", "keys revoke", "keys rotate",
    "ledger reverse",
    "merchant-payouts create", "merchant-payouts paid", "merchant-payouts returned",
    "merchants create", "merchants write-off",
    "operators code", "operators create", "operators disable", "operators reset",
    "prices assign", "prices create", "prices provider",
    "proposals approve", "proposals reject",
    "reconcile run",
    "refunds create",
    "reserve hold", "reserve release",
    "webhooks replay",
}  # fmt: skip


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be typed, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None, f"{name} is listed"
        yield from commands(found, *path, name)


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("read", sorted(READS))
def test_every_read_has_json(read: str) -> None:
    assert "--json" in {name for option in COMMANDS[read].params for name in option.opts}


def test_every_command_is_a_read_or_none() -> None:
    assert sorted(COMMANDS) == sorted([*READS, *OTHERS])
