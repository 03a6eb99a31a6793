"""Capture and cancel: what may be asked of a payment, when, and what happens when two ask at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app.model.operation import params_sha256
from app.model.states import State
from tests import factories
from tests.gateway.waiting import until_waiting

OPERATIONS = "select * from operations where kind in ('capture', 'cancel')"


def test_a_capture_is_an_operation_that_wakes_its_handler(api, payment_in, sql):
    _, name = payment_in("authorized")
    answer = api.post(f"/v1/payments/{name}/capture", {"amount": 600})
    shown = answer.get_json()
    assert answer.status_code == 202
    assert (shown["object"], shown["kind"], shown["status"], shown["payment"]) == (
        "operation",
        "capture",
        "pending",
        name,
    )
    row = sql.execute(OPERATIONS).fetchone()
    assert shown["id"] == f"op_{row['id'].hex}"
    assert row["params"]["amount_to_capture"] == 600
    assert row["params"]["metadata"]["operation_id"] == str(row["id"])
    assert row["params_sha256"] == params_sha256(row["params"])
    wanted = "select handler from deliveries where topic = 'operation.requested'"
    assert [delivery["handler"] for delivery in sql.execute(wanted)] == ["run_operation"]


@pytest.mark.parametrize("body", [None, {}])
def test_a_capture_without_an_amount_is_of_all_that_is_authorized(api, payment_in, body):
    row, name = payment_in("authorized")
    assert api.post(f"/v1/payments/{name}/capture", body).get_json()["amount"] == row["amount_authorized"]


@pytest.mark.parametrize(
    "amount, currency, code", [(1_001, "usd", "invalid"), (0, "usd", "invalid"), (505, "kwd", "amount_refused")]
)
def test_a_capture_that_the_provider_would_refuse_is_refused(api, payment_in, sql, amount, currency, code):
    _, name = payment_in("authorized", currency=currency)
    answer = api.post(f"/v1/payments/{name}/capture", {"amount": amount})
    assert (answer.status_code, answer.get_json()["code"]) == (422, code)
    assert [error["pointer"] for error in answer.get_json()["errors"]] == ["/amount"]
    assert sql.execute(OPERATIONS).fetchall() == []


def test_captures_are_for_authorized_payments_only(api, payment_in, sql):
    for state in set(State) - {State.AUTHORIZED}:
        _, name = payment_in(state.value)
        answer = api.post(f"/v1/payments/{name}/capture")
        assert answer.status_code == 409
        assert (answer.get_json()["code"], answer.get_json()["state"]) == ("state_conflict", state)
    assert sql.execute(OPERATIONS).fetchall() == []


def test_a_cancel_before_anybody_was_asked_is_immediate(api, payment_in, sql):
    row, name = payment_in("initiated")
    answer = api.post(f"/v1/payments/{name}/cancel")
    shown = answer.get_json()
    assert answer.status_code == 200
    assert (shown["object"], shown["state"], shown["cancel_reason"]) == ("payment", "canceled", "requested")
    assert sql.execute("select from operations").fetchall() == []
    entry = sql.execute("select * from audit_log where action = 'payment.canceled'").fetchone()
    assert (entry["actor_type"], entry["actor_id"], entry["payment_id"]) == ("api", api.key.id, row["id"])


@pytest.mark.parametrize("state", ["requires_action", "authorized"])
def test_a_cancel_of_what_the_provider_holds_is_an_operation(api, payment_in, sql, state):
    _, name = payment_in(state)
    answer = api.post(f"/v1/payments/{name}/cancel", {"reason": "duplicate"})
    assert (answer.status_code, answer.get_json()["kind"]) == (202, "cancel")
    row = sql.execute(OPERATIONS).fetchone()
    assert (row["reason"], row["params"]["reason"], row["step"]) == ("duplicate", "duplicate", "cancel")
    assert api.get(f"/v1/payments/{name}").get_json()["state"] == state


def test_a_cancel_comes_too_late_in_every_other_state(api, payment_in):
    for state in set(State) - {State.INITIATED, State.REQUIRES_ACTION, State.AUTHORIZED}:
        _, name = payment_in(state.value)
        answer = api.post(f"/v1/payments/{name}/cancel")
        assert (answer.status_code, answer.get_json()["state"]) == (409, state)


def test_a_second_request_while_one_is_open_is_refused(api, payment_in, sql):
    _, name = payment_in("authorized")
    assert api.post(f"/v1/payments/{name}/capture", {"amount": 1}).status_code == 202
    for what in ("capture", "cancel"):
        answer = api.post(f"/v1/payments/{name}/{what}")
        assert (answer.status_code, answer.get_json()["code"]) == (409, "operation_open")
    assert len(sql.execute(OPERATIONS).fetchall()) == 1


def test_capture_and_cancel_at_once_have_one_winner(api, payment_in, sql, database):
    row, name = payment_in("authorized")
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("select from payments where id = %s for update", [row["id"]])
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(api.post, f"/v1/payments/{name}/{what}") for what in ("capture", "cancel")]
        until_waiting(sql, 2)
        blocker.commit()
        statuses = sorted(future.result().status_code for future in running)
    assert statuses == [202, 409]
    assert len(sql.execute(OPERATIONS).fetchall()) == 1


def test_a_cancel_that_meets_the_workers_claim_loses(api, payment_in, sql, database):
    row, name = payment_in("initiated")
    worker = database.connect(autocommit=False)
    factories.act(worker, "worker", merchant_id=str(row["merchant_id"]))
    factories.update_payment(worker, row, state="submitting")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(api.post, f"/v1/payments/{name}/cancel")
        until_waiting(sql, 1)
        worker.commit()
        answer = running.result()
    assert (answer.status_code, answer.get_json()["state"]) == (409, "submitting")
    assert api.get(f"/v1/payments/{name}").get_json()["state"] == "submitting"


def test_a_worker_that_meets_the_cancel_finds_nothing_to_submit(api, payment_in, sql):
    row, name = payment_in("initiated")
    assert api.post(f"/v1/payments/{name}/cancel").get_json()["state"] == "canceled"
    with pytest.raises(Exception, match="no edge") as refused, factories.acting(sql, "worker"):
        factories.update_payment(sql, row, state="submitting")
    assert refused.value.sqlstate == "PB001"


def test_a_payment_locked_for_too_long_is_busy(api, payment_in, database, app, monkeypatch):
    row, name = payment_in("authorized")
    blocker = database.connect(admin=True, autocommit=False)
    blocker.execute("select from payments where id = %s for update", [row["id"]])
    answer = api.post(f"/v1/payments/{name}/capture")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "busy")
    assert answer.headers["Retry-After"] == "1"
