"""Holds the durable ledger to its promise: what was answered survives kill -9, and damage is named."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stripe

from tests.sandbox.process import ROOT, SECRET, Receiver, Sandbox, wait_for


def test_everything_answered_survives_kill_9(start: Callable[..., Sandbox]) -> None:
    # nothing may become due by itself between the two looks
    sandbox = start("--balance-after", "1000", "--available-after", "1000")
    intent = sandbox.pay(capture_method="automatic", metadata={"payment_id": "p1"})
    refund = sandbox.client.refunds.create({"payment_intent": intent.id, "amount": 300})
    dispute = sandbox.post(f"charges/{sandbox.pay().latest_charge.id}/dispute")
    before = sandbox.get("ledger")
    events = [event.id for event in sandbox.client.events.list({"limit": 100}).data]
    sandbox.kill()
    sandbox.start()
    assert sandbox.get("ledger") == before
    assert [event.id for event in sandbox.client.events.list({"limit": 100}).data] == events
    assert sandbox.client.refunds.retrieve(refund.id).amount == 300
    assert sandbox.client.disputes.retrieve(dispute["id"]).status == "needs_response"
    assert sandbox.client.charges.list({"payment_intent": intent.id}).data[0].amount_refunded == 300


def test_a_key_survives_kill_9_byte_for_byte(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    intent = sandbox.create()
    first = sandbox.confirm(intent.id, key="kept").last_response.body
    sandbox.kill()
    sandbox.start()
    again = sandbox.confirm(intent.id, key="kept").last_response
    assert (again.body, again.headers["Idempotent-Replayed"]) == (first, "true")


def test_the_clock_and_what_is_due_survive_kill_9(start: Callable[..., Sandbox]) -> None:
    sandbox = start("--bank-after", "86400")
    intent = sandbox.pay("pm_usBankAccount_success")
    sandbox.post("clock", advance=3600)
    sandbox.kill()
    sandbox.start()
    assert sandbox.get("clock")["offset"] == 3600
    assert sandbox.client.payment_intents.retrieve(intent.id).status == "processing"
    sandbox.post("clock", advance=86_400)
    assert sandbox.client.payment_intents.retrieve(intent.id).status == "succeeded"


def test_new_ids_do_not_repeat_old_ones(start: Callable[..., Sandbox]) -> None:
    sandbox = start("--seed", "one")
    made = [sandbox.create().id for _ in range(3)]
    sandbox.kill()
    sandbox.start()
    assert sandbox.create().id not in made


def test_webhooks_undelivered_at_the_crash_go_on(start: Callable[..., Sandbox], receiver: Receiver) -> None:
    receiver.answer = lambda body: 503
    sandbox = start("--webhook-url", receiver.url, "--webhook-secret", SECRET, "--time-scale", "0.02")
    sandbox.create()
    wait_for(lambda: receiver.bodies("payment_intent.created"), "a first attempt")
    sandbox.kill()
    receiver.seen.clear()
    receiver.answer = lambda body: 200
    sandbox.start()
    wait_for(lambda: receiver.bodies("payment_intent.created"), "the delivery after the restart")
    wait_for(lambda: sandbox.get("health")["undelivered_events"] == 0, "nothing left")


def test_a_receiver_that_moved_gets_what_was_left_and_the_old_address_nothing(
    start: Callable[..., Sandbox], receiver: Receiver
) -> None:
    receiver.answer = lambda body: 503
    sandbox = start("--webhook-url", receiver.url, "--time-scale", "0.02")
    sandbox.create()
    wait_for(lambda: receiver.seen, "a first attempt")
    sandbox.kill()
    receiver.seen.clear()
    moved = Receiver()
    try:
        sandbox.options = ("--webhook-url", moved.url, "--time-scale", "0.02")
        sandbox.start()
        wait_for(lambda: moved.bodies("payment_intent.created"), "the delivery to the new address")
        assert receiver.seen == []
        assert len(sandbox.get("webhooks/endpoints")["endpoints"]) == 1
    finally:
        moved.stop()


def test_a_crash_under_load_leaves_each_payment_whole(start: Callable[..., Sandbox]) -> None:
    sandbox = start("--balance-after", "0")
    intents = [sandbox.create().id for _ in range(60)]
    answered: list[str] = []
    enough = threading.Event()

    def confirm(mine: list[str]) -> None:
        for ident in mine:
            try:
                sandbox.confirm(ident, key=f"crash-{ident}")
            except stripe.APIConnectionError:
                return
            answered.append(ident)
            if len(answered) >= 15:
                enough.set()

    threads = [threading.Thread(target=confirm, args=(intents[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(10)
    sandbox.kill()
    for thread in threads:
        thread.join()
    sandbox.start()
    assert len(answered) < 60, "killed too late to prove anything"
    for ident in intents:
        payment = sandbox.ledger(ident)
        kept = sandbox.get("idempotency", key=f"crash-{ident}")["record"] is not None
        assert (payment["status"] == "succeeded") == (len(payment["charges"]) == 1) == kept
        assert kept or ident not in answered
        assert sandbox.confirm(ident, key=f"crash-{ident}").status == "succeeded"
    assert sandbox.get("ledger")["summary"]["captured_charges"] == 60


def run(data: Path, *options: str) -> Any:
    command = [sys.executable, "-m", "cli.sandbox", "stripe", "--port", "0", "--data", str(data), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15, check=False)


def test_a_torn_last_line_is_dropped_with_a_warning(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    intent = sandbox.create()
    sandbox.kill()
    whole = sandbox.data.read_bytes()
    sandbox.data.write_bytes(whole + b'{"n":99,"do":[{"put":{"id":"pi_')
    sandbox.start()
    assert sandbox.client.payment_intents.retrieve(intent.id).id == intent.id
    assert sandbox.data.read_bytes() == whole
    sandbox.process.terminate()
    assert "torn" in sandbox.finish()[1]


def test_damage_in_the_middle_is_one_clear_line(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    sandbox.create()
    sandbox.create()
    sandbox.kill()
    lines = sandbox.data.read_bytes().splitlines(keepends=True)
    lines[1] = b"garbage\n"
    sandbox.data.write_bytes(b"".join(lines))
    ended = run(sandbox.data)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [f"postbox sandbox stripe: {sandbox.data} line 2 is damaged"]


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.json"
    other.write_text('{"mine": true}\n')
    ended = run(other)
    assert (ended.returncode, other.read_text()) == (1, '{"mine": true}\n')
    assert ended.stderr.count("\n") == 1


def test_a_full_disk_ends_the_server_with_one_line_and_no_lie(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    sandbox.kill()
    limit = ["sh", "-c", 'ulimit -f 64; exec "$@"', "sh"]
    command = [
        sys.executable,
        "-m",
        "cli.sandbox",
        "stripe",
        "--port",
        "0",
        "--data",
        str(sandbox.data),
        "--quiet",
    ]
    with subprocess.Popen(
        [*limit, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as full:
        assert full.stdout
        sandbox.url = full.stdout.readline().split()[-1]
        sandbox.client = sandbox.make_client(5)
        made: list[str] = []
        try:
            while len(made) < 1000:
                made.append(sandbox.create().id)
        except stripe.APIConnectionError:
            errors = full.communicate(timeout=10)[1]
    assert full.returncode == 1
    assert (errors.count("\n"), "cannot write" in errors) == (1, True)
    sandbox.start()
    for ident in made:
        assert sandbox.client.payment_intents.retrieve(ident).id == ident


def test_two_servers_cannot_share_a_ledger(start: Callable[..., Sandbox]) -> None:
    ended = run(start().data)
    assert ended.returncode == 1
    assert "in use" in ended.stderr
