"""What no role and no timing may do: act on another's object, charge what is over, go round for ever."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

import jobs.group
from app.config import PLATFORM_MERCHANT_ID
from app.db.queries import QUERIES
from app.model.outcome import Reply
from app.model.states import State
from app.providers.protocol import ProviderRequest, Step
from jobs.handlers import HANDLERS, LocalHandler
from jobs.sweep import FIRST_OBSERVATION, expire_actions_once
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.worker import Hand
from tests.sql.refusal import answer


def test_only_the_closing_of_an_orphan_names_an_object(conn: factories.Connection) -> None:
    payment = factories.payment(conn, "authorized")
    aim = (
        "insert into operations (merchant_id, payment_id, kind, step, params, params_sha256, target_ref)"
        " values (%(merchant_id)s, %(id)s, 'cancel', 'cancel', '{}', 'x', 'pi_of_another')"
    )
    assert answer(conn, aim, payment, actor="api", merchant_id=payment["merchant_id"]) == "42501"
    assert answer(conn, aim, payment, actor="worker") == "operations_target_ref_only_to_close"


def test_an_operator_cannot_call_a_delivery_done_nor_swap_a_key_nor_give_it_back(conn: factories.Connection) -> None:
    payment = factories.payment(conn)
    key = factories.api_key(conn, payment["merchant_id"])
    drop = "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null"
    swap = f"update api_keys set secret_hmac = sha256('x') where id = '{key.id}'"
    with factories.acting(conn, "operator"):
        conn.execute("update api_keys set revoked_at = clock_timestamp() where id = %s", [key.id])
    assert answer(conn, drop, actor="operator") == "42501"
    assert answer(conn, swap, actor="operator") == "42501"
    assert answer(conn, f"update api_keys set revoked_at = null where id = '{key.id}'", actor="operator") == "PB004"


def test_a_worker_cannot_rewrite_what_the_provider_said_about_money(conn: factories.Connection) -> None:
    rewrite = "update provider_transactions set gross = gross * 2, net = gross * 2 - fee"
    assert answer(conn, rewrite, actor="worker") == "42501"


def test_a_payment_that_may_have_been_sent_is_not_canceled_here(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = factories.payment(hand.connection, method_token="pm_card_visa")
    send, refused = hand.runtime.provider.send, []

    def cancel_meanwhile(request: ProviderRequest) -> Reply:
        cancel = "update payments set state = 'canceled', cancel_reason = 'operator'"
        refused.append(answer(hand.connection, cancel, actor="operator"))
        return send(request)

    monkeypatch.setattr(hand.runtime.provider, "send", cancel_meanwhile)
    assert hand.settle(payment["id"])["state"] == State.SETTLED
    assert set(refused[:2]) == {"PB001"}


def test_a_payment_that_ends_between_create_and_confirm_is_never_confirmed(
    hand: Hand, sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = factories.payment(hand.connection, method_token="pm_card_visa")
    send = hand.runtime.provider.send

    def end_meanwhile(request: ProviderRequest) -> Reply:
        reply = send(request)
        if request.step is Step.CREATE:
            with factories.acting(hand.connection, "worker"):
                ref = reply.outcome.snapshot.ref
                hand.connection.execute("update payments set state = 'submitted', provider_ref = %s", [ref])
                hand.connection.execute("update payments set state = 'canceled', cancel_reason = 'requested'")
        return reply

    monkeypatch.setattr(hand.runtime.provider, "send", end_meanwhile)
    hand.quiet()
    assert hand.payment(payment["id"])["state"] == State.CANCELED
    assert hand.calls(step="confirm") == []
    (intent,) = sandbox.ledger(payment_id=str(payment["id"]))["payments"]
    assert (intent["status"], intent["charges"]) == ("canceled", [])


def test_while_a_circuit_is_open_one_probe_goes_out_and_the_others_wait(database: Clone) -> None:
    admin = database.connect(admin=True)
    admin.execute(
        "insert into circuits (merchant_id, provider, account, state, failures, opened_at, probe_at)"
        " values (%s, 'stripe', 'default', 'open', 5, clock_timestamp(), clock_timestamp())",
        [PLATFORM_MERCHANT_ID],
    )
    ask = {"merchant_id": PLATFORM_MERCHANT_ID, "provider": "stripe", "account": "default", "open_for": 30.0}
    connections = [database.connect(admin=True) for _ in range(4)]
    ready, waits = threading.Barrier(4), []

    def admit(connection: factories.Connection) -> None:
        ready.wait()
        row = connection.execute(QUERIES["circuits.admit"].encode(), ask).fetchone()
        waits.append(row["wait"] if row else None)

    with admin.transaction():
        # all four meet the row while somebody holds it
        admin.execute("select from circuits for update")
        threads = [threading.Thread(target=admit, args=[connection]) for connection in connections]
        for thread in threads:
            thread.start()
        blocked = "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and query like '%%probe%%'"
        while database.connect(admin=True).execute(blocked).fetchone() != {"n": 4}:
            pass
    for thread in threads:
        thread.join()
    assert sorted(wait > 0 for wait in waits) == [False, True, True, True]


def test_an_expired_action_whose_cancel_is_refused_is_not_asked_again_at_every_sweep(hand: Hand, sandbox) -> None:
    payment = factories.payment(hand.connection, "requires_action")
    with factories.acting(hand.connection, "worker"):
        hand.connection.execute("update payments set action_expires_at = clock_timestamp()")
    for _ in range(5):
        expire_actions_once(hand.runtime)
        hand.run_all()
    cancels = hand.connection.execute("select status from operations where kind = 'cancel'").fetchall()
    assert cancels == [{"status": "failed"}]
    assert hand.payment(payment["id"])["state"] == State.REQUIRES_ACTION


@pytest.fixture
def counted(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> float:
    """A group's clock goes by what the server has run: each statement takes so many seconds, on any machine."""
    each, ran = 1 / 128, "select case when is_called then last_value else 0 end as n from ran"
    hand.connection.execute("create sequence ran; grant usage on sequence ran to postbox_worker")

    def slow(tx, delivery, timing) -> None:
        tx.connection.execute("select nextval('ran')")

    clock = SimpleNamespace(monotonic=lambda: hand.connection.execute(ran).fetchone()["n"] * each)
    monkeypatch.setattr(jobs.group, "time", clock)
    monkeypatch.setitem(HANDLERS, "watch_outcome", LocalHandler("watch_outcome", slow))
    merchant = factories.merchant(hand.connection)
    for _ in range(5 * jobs.group.SYNC_EVERY):
        factories.payment(hand.connection, "submitted", merchant_id=merchant["id"])
    return each


