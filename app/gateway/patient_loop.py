"""The loop of the patient worker: who comes, and who goes when time or room is up; it reads and writes nothing."""

from __future__ import annotations

import contextlib
import errno
import itertools
import time
from collections.abc import Iterator
from typing import Any

from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.gateway import turned_away
from app.gateway.client_socket import ClientSocket
from app.gateway.framing import Incoming
from app.gateway.wire import Nameless

# New connections taken per turn of the loop, so that a flood of them does not keep it from those it has.
ACCEPTS_PER_TURN = 64
# What says that there is no file or no memory for another connection; and how long none is asked for then.
NO_FILE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
NO_FILE_SECONDS = 0.1


class PatientLoop(ThreadWorker):  # type: ignore[misc]
    """Keeps every connection by what it waits for; PatientWorker reads from one and writes to it."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        assert not cfg.is_ssl, "TLS ends at the proxy in front"

    def init_process(self) -> None:
        # with a thread; False: not watched meanwhile, for its next request was there before this one was answered
        self.working: dict[TConn, bool] = {}
        # every deadline is the same distance away, so each of these is in the order of its deadlines
        self.incoming: dict[TConn, Incoming] = {}
        self.lingering: dict[TConn, None] = {}
        # with whether it is kept alive once its answer is out; who has taken nothing of one for longest comes first
        self.outgoing: dict[TConn, bool] = {}
        # bytes of what comes in or waits for a thread, or more
        self.at_most = 0
        self.no_file_until = 0.0
        wsgi.Response = Nameless
        super().init_process()

    def _read_on(self, conn: TConn, already: bytes) -> None:
        """Watch a connection for its next request; `already` came with the one before."""
        raise NotImplementedError

    def _refuse(self, conn: TConn, error: Exception, incoming: Incoming) -> None:
        """Answer what is no request of ours, and end its connection."""
        raise NotImplementedError

    # --- a turn

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn; what was found for a connection that has ended or moved on in it by then is nobody's any more."""
        try:
            found = self.poller.select(timeout)
        except InterruptedError:
            return
        for key, _ in found:
            if self.poller.get_map().get(key.fd) is key:
                key.data(key.fileobj)

    @contextlib.contextmanager
    def _sparing(self, conn: TConn) -> Iterator[None]:
        """In the loop a mistake of ours costs a connection, and not the process."""
        try:
            yield
        except Exception:
            self.log.exception("a connection was given up")
            with contextlib.suppress(ValueError):
                self.keepalived_conns.remove(conn)
            self._end(conn)

    # --- who comes and goes

    def set_accept_enabled(self, enabled: bool) -> None:
        """gunicorn asks for it in each turn, as long as there is room."""
        super().set_accept_enabled(enabled and self.no_file_until <= time.monotonic())

    def accept(self, listener: Any) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                client, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_FILE:
                    raise
                # whoever comes waits in the kernel; to ask again at once would be all that the loop does
                turned_away.note("no_file")
                self.no_file_until = time.monotonic() + NO_FILE_SECONDS
                self.set_accept_enabled(False)
                return
            self.nr_conns += 1
            newcomer = TConn(self.cfg, ClientSocket(client), address, listener.getsockname())
            self._read_on(newcomer, b"")
            if self.nr_conns >= self.worker_connections:
                self._make_room(newcomer)

    def _make_room(self, newcomer: TConn) -> None:
        """End who loses least by it, so that a newcomer is never refused for the slow or the idle.

        The first of those that have their answer and do not hang up, or else of the idle, of those that send, of those
        that read. The newcomer itself goes where all others have a thread, or wait for one.
        """
        senders = (conn for conn in self.incoming if conn is not newcomer)
        conn = next(itertools.chain(self.lingering, self.keepalived_conns, senders, self.outgoing, [newcomer]))
        if self.keepalived_conns and conn is self.keepalived_conns[0]:
            self.keepalived_conns.popleft()
        turned_away.note("no_room")
        self._end(conn)

    def _end(self, conn: TConn) -> None:
        if conn.sock.is_over:
            return
        conn.sock.is_over = True
        self.working.pop(conn, None)
        self.incoming.pop(conn, None)
        self.lingering.pop(conn, None)
        if conn in self.outgoing:
            del self.outgoing[conn]
            conn.sock.drop()
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _forget(self, conn: TConn) -> None:
        with contextlib.suppress(OSError, KeyError, ValueError):  # it may not be there any more
            self.poller.unregister(conn.sock)

    def _give_up(self, conn: TConn) -> None:
        turned_away.note("slow_reader")
        self._end(conn)

    # --- who is late

    def murder_keepalived(self, force: bool = False) -> None:
        """End those that began no other request in time."""
        now = time.monotonic()
        while self.keepalived_conns and (force or self.keepalived_conns[0].timeout <= now):
            self._end(self.keepalived_conns.popleft())

    def murder_pending(self) -> None:
        """End what is late: nothing was sent, or not all of it, or the client does not read, or does not hang up."""
        now = time.monotonic()
        for conn in [conn for conn in self.lingering if conn.timeout <= now]:
            self._end(conn)
        while self.incoming and (conn := next(iter(self.incoming))).timeout <= now:
            incoming = self.incoming[conn]
            if incoming.buffer:
                with self._sparing(conn):
                    self._refuse(conn, TimeoutError(), incoming)
            else:
                turned_away.note("silent")
                self._end(conn)
        for conn in [conn for conn in self.outgoing if conn.timeout <= now]:
            self._give_up(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.incoming:
            conn.timeout = min(conn.timeout, deadline)
