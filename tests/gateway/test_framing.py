"""Where a request ends, the loop and the parser read alike: one request has one answer, and nothing hides in it."""

from __future__ import annotations

import contextlib
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import requests
from gunicorn.config import Config
from gunicorn.http import get_parser

from app.gateway.framing import MAX_BODY_BYTES, MOST_CHUNKS, BodyTooLarge, Incoming
from app.gateway.patient_worker import MAX_INCOMING_BYTES
from app.gateway.wire import PIECE_BYTES, Received
from tests import factories
from tests.fixtures.database import clone
from tests.gateway.test_server import Server, serving
from tests.gateway.test_shedding import AGED
from tests.gateway.test_webhooks import PATH
from tests.gateway.waiting import until

# What an attacker hides in a body, and an honest client sends next.
NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
# Let in and refused before its body is read; refused at the door; let in and read.
WAYS = {"GET /v1/payments": 401, "POST /v1/payments": 503, f"POST {PATH}": 400}
LET_IN = [way for way in WAYS if WAYS[way] != 503]
every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def server(cluster, template, tmp_path_factory):
    """One process of one thread, whose queue is old, so that its door refuses writes."""
    env = {"WEB_CONCURRENCY": "1", "POSTBOX_WEB_THREADS": "1", "POSTBOX_SHED_QUEUE_AGE": "1"}
    env["GUNICORN_CMD_ARGS"] = "--bind 127.0.0.1:{port} --worker-class tests.gateway.hurried.MisreadingWorker"
    home = tmp_path_factory.mktemp("server")
    with contextmanager(clone)(cluster, template) as database, serving(database, home, **env) as running:
        admin = database.connect(admin=True)
        factories.payment(admin, "initiated")
        admin.execute(AGED)
        until(lambda: answered(running, head("POST /v1/payments", "Content-Length: 0")) == [503], "an old queue")
        yield running


def head(way: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"{way} {version}", "Host: x", *fields, "", ""]).encode("latin-1")


def answered(server: Server, first: bytes, then: bytes = b"") -> list[int]:
    """The status of each answer to these bytes; the second ones leave once the first have had their effect."""
    received = b""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.port), 20) as client:
        client.sendall(first)
        assert server.answers("/healthz"), "by the one thread, after whatever came before"
        client.sendall(then)
        client.shutdown(socket.SHUT_WR)
        while chunk := client.recv(65_536):
            received += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


@every_way
@pytest.mark.parametrize("zeros", [1, 13, 14, 40, 4_000])
def test_a_length_with_zeros_before_it_hides_no_request(server, way, zeros):
    assert answered(server, head(way, f"Content-Length: {'0' * zeros}{len(NEXT)}"), NEXT) == [WAYS[way]]


@every_way
@pytest.mark.parametrize("length", ["262145", "1" + "0" * 15, "9" * 40])
def test_a_length_beyond_what_we_take_is_refused_however_long_it_is_written(server, way, length):
    assert answered(server, head(way, f"Content-Length: {length}") + NEXT) == [413]


@pytest.mark.parametrize("way", LET_IN)
def test_a_connection_ends_where_the_parser_ran_out_of_the_body_that_it_was_told_of(server, way):
    hidden = head(way, f"Content-Length: {len(NEXT)}", f"X-Misread: -{len(NEXT)}")
    assert answered(server, hidden, NEXT) == [WAYS[way]]


@pytest.mark.parametrize("way", LET_IN)
def test_and_where_it_left_something_of_what_the_loop_had_given_it(server, way):
    hidden = head(way, "Content-Length: 0", f"X-Misread: {len(NEXT)}")
    assert answered(server, hidden, NEXT) == [WAYS[way]]


