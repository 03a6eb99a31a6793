"""gunicorn's threaded worker, made patient: a thread for whole requests only, and none for an answer on its way."""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import time
from typing import Any

from gunicorn.http import errors as refusals
from gunicorn.http import get_parser
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn

from app.gateway import raw, turned_away
from app.gateway.context import EXTENSION, Gateway
from app.gateway.door import Refusal, caller
from app.gateway.framing import MAX_BODY_BYTES, BodyTooLarge, HeadTooLarge, Incoming, NoRoom, OtherCoding
from app.gateway.patient_loop import PatientLoop
from app.gateway.threads import Threads
from app.gateway.wire import Received

# A whole request has so long from its first byte, or from the connection's: 256 KB at 200 kbit/s, whoever sends it.
REQUEST_SECONDS = 10.0
# After an answer that ends the connection the client has so long to read it and hang up; a reset would destroy it.
LINGER_SECONDS = 2.0
# A whole answer has so long to be taken: a page of a hundred payments with all their metadata, 2.7 MB, at 1 Mbit/s.
ANSWER_SECONDS = 22.0
# Answers of a process that wait to be taken, and what came after their requests, together: six such pages. Beyond it
# whoever has taken nothing for longest goes, of those who hold more than their share.
MAX_UNSENT_BYTES = 16 * 1024 * 1024
# Requests of a process that come in or wait for their thread, together: a hundred of the largest bodies. Small ones are
# let in beyond it, up to 12 KB on each of 2,000 connections: another 24 MB at the very worst. Both bounds count what is
# held, and not what is made on the way or given back and kept by malloc: 1,900 connections that filled both, with
# unread answers, what came behind some, and heads without their bodies, took a process from 84 MB to 180 at its peak.
MAX_INCOMING_BYTES = 24 * 1024 * 1024
# What is read at once: a request of ours in one piece.
READ_BYTES = 64 * 1024
# Of a request that its parser may refuse: enough to tell a HEAD, whose answer has no content.
MOST_METHOD_BYTES = 16


