"""What is refused before the application sees it: a HEAD has no content in its answer, and no answer lacks its end."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket

from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from app.gateway.client_socket import ClientSocket
from app.gateway.framing import MAX_BODY_BYTES, MAX_HEAD_BYTES, BodyTooLarge, Incoming
from app.gateway.patient_worker import PatientWorker
from tests.gateway.test_server import server  # noqa: F401 (a fixture)

LINE = b"HEAD / HTTP/1.1\r\nHost: x\r\n"
# By the loop, whose line is there or is not, and by the parser.
REFUSED = {
    b"HEAD /" + b"a" * MAX_HEAD_BYTES: 431,
    LINE + b"A: " + b"b" * MAX_HEAD_BYTES: 431,
    LINE + b"A: b\r\n" * 100 + b"\r\n": 431,
    LINE + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1): 413,
    LINE + b"Transfer-Encoding: gzip\r\n\r\n": 501,
    LINE + b"A: b\r\n" * 70 + b"\r\n": 431,
    LINE + b"A b: c\r\n\r\n": 400,
    b"HEAD /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n": 414,
}


def test_a_head_that_is_refused_gets_no_content_whoever_refuses_it(server):  # noqa: F811
    told = {sent: to_the_end(server.port, sent).partition(b"\r\n\r\n") for sent in REFUSED}
    assert {sent: int(head[9:12]) for sent, (head, _, _) in told.items()} == REFUSED
    assert {content for _, _, content in told.values()} == {b""}


def to_the_end(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(sent)
        return client.makefile("rb").read()


class Worker(PatientWorker):
    """One connection, without a process around it."""

    def __init__(self, conn: TConn) -> None:
        self.poller = selectors.DefaultSelector()
        self.incoming, self.outgoing, self.working, self.lingering = {conn: Incoming()}, {}, {}, {}
        self.worker_connections, self.nr_conns, self.at_most = 10, 1, 0
        self._watch(conn)


def test_a_refusal_for_which_the_kernel_has_no_room_is_sent_when_it_has():
    ours, client = socket.socketpair()
    conn = TConn(Config(), ClientSocket(ours), ("127.0.0.1", 1), None)
    with client, contextlib.closing(conn.sock):
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += conn.sock.send(b"x" * 100)
        worker = Worker(conn)
        worker._refuse(conn, BodyTooLarge(), worker.incoming[conn])
        client.setblocking(False)
        received = bytearray()
        while conn not in worker.lingering:
            with contextlib.suppress(BlockingIOError):
                received += client.recv(65_536)
            worker.wait_for_and_dispatch_events(0)
        client.setblocking(True)
        while chunk := client.recv(65_536):
            received += chunk
        conn.sock.is_over = True
        worker.poller.close()
    head, _, content = bytes(received[sent:]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(content)["code"] == "body_too_large"