SMALL = b"3\r\nabc\r\n0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
# Fields and body of requests whose end somebody might see elsewhere; some are for the parser to refuse, some it takes.
DOUBTFUL = [
    # a length told twice, as a list, or as no plain number
    *[([f"Content-Length: {told}"], b"abc") for told in ("3, 3", "+3", "-3", "0x3", "3.0", "", "3 3", "3;", "\xb3")],
    (["Content-Length: 1_0"], b"0123456789"),
    (["Content-Length: 3", "Content-Length: 3"], b"abc"),
    (["Content-Length: 3", "content-length: 4"], b"abc"),
    (["Content-Length: 3\x0b"], b"abc"),
    # a length and chunks, and another coding than chunks alone
    ([CHUNKED, "Content-Length: 3"], SMALL),
    (["Content-Length: 16", CHUNKED], SMALL),
    *[([f"Transfer-Encoding: {told}"], SMALL) for told in ("", "identity", "gzip, chunked", "chunked, chunked", "x")],
    *[([f"Transfer-Encoding: {told}"], SMALL) for told in ("identity, chunked", "chunked, identity", "chunked;q=1")],
    *[([CHUNKED, f"Transfer-Encoding: {told}"], SMALL) for told in ("chunked", "identity")],
    (["Transfer-Encoding: \x0bchunked"], SMALL),
    (["Transfer-Encoding: identity", CHUNKED], SMALL),
    # lines that go on, or end elsewhere, or name nothing
    (["Content-Length: 3", " 8"], b"abc"),
    ([" X: a", "Content-Length: 3"], b"abc"),
    *[([f"{name}: 3"], b"abc") for name in ("Content-Length ", "Content-Length\t", "Content-Length\x00", "")],
    (["Content-Length"], b""),
    *[([f"X: a{end}Content-Length: 3"], b"abc") for end in ("\n", "\r", "\x00", "\r\r\n")],
    # chunks that are none
    *[([CHUNKED], body) for body in (b"zz\r\n", b"\r\n", b"-1\r\n", b"-0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n")],
    *[([CHUNKED], told + SMALL[1:]) for told in (b"+3", b" 3", b"3 ", b"0x3", b"0_3", b"3;a\rb", b"3;a\nb", b"3;;")],
    ([CHUNKED], b"3\r\nabcd\r\n0\r\n\r\n"),
    ([CHUNKED], b"3\r\nabc0\r\n\r\n"),
    *[([CHUNKED], b"0\r\n" + line + b"\r\n\r\n") for line in (b"Content-Length: 3", b"X : a", b"X: a\nY: b", b" X: a")],
]
# And of those that end at one place for everybody.
CERTAIN = [
    ([], b""),
    (["Content-Length: 3"], b"abc"),
    (["content-LENGTH:\t003 "], b"abc"),
    ([CHUNKED], SMALL),
    (["transfer-encoding:CHUNKED"], b'03 ;a="b;c"\r\nabc\r\n000;a\r\nX: a\r\n\r\n'),
]


@every_way
@pytest.mark.parametrize(("fields", "body"), DOUBTFUL, ids=str)
def test_a_request_whose_end_is_in_doubt_has_one_answer_and_ends_its_connection(server, way, fields, body):
    """Sent with the next one in one piece, and before it."""
    sent = head(way, *fields) + body
    for first, then in ((sent + NEXT, b""), (sent, NEXT)):
        [status] = answered(server, first, then)
        assert status in (400, 501, WAYS[way])


@pytest.mark.parametrize("way", LET_IN)
@pytest.mark.parametrize(("fields", "body"), CERTAIN, ids=str)
def test_one_whose_end_is_certain_is_followed_by_the_next(server, way, fields, body):
    sent = head(way, *fields) + body
    assert answered(server, sent + NEXT) == answered(server, sent, NEXT) == [WAYS[way], 200]


@pytest.mark.parametrize(("fields", "body"), CERTAIN, ids=str)
def test_at_the_door_as_well_unless_it_is_in_chunks(server, fields, body):
    sent = head("POST /v1/payments", *fields) + body
    assert answered(server, sent + NEXT) == ([503] if body.endswith(b"\r\n") else [503, 200])


@every_way
@pytest.mark.parametrize(
    ("version", "fields", "body"),
    [
        ("HTTP/1.0", [CHUNKED, "Connection: keep-alive"], SMALL),
        ("HTTP/1.0", ["Content-Length: 3"], b"abc"),
        *[(version, [], b"") for version in ("HTTP/2.0", "HTTP/1.10", "http/1.1", "x HTTP/1.1", "HTTP/1.1 ", "")],
    ],
)
def test_so_has_one_of_another_version(server, way, version, fields, body):
    [status] = answered(server, head(way, *fields, version=version) + body + NEXT)
    assert status in (400, WAYS[way])


@every_way
def test_an_empty_line_before_a_request_hides_nothing(server, way):
    """gunicorn skips one, as RFC 9112 (2.2) would have it."""
    first, *others = answered(server, b"\r\n" + head(way, "Content-Length: 3") + b"abc" + NEXT)
    assert first != 200 and others in ([], [200])