class PatientWorker(PatientLoop):
    """Reads requests in the poller, one loop for all connections, and hands whole ones to the threads.

    Stock gthread gives a thread to every connection whose first byte is there: one byte a second holds it for ever, and
    a client that does not hang up holds the loop itself for two seconds. Here a slow client costs a buffer, for
    REQUEST_SECONDS; when there is no room for another connection, one of those goes that lose least by it. What a
    client does not read at once is sent by the loop too, and given up after `answer_seconds`.
    """

    answer_seconds = ANSWER_SECONDS

    def get_thread_pool(self) -> Threads:
        return Threads(self.cfg.threads)

    def enqueue_req(self, conn: TConn) -> None:
        self.tpool.submit(self._handle, conn)

    def _handle(self, conn: TConn) -> None:
        """In a thread; `finish_request` goes on in the loop, whatever happens here."""
        kept = False
        try:
            kept = self.handle(conn) is True
        finally:
            self.method_queue.defer(self.finish_request, conn, kept)

    # --- reading, in the loop

    def _read_on(self, conn: TConn, already: bytes) -> None:
        """Watch a connection for its next request; `already` came with the one before."""
        self._watch(conn)
        self._begin(conn, already)

    def _watch(self, conn: TConn) -> None:
        self.poller.register(conn.sock, selectors.EVENT_READ, functools.partial(self._on_readable, conn))

    def _begin(self, conn: TConn, already: bytes) -> None:
        """Wait for a whole request on a connection that is watched."""
        conn.timeout = time.monotonic() + (REQUEST_SECONDS if self.alive else STOP_KEEPALIVE_LINGER)
        self.incoming.pop(conn, None)  # it is behind all others from now on
        incoming = self.incoming[conn] = Incoming(bytearray(already))
        if already:
            # not at once: a client may have sent a thousand requests in one piece
            self.method_queue.defer(self._take_buffered, conn, incoming)

    def _take_buffered(self, conn: TConn, incoming: Incoming) -> None:
        if self.incoming.get(conn) is incoming:
            self._take(conn, incoming)

    def _on_readable(self, conn: TConn, client: Any) -> None:
        if conn in self.working:
            # one at a time: it is watched again when this one is answered
            self._forget(conn)
            self.working[conn] = False
            return
        incoming = self.incoming.get(conn)
        if incoming is None and conn not in self.lingering:
            # it was kept alive, and begins its next request
            self.keepalived_conns.remove(conn)
            self._begin(conn, b"")
            incoming = self.incoming[conn]
        try:
            received = conn.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            received = b""
        if not received:
            self._end(conn)
        elif incoming is not None:
            incoming.buffer += received
            self._bound(len(received))
            if conn in self.incoming:
                self._take(conn, incoming)

    def _bound(self, received: int) -> None:
        """Beyond MAX_INCOMING_BYTES end who has been coming in longest, of those who hold more than their share.

        So whoever sends what is usual is not ended for what others send; a request that is whole is answered.
        """
        self.at_most += received  # counted anew only where it may be too much
        if self.at_most <= MAX_INCOMING_BYTES:
            return
        held = sum(len(incoming.buffer) for incoming in self.incoming.values())
        held += sum(conn.sock.held for conn in self.working)
        for conn, incoming in list(self.incoming.items()):
            if held <= MAX_INCOMING_BYTES:
                break
            if len(incoming.buffer) > MAX_INCOMING_BYTES // self.worker_connections:
                held -= len(incoming.buffer)
                with self._sparing(conn):
                    self._refuse(conn, NoRoom(), incoming)
        # where nobody is left to be ended, all are counted again after a body more, and not after every byte
        self.at_most = held if held <= MAX_INCOMING_BYTES else MAX_INCOMING_BYTES - MAX_BODY_BYTES

    def _take(self, conn: TConn, incoming: Incoming) -> None:
        """Hand the request to a thread if it is whole."""
        with self._sparing(conn):
            try:
                self._decide(conn, incoming)
            except (HeadTooLarge, BodyTooLarge, OtherCoding) as error:
                self._refuse(conn, error, incoming)

    def _decide(self, conn: TConn, incoming: Incoming) -> None:
        had_head = incoming.has_head
        if incoming.is_whole():
            refusal = self._at_the_door(conn, incoming)
            if refusal is None:
                self._let_in(conn, incoming)
            else:
                self._turn_away(conn, incoming, refusal)
        elif incoming.wants_continue and not had_head and not self._send(conn, b"HTTP/1.1 100 Continue\r\n\r\n"):
            self._end(conn)

    @property
    def edge(self) -> Gateway:
        """Of the application that is served."""
        found: Gateway = self.wsgi.extensions[EXTENSION]
        return found

    def _let_in(self, conn: TConn, incoming: Incoming) -> None:
        self._begin_work(conn)
        self._hand_over(conn, incoming)

    def _begin_work(self, conn: TConn) -> None:
        conn.sock.held = len(self.incoming.pop(conn).buffer)
        # it stays watched: mostly its next request comes after this one is answered
        self.working[conn] = True
        conn.initialized = True
        if conn.parser is None:
            conn.parser = get_parser(self.cfg, conn.sock, conn.client)

    def _hand_over(self, conn: TConn, incoming: Incoming) -> None:
        """Give it a thread, which asks the application."""
        conn.parser.unreader = Received(bytes(incoming.buffer[: incoming.size]))
        conn.sock.method = incoming.line[:MOST_METHOD_BYTES].partition(b" ")[0]
        conn.sock.following = bytes(incoming.buffer[incoming.size :])
        self.enqueue_req(conn)

    # --- answering without a thread

    def _at_the_door(self, conn: TConn, incoming: Incoming) -> Refusal | None:
        """Why the application does not let this request in, if it does not."""
        method, path = incoming.target

        def who() -> bytes:
            peer = conn.client[0] if isinstance(conn.client, tuple) else ""
            return caller(peer, incoming.header(b"x-forwarded-for"), incoming.header(b"authorization"))

        return self.edge.door.refusal(method, path, who, waiting=self.tpool.waiting)

    def _turn_away(self, conn: TConn, incoming: Incoming, refusal: Refusal) -> None:
        keep = incoming.goes_on and self.alive
        method, path = incoming.target
        turned_away.tell(refusal.error.code)
        named = {
            "given_id": incoming.header(b"x-request-id"),
            "given_trace": incoming.header(b"traceparent"),
        }
        answer = raw.refusal(self.wsgi, refusal, method, path, **named, keep=keep)
        if keep:
            self._begin_work(conn)
            self._answer(conn, incoming, answer)
        else:
            self._answer_last(conn, answer)

    def _answer(self, conn: TConn, incoming: Incoming, answer: bytes) -> None:
        """Answer a request that no parser has read, and keep its connection."""
        conn.sock.sendall(answer)
        with contextlib.suppress(OSError):  # the loop finds out when it reads on, or sends the rest
            conn.sock.send_on()
        conn.sock.following = bytes(incoming.buffer[incoming.size :])
        self.finish_request(conn, True)

    def _answer_last(self, conn: TConn, answer: bytes) -> None:
        """Answer, and end the connection when the client has taken all of it."""
        self.incoming.pop(conn, None)
        conn.sock.sendall(answer)
        try:
            conn.sock.send_on()
        except OSError:
            self._end(conn)
            return
        if conn.sock.unsent:
            self._forget(conn)
            self._write_on(conn, False)
        else:
            self._linger(conn)

    def _refuse(self, conn: TConn, error: Exception, incoming: Incoming) -> None:
        self._answer_last(conn, turned_away.problem(error, incoming))

    def _send(self, conn: TConn, answer: bytes) -> bool:
        """Whether the kernel took all of it; where it did not, because the client does not read, nothing may follow."""
        try:
            return bool(conn.sock.send(answer) == len(answer))
        except OSError:
            return False

    def _linger(self, conn: TConn) -> None:
        """Say that this was all, and wait for the client to hang up."""
        self.incoming.pop(conn, None)
        self._forget(conn)
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.timeout = time.monotonic() + LINGER_SECONDS
            self.lingering[conn] = None
            self._watch(conn)
        except OSError:
            self._end(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what the parser refused; its own words hold parts of headers, so they reach neither log nor client."""
        if isinstance(exc, refusals.ParseException) and not isinstance(exc, turned_away.OURS):
            client.sendall(turned_away.problem(exc, Incoming(bytearray(client.method))))
        else:
            super().handle_error(req, client, addr, exc)

    def handle(self, conn: TConn) -> Any:
        """Answer a request; the head and the body of the answer leave in one piece."""
        kept = super().handle(conn)
        try:
            conn.sock.send_on()
        except OSError:
            conn.sock.unsent.clear()
            return False
        return kept

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Keep a connection only where the parser has read the request to the byte at which the loop saw it end.

        Elsewhere what one of them takes for a body is a request to the other, of somebody else maybe.
        """
        try:
            return bool(super()._keepalive_after(conn, keepalive)) and bool(conn.parser.unreader.is_used_up())
        except (refusals.ParseException, OSError):
            # in a body that the application did not ask for: the request has its answer, and gets no other
            return False

    # --- after an answer, in the loop

    def finish_request(self, conn: TConn, kept: bool) -> None:
        with self._sparing(conn):
            self._finish_request(conn, kept)

    def _finish_request(self, conn: TConn, kept: bool) -> None:
        is_watched = self.working.pop(conn, False)
        if not kept:
            conn.sock.following = b""
        if kept and not conn.sock.unsent and not conn.sock.following:
            self._keep(conn, is_watched)
            return
        if is_watched:
            self._forget(conn)
        if conn.sock.unsent:
            self._write_on(conn, kept)
        elif conn.sock.following:
            # the next request was sent along, or a part of it
            following, conn.sock.following = conn.sock.following, b""
            self._read_on(conn, following)
        else:
            self._linger(conn)

    def _keep(self, conn: TConn, is_watched: bool) -> None:
        """Wait for the next request of a connection that is kept alive."""
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        if not is_watched:
            self._watch(conn)

    # --- writing, in the loop

    def _write_on(self, conn: TConn, kept: bool) -> None:
        """Send the rest of an answer as the client takes it, and finish the request then."""
        conn.timeout = time.monotonic() + self.answer_seconds
        self.outgoing[conn] = kept
        self.poller.register(conn.sock, selectors.EVENT_WRITE, functools.partial(self._on_writable, conn))
        unsent = sum(other.sock.kept for other in self.outgoing)
        for other in list(self.outgoing):
            if unsent <= MAX_UNSENT_BYTES:
                break
            if other.sock.kept > MAX_UNSENT_BYTES // self.worker_connections:
                unsent -= other.sock.kept
                self._give_up(other)

    def _on_writable(self, conn: TConn, client: Any) -> None:
        self.outgoing[conn] = self.outgoing.pop(conn)  # the kernel has room, so the client took something
        try:
            conn.sock.send_on()
        except OSError:
            self._end(conn)
            return
        if not conn.sock.unsent:
            self._forget(conn)
            following = len(conn.sock.following)
            self.finish_request(conn, self.outgoing.pop(conn))
            self._bound(following)  # it was counted with the answers, and comes in again
