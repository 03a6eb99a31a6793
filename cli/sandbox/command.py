"""Owns the command line of the sandbox: options in, one running server out; it decides nothing else."""

import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import click

from cli.sandbox.clock import Clock, Timing
from cli.sandbox.control import Control
from cli.sandbox.endpoints import set_started_with
from cli.sandbox.exchange import Exchange, Reply, Request
from cli.sandbox.faults import Faults
from cli.sandbox.journal import Journal, JournalError
from cli.sandbox.server import Server
from cli.sandbox.tasks import keep_time
from cli.sandbox.traffic import Traffic
from cli.sandbox.webhooks import Webhooks
from cli.sandbox.world import World

DEFAULTS = Timing()


def _check_urls(_context: click.Context, _option: click.Parameter, urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise click.BadParameter(f"{url} does not start with http:// or https://")
    return urls


@click.group()
def sandbox() -> None:
    """Stand-ins for the providers, for development and tests."""


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=12111, show_default=True, help="0 picks a free one.")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), default=".postbox/stripe-sandbox.jsonl",
              show_default=True, help="The sandbox's own durable ledger.")  # fmt: skip
@click.option("--api-key", "api_keys", multiple=True, default=["sk_test_postbox"], show_default=True)
@click.option(
    "--webhook-url",
    "urls",
    multiple=True,
    callback=_check_urls,
    help="Send every event there; may be given more than once.",
)
@click.option("--webhook-secret", default="whsec_postbox", show_default=True)
@click.option("--seed", help="Makes the ids of a new ledger repeatable.")
@click.option("--time-scale", default=1.0, show_default=True, help="Multiplies every duration; 0.01 for tests.")
@click.option("--available-after", default=DEFAULTS.available_after, show_default=True,
              help="Seconds until a balance transaction is available.")  # fmt: skip
@click.option("--balance-after", default=DEFAULTS.balance_after, show_default=True,
              help="Seconds until an asynchronous capture has its balance transaction.")  # fmt: skip
@click.option("--bank-after", default=DEFAULTS.bank_after, show_default=True,
              help="Seconds until a bank debit succeeds or fails.")  # fmt: skip
@click.option("--hold", default=DEFAULTS.hold, show_default=True, help="Seconds a timeout fault holds a connection.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def stripe(
    host: str,
    port: int,
    data: Path,
    api_keys: tuple[str, ...],
    urls: tuple[str, ...],
    webhook_secret: str,
    seed: str | None,
    time_scale: float,
    available_after: float,
    balance_after: float,
    bank_after: float,
    hold: float,
    quiet: bool,
) -> None:
    """Serve Stripe's API on this machine, with its own ledger and clock. The control endpoints are in the README."""
    timing = Timing(available_after=available_after, balance_after=balance_after, bank_after=bank_after, hold=hold)
    try:
        journal = Journal(data)
        world = World(journal, Clock(), timing.scaled(time_scale), seed or secrets.token_hex(8))
    except (JournalError, OSError) as error:
        _die(str(error))
    if journal.warning:
        click.echo(f"warning: {journal.warning}", err=True)
    faults, traffic = Faults(world.seed), Traffic()
    webhooks = Webhooks(world, faults)
    exchange = Exchange(world, list(api_keys), faults, traffic)
    control = Control(world, faults, traffic, webhooks)

    def answer(request: Request) -> Reply:
        return (control if request.target.startswith("/_sandbox/") else exchange).serve(request)

    try:
        server = Server(host, port, answer)
    except (OSError, OverflowError) as error:
        _die(f"cannot listen on {host}:{port}: {error}")
    # An address that means all of them is none a browser can open.
    world.base_url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{server.port}"
    with world.change():
        set_started_with(world, list(urls), webhook_secret)
    _run(server, world, webhooks, quiet)
    journal.close()


def _run(server: Server, world: World, webhooks: Webhooks, quiet: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    webhooks.start()
    threading.Thread(target=keep_time, args=(world, stop), daemon=True).start()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    # Whoever started the server reads this line, so it is printed even when nothing else is.
    click.echo(f"listening on {world.base_url}")
    if not quiet:
        click.echo(f"ledger {world.journal.path}, account {world.account}", err=True)
    stop.wait()
    server.stopping.set()
    server.shutdown()
    webhooks.stop()
    world.on_task()
    # The lock is kept: no half-done change may write after the ledger is closed.
    world.lock.acquire()


def _die(message: str) -> NoReturn:
    click.echo(f"postbox sandbox stripe: {message}", err=True)
    sys.exit(1)