def done_in_one_group(hand: Hand) -> int:
    hand.run_one("local")
    done = hand.connection.execute(
        "select count(*) as n from deliveries where lane = 'local' and status = 'done' and handler = 'watch_outcome'"
    ).fetchone()
    return done["n"]


def test_a_group_ends_when_its_time_is_over_however_slow_its_statements(hand: Hand, counted: float) -> None:
    assert done_in_one_group(hand) == int(jobs.turn.GROUP_SECONDS / counted)


def test_a_group_of_what_was_quick_before_ends_by_the_clock_at_most_a_stretch_late(hand: Hand, counted: float) -> None:
    hand.turn.paces["watch_outcome"] = counted / 1_000
    patience = jobs.group.GROUP_PATIENCE / counted
    assert patience < done_in_one_group(hand) <= patience + jobs.group.SYNC_EVERY


def test_a_statement_that_takes_too_long_is_a_failure_in_the_remote_lane(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(hand.runtime.database.timeouts, statement=500, lock=400)
    monkeypatch.setattr(hand.runtime.database, "timeouts", limits)
    handler = replace(
        HANDLERS["submit_payment"],
        handle=lambda run: run.begin(lambda tx: tx.connection.execute("select pg_sleep(9)")),
    )
    monkeypatch.setitem(HANDLERS, "submit_payment", handler)
    factories.payment(hand.connection)
    hand.run_one("remote")
    (delivery,) = hand.open_deliveries()
    assert (delivery["failures"], delivery["deferrals"]) == (1, 0)


@pytest.mark.parametrize(("resolution", "emitted"), [(None, 0), ("discarded", 1)])
def test_a_dead_observation_stops_the_clock_until_somebody_has_dealt_with_it(
    conn: factories.Connection, resolution: str | None, emitted: int
) -> None:
    payment = factories.payment(conn, "confirmed")
    with factories.acting(conn, "worker"):
        conn.execute("update payments set observe_at = clock_timestamp() where id = %(id)s", payment)
        conn.execute("select emit_observation_due(%(merchant_id)s, %(id)s)", payment)
        conn.execute(
            "update deliveries set status = 'dead', dead_at = clock_timestamp(), dead_reason = 'failures',"
            " job_id = null where handler = 'observe_payment'"
        )
    if resolution:
        with factories.acting(conn, "operator"):
            conn.execute(
                "update deliveries set resolution = %s, resolved_by = 'ann', resolved_at = clock_timestamp(),"
                " resolved_reason = 'known' where handler = 'observe_payment'",
                [resolution],
            )
    with factories.acting(conn, "reconciler"):
        seen = conn.execute(QUERIES["payments.due_observations"].encode(), FIRST_OBSERVATION | {"limit": 10}).fetchone()
    assert seen is not None
    assert (seen["seen"], seen["emitted"]) == (1, emitted)
