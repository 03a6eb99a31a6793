"""Owns what happens by itself when the clock reaches it; it decides nothing that an object decides."""

import threading
from collections.abc import Callable
from contextlib import suppress

from cli.sandbox.errors import StripeError
from cli.sandbox.idempotency import prune
from cli.sandbox.objects.balance import release
from cli.sandbox.objects.charges import fill_balance_transaction
from cli.sandbox.objects.confirmations import finish_debit
from cli.sandbox.objects.disputes import open_dispute
from cli.sandbox.objects.payment_intents import expire_authorization
from cli.sandbox.objects.payment_methods import find_method
from cli.sandbox.objects.payouts import arrive_payout, send_payout
from cli.sandbox.objects.refunds import fail_refund, succeed_refund
from cli.sandbox.world import World

# Between two looks at the clock when nothing is known to be due: pruning keys can wait that long.
IDLE_SECONDS = 60.0


def _fill(world: World, ident: str) -> None:
    fill_balance_transaction(world, ident, find_method(world.tables["charge"].rows[ident]["payment_method"]))


def _dispute(world: World, ident: str) -> None:
    method = find_method(world.tables["charge"].rows[ident]["payment_method"])
    if method.dispute:
        open_dispute(world, ident, *method.dispute)


def _fail_refund(world: World, ident: str) -> None:
    fail_refund(world, ident)


VERBS: dict[str, Callable[[World, str], None]] = {
    "release": release,
    "fill": _fill,
    "debit": finish_debit,
    "expire": expire_authorization,
    "dispute": _dispute,
    "refund": succeed_refund,
    "fail_refund": _fail_refund,
    "send_payout": send_payout,
    "arrive_payout": arrive_payout,
}


def run_due_once(world: World) -> int:
    """Do everything that is due, each dated when it fell due; return how many tasks ran."""
    ran = 0
    with world.lock:
        while (due := world.next_due()) is not None and due <= world.now():
            world.clock.freeze(due)
            try:
                with world.change():
                    task = world.take_due()
                    if task is not None:
                        ran += 1
                        # What a task wanted to do may have been overtaken (a refund that failed by hand).
                        with suppress(StripeError):
                            VERBS[task["verb"]](world, task["ref"])
            finally:
                world.clock.thaw()
    return ran


def keep_time(world: World, stop: threading.Event) -> None:
    """Run what falls due until `stop`; wakes early when something nearer is scheduled or the clock is moved."""
    wake = threading.Event()
    world.on_task = wake.set
    while not stop.is_set():
        run_due_once(world)
        prune(world, world.now() - world.timing.key_kept)
        with world.lock:
            due = world.next_due()
            wait = IDLE_SECONDS if due is None else min(IDLE_SECONDS, due - world.now())
        if wait > 0:
            wake.wait(wait)
        wake.clear()