def test_refusals_that_a_client_does_not_read_at_once_are_all_there_when_it_does(server):
    """More of them than the kernel takes, of requests that were sent in one piece."""
    seen = [refused(server)]
    with ThreadPoolExecutor(1) as pool, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(20)
        client.connect(("127.0.0.1", server.port))
        sent = pool.submit(client.sendall, head("POST /v1/payments", "Content-Length: 0") * 2_000 + NEXT)
        until(
            lambda: seen.append(refused(server)) or seen[0] < seen[-2] == seen[-1], "the process to wait for the client"
        )
        answers = client.makefile("rb")
        assert [status_of(answers) for _ in range(2_001)] == [503] * 2_000 + [200]
        sent.result()


def refused(server: Server) -> int:
    told = requests.get(f"{server.url}/metrics", timeout=60).text
    return int(float(re.search(r'method="POST",route="/v1/payments",status="503"\} (\S+)', told)[1]))


def status_of(answers: BinaryIO) -> int:
    """The status of the next answer, all of which is read."""
    line, length = answers.readline(), 0
    while (field := answers.readline()) != b"\r\n":
        name, _, value = field.partition(b": ")
        assert value, field
        length = int(value) if name == b"Content-Length" else length
    answers.read(length)
    return int(re.fullmatch(rb"HTTP/1\.1 (\d{3}) .+\r\n", line)[1])


def in_chunks(size: int, count: int) -> bytes:
    return head(f"POST {PATH}", CHUNKED) + (b"%x\r\n%s\r\n" % (size, b"x" * size)) * count + b"0\r\n\r\n"


@pytest.mark.parametrize("piece", [7, 1_000_000])
def test_a_body_comes_in_so_many_chunks_and_no_more(piece):
    """The parser pays for each of them, before anybody knows who sends it."""

    def is_whole(sent: bytes) -> bool:
        incoming = Incoming()
        return any(
            incoming.buffer.extend(sent[at : at + piece]) or incoming.is_whole() for at in range(0, len(sent), piece)
        )

    assert is_whole(in_chunks(MAX_BODY_BYTES // MOST_CHUNKS, MOST_CHUNKS))
    with pytest.raises(BodyTooLarge):
        is_whole(in_chunks(1, MOST_CHUNKS + 1))


def test_beyond_that_it_is_too_large(server):
    assert answered(server, in_chunks(1, MOST_CHUNKS + 1) + NEXT) == [413]


def test_the_parser_gets_a_request_in_pieces_because_it_copies_all_that_it_has_for_each_chunk():
    given: list[int] = []

    class Told(Received):
        def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
            given.append(self.buf.getbuffer().nbytes)
            read = super().read(size, read_ahead)
            given.append(0 if size else len(read))
            return read

    lengthy = head(f"POST {PATH}", f"Content-Length: {MAX_BODY_BYTES}") + b"x" * MAX_BODY_BYTES
    for sent in (in_chunks(MAX_BODY_BYTES // MOST_CHUNKS, MOST_CHUNKS), lengthy):
        parser = get_parser(Config(), [], ("127.0.0.1", 1))
        parser.unreader = Told(sent)
        assert next(parser).body.read() == b"x" * MAX_BODY_BYTES
        assert parser.unreader.is_used_up()
    assert max(given) <= PIECE_BYTES


def test_bodies_that_come_in_together_are_bounded_and_the_longest_on_its_way_goes_first(server):
    """Twice as many as there is room for, each but for its last byte; and one before them all that is small."""
    whole = head(f"POST {PATH}", f"Content-Length: {MAX_BODY_BYTES}") + b" " * MAX_BODY_BYTES
    room = MAX_INCOMING_BYTES // len(whole)
    [worker] = server.workers()
    before = resident_bytes(worker)
    with contextlib.ExitStack() as connected:
        small, *large = (
            connected.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
            for _ in range(1 + 2 * room)
        )
        small.sendall(head(f"POST {PATH}", "Content-Length: 3"))
        for client in large:
            client.sendall(whole[:-1])
        told = [client.recv(65_536) for client in large[:room]]
        assert all(answer.startswith(b"HTTP/1.1 503 ") and b'"overloaded"' in answer for answer in told)
        assert all(b"\r\nRetry-After: 1\r\n" in answer and b"\r\nConnection: close\r\n" in answer for answer in told)
        assert resident_bytes(worker) < before + 2 * MAX_INCOMING_BYTES
        for client, rest in ((small, b"abc"), *((client, whole[-1:]) for client in large[room:])):
            client.sendall(rest)
            assert client.recv(65_536).startswith(b"HTTP/1.1 400 "), "there was room for it"


def resident_bytes(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024
