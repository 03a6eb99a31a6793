"""What a process holds for those who wait is counted, all of it, and no more often than it must be."""

from __future__ import annotations

import tracemalloc
from collections import Counter, deque
from types import SimpleNamespace

import pytest

from app.gateway import raw
from app.gateway.context import EXTENSION
from app.gateway.framing import MOST_FIELDS, HeadTooLarge, Incoming
from app.gateway.patient_worker import MAX_INCOMING_BYTES, PatientWorker
from app.gateway.webhook_worker import WebhookWorker
from tests.gateway.test_plain_webhooks import event, wired


def test_who_sends_little_is_counted_again_only_after_a_body_more():
    """Beyond the bound, where nobody holds more than a share."""
    counted: Counter[str] = Counter()

    class Told(dict[int, Incoming]):
        def values(self):
            counted["all"] += 1
            return super().values()

    places = 2_000
    share = MAX_INCOMING_BYTES // places
    incoming = Told({number: Incoming(bytearray(share)) for number in range(places + 100)})
    worker = SimpleNamespace(at_most=MAX_INCOMING_BYTES, incoming=incoming, working={}, worker_connections=places)
    for _ in range(100):
        PatientWorker._bound(worker, 1_000)
    assert counted == {"all": 1}


def test_a_plain_webhook_that_waits_is_counted_with_its_body_for_itself(app):
    sent = wired(event(1))
    incoming, conn = Incoming(bytearray(sent)), SimpleNamespace(sock=SimpleNamespace(held=0))
    assert incoming.is_whole()

    class Worker(WebhookWorker):
        _is_usual, edge = True, app.extensions[EXTENSION]

        def __init__(self) -> None:
            self.waiting = deque()

        def _begin_work(self, conn) -> None:
            conn.sock.held = len(incoming.buffer)

    worker = Worker()
    worker._let_in(conn, incoming)
    assert len(worker.waiting) == 1
    assert conn.sock.held == len(sent) + len(event(1))


@pytest.mark.parametrize(("length", "more"), [(10, 1), (40_000, 0)])
def test_a_path_is_remembered_unless_it_is_longer_than_any_that_is_let_in(app, length, more):
    before = raw.remembered.cache_info().currsize
    assert raw.template(app, "POST", f"/v1/payments/{'a' * length}/cancel") == "/v1/payments/{payment_id}/cancel"
    assert raw.remembered.cache_info().currsize == before + more


def test_a_head_of_many_fields_is_refused_before_each_is_kept_by_itself():
    fields = b"".join(b"%x:\r\n" % number for number in range(MOST_FIELDS))
    head = b"POST / HTTP/1.1\r\n" + fields
    assert Incoming(bytearray(head + b"\r\n")).is_whole()
    incoming = Incoming(bytearray(head + b"more:\r\n\r\n"))
    with pytest.raises(HeadTooLarge):
        incoming.is_whole()
    assert not incoming.headers


LONG_FIELDS = b"".join(b"X%02d: %s\r\n" % (number, b"v" * 183) for number in range(60))
MANY_FIELDS = b"".join(b"%x:1\r\n" % number for number in range(MOST_FIELDS - 2))


@pytest.mark.parametrize("fields", [LONG_FIELDS, MANY_FIELDS])
def test_of_a_head_whose_body_is_awaited_no_more_is_held_than_is_counted(fields):
    sent = b"POST / HTTP/1.1\r\n" + fields + b"Content-Length: 1000\r\n\r\n"

    def waiting() -> Incoming:
        incoming = Incoming(bytearray(sent))
        assert not incoming.is_whole()
        return incoming

    tracemalloc.start()
    try:
        held = [waiting() for _ in range(50)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # the connection and what belongs to it, which is not the client's choice
    assert taken < sum(len(incoming.buffer) + 1_000 for incoming in held)
