"""Secrets come from the environment or from files, one of the two; anything unusable is one clear line.

And what production waits for and counts to is what was agreed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import UNSAFE_ACCEPTED, SettingsError, Timing, load_settings
from app.db import migrate
from app.db.pool import Timeouts
from app.gateway import framing, strict_json
from app.providers.stripe import webhooks
from app.services import circuits, deliveries, status
from cli import session
from jobs import turn, worker
from jobs.app import make_app
from jobs.run import PUTTING_OFF, RECORDING

SECRETS = (
    "DATABASE_URL", "POSTBOX_MIGRATION_URL", "POSTBOX_OPERATOR_URL", "POSTBOX_KEY_PEPPER", "POSTBOX_OPERATOR_KEY",
    "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS",
)  # fmt: skip
GIVEN = {"DATABASE_URL": "postgresql://db"}


def held(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_the_secret_in_the_environment(tmp_path: Path, name: str, end: str) -> None:
    by_value = load_settings(GIVEN | {name: "a,secret = 1"})
    in_file = {f"{name}_FILE": held(tmp_path / "secret", f"a,secret = 1{end}")}
    assert load_settings({k: v for k, v in GIVEN.items() if k != name} | in_file) == by_value


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    both = GIVEN | {name: "one", f"{name}_FILE": held(tmp_path / "secret", "two")}
    with pytest.raises(SettingsError, match=f"{name} and {name}_FILE are both set"):
        load_settings(both)


def test_a_file_that_is_missing_or_empty_is_one_line_without_its_content(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STRIPE_API_KEY_FILE cannot be read: /nowhere"):
        load_settings(GIVEN | {"STRIPE_API_KEY_FILE": "/nowhere"})
    with pytest.raises(SettingsError, match="STRIPE_API_KEY_FILE is empty"):
        load_settings(GIVEN | {"STRIPE_API_KEY_FILE": held(tmp_path / "secret", "\n")})


def test_the_queue_is_opened_with_a_database_url_from_a_file_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", held(tmp_path / "url", "host=from-a-file\n"))
    assert "from-a-file" in make_app().connector._pool_args["conninfo"]


@pytest.mark.parametrize("value", ["1", "on", "yes", "true", UNSAFE_ACCEPTED.upper(), ""])
def test_an_unsafe_postgres_is_accepted_only_when_told_twice(value: str) -> None:
    named = {"POSTBOX_UNSAFE_SETTINGS": "fsync, synchronous_commit"}
    accepted = {"POSTBOX_UNSAFE_POSTGRES": UNSAFE_ACCEPTED}
    for once in (named, accepted, named | {"POSTBOX_UNSAFE_POSTGRES": value}):
        assert not load_settings(GIVEN | once).unsafe_postgres
    assert load_settings(GIVEN | named | accepted).unsafe_postgres == {"fsync", "synchronous_commit"}


MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
# What the design and the domain say in figures, each with where they say it: who changes one changes a promise.
AGREED = {
    "idempotency_lock": 1.0,  # the way of the data: a request that still runs after 1 s is a 409
    "lease": 30.0,  # provider protocol: a lease of 30 s, taken anew per call
    "sweep_leases": 5.0,  # provider protocol: expired leases are swept every 5 s
    "provider_connect": 3.0,  # the Stripe SDK: timeout=(3, 20), where its own is 80
    "provider_read": 20.0,  # the same, and so below the lease
    "retry_first": 15.0,  # only failures count: 15 s, then four times that
    "deferral_cap": DAY,  # only failures count: deferrals are capped at 24 h
    "key_reusable_for": 23 * HOUR,  # provider protocol: Stripe may forget a key after 24 h
    "circuit_open": 30.0,  # the circuit breaker: half-open, one probe, after 30 s
    "unrouted_for": 15 * MINUTE,  # webhooks of an unknown payment, scenario 19
    "action_window": DAY,  # requires_action -> canceled, scenario 28
    "outcome_due_card": 10 * MINUTE,  # how long `submitted` may last: a card 10 min,
    "outcome_due_bank": 5 * DAY,  # a bank debit five, of which the domain counts working days
    "changes_every": HOUR,  # scenario 21: what webhooks did not tell is asked for by the hour,
    "changes_overlap": 48 * HOUR,  # and two days back, for what is listed late
    "sweep_reconcile": 0.5,  # books that do not meet are flagged within seconds of the evidence,
    "sweep_clock": 5.0,  # and within a minute of a deadline that passed in silence
    "reconcile_sweep": 10 * MINUTE,  # reconciliation: what is not at rest every ten minutes,
    "balance_every": DAY,  # the provider's balance by the day,
    "night_every": DAY,  # and everything by night,
    "night_back": 90 * DAY,  # ninety days back
    "decision_window": DAY,  # four eyes: an approval within 24 h
    "resolve_schedule": (0.0, 10.0, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR),  # the error classes: ambiguous
}
COUNTED = (
    (deliveries.FAILURE_LIMIT, 3),  # only failures count: the third is a dead letter
    (deliveries.BACKOFF_FACTOR, 4),  # 15 s, then 60 s
    (deliveries.BACKOFF_JITTER, 0.2),  # give or take a fifth
    (deliveries.RESCUE_LIMIT, 20),  # the twentieth rescue is a dead letter marked `crash`
    (circuits.FAILURES_TO_OPEN, 5),  # the circuit breaker: five in a row
    (turn.GROUP_SIZE, 100),  # carrying: one and up to 99 siblings,
    (turn.GROUP_SECONDS, 0.050),  # and 50 ms of work
    (webhooks.TOLERANCE, 300.0),  # webhooks: five minutes both ways
    (framing.MAX_BODY_BYTES, 256 * 1024),  # webhooks: over 256 KiB is a 413
    (strict_json.LARGEST, 2**53 - 1),  # money: what every JSON reader can hold
    (strict_json.MAX_DEPTH, 32),  # strict JSON
    (migrate.LOCK_TIMEOUT_MS, 2_000),  # migrations: lock_timeout 2 s, and again
    (status.RUNNABLE_SECONDS, MINUTE),  # alerts: the oldest runnable delivery,
    (status.UNKNOWN_SECONDS, 15 * MINUTE),  # and the oldest unknown outcome
)


def test_production_waits_as_long_as_was_agreed() -> None:
    assert {name: getattr(Timing(), name) for name in AGREED} == AGREED
    assert load_settings(GIVEN).timing == Timing(), "nothing scales it by itself"
    assert Timeouts() == Timeouts(statement=5_000, lock=2_000, idle=10_000)


@pytest.mark.parametrize("timeouts", [Timeouts(), RECORDING, PUTTING_OFF, session.TIMEOUTS, session.READS_EVERYTHING])
def test_who_waits_in_vain_for_a_lock_hears_of_the_lock(timeouts: Timeouts) -> None:
    """The clock of the statement starts first."""
    assert timeouts.lock < timeouts.statement
    assert Timing().idempotency_lock * 1_000 < Timeouts().statement


def test_production_counts_as_far_as_was_agreed() -> None:
    assert [real for real, _ in COUNTED] == [agreed for _, agreed in COUNTED]
    assert worker.LEAVE_SECONDS < 25, "SIGTERM drains within 25 s"
