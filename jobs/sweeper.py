"""The worker's own clock: threads that call each pass at its own interval; a database that is away is waited for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from app import errors
from app.services.deliveries import describe
from jobs import provider_runs, reconcile, sweep
from jobs.first_due import FirstDue
from jobs.runtime import Runtime

log = structlog.get_logger()

# What is called this rarely may come any time within its interval first: a worker that starts has other things to do.
RARELY_SECONDS = 60.0

# Seconds between two calls, and the call.
Pass = tuple[float, Callable[[], int]]


def moving_passes(runtime: Runtime) -> list[Pass]:
    """What moves payments on."""
    timing = runtime.timing
    leases, observations = FirstDue("leases"), FirstDue("observe")
    events = {lane: FirstDue(f"lost_jobs_{lane}") for lane in sweep.LANES}

    def promote() -> int:
        promoted = sweep.promote_once(runtime)
        if promoted:
            runtime.waker.wake()
        return promoted

    return [
        (timing.sweep_promote, promote),
        (timing.sweep_leases, lambda: sweep.expire_leases_once(runtime, leases)),
        (timing.sweep_jobs, lambda: sweep.rescue_once(runtime)),
        (timing.sweep_jobs, lambda: sweep.find_lost_jobs_once(runtime, events)),
        (timing.sweep_clock, lambda: sweep.observe_due_once(runtime, observations)),
        (timing.sweep_clock, lambda: sweep.expire_actions_once(runtime)),
        (timing.sweep_clock, lambda: sweep.prune_keys_once(runtime)),
    ]


def comparing_passes(runtime: Runtime) -> list[Pass]:
    """What compares books; in a thread of its own, so that a night of it delays no payment."""
    timing, first_due = runtime.timing, FirstDue("reconcile")
    return [
        (timing.sweep_reconcile, lambda: reconcile.compare_due_once(runtime, first_due)),
        (timing.reconcile_sweep, lambda: reconcile.arm_silent_once(runtime)),
        (timing.sweep_clock, lambda: reconcile.tell_unacknowledged_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.compare_lines_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.ask_about_payouts_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.request_runs_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.prove_again_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.compare_night_once(runtime)),
        (timing.sweep_clock, lambda: provider_runs.compare_ledger_once(runtime)),
    ]


class Sweeper:
    """One thread and its passes."""

    def __init__(self, runtime: Runtime, passes: list[Pass], *, name: str) -> None:
        self._runtime = runtime
        self._passes = passes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        due = [
            time.monotonic() + (random.uniform(0, every) if every > RARELY_SECONDS else 0) for every, _ in self._passes
        ]
        while not self._stop.is_set():
            for index, (every, call) in enumerate(self._passes):
                if time.monotonic() >= due[index]:
                    self._guarded(call)
                    due[index] = time.monotonic() + every
            self._stop.wait(max(0.0, min(due) - time.monotonic()))

    def _guarded(self, call: Callable[[], int]) -> None:
        try:
            call()
        except (errors.DatabaseDown, errors.Busy) as error:
            log.warning("a sweep waits", why=error.code)
            self._stop.wait(self._runtime.timing.poll)
        except Exception as error:
            # not the exception as it is: a database error's text holds whole rows
            log.error("a sweep failed; it runs again at its next interval", exception=describe(error).traceback)
