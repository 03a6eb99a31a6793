"""A client's socket that makes no thread wait: what the kernel does not take at once is kept for the loop to send."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


# What the kernel takes of an answer, doubled by it: its own choice may be megabytes for each client that does not read.
KERNEL_BYTES = 128 * 1024


class ClientSocket(socket.socket):
    """`unsent` is what is still to go out, in order; `is_over` once its connection is counted no more.

    `held` are the bytes of a request that has a thread, or waits for it, and of what came with it. `following` is what
    came after it, for the loop to go on with once the answer is out; `method` is that of the request.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        super().setblocking(False)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        self.unsent = bytearray()
        self.following = b""
        self.method = b""
        self.is_over = False
        self.held = 0

    def setblocking(self, flag: bool, /) -> None:
        """Never: gunicorn asks for it three times a request, and neither a thread nor the loop waits for a client."""

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Keep it for `send_on`: an answer comes in pieces, and each would be a packet."""
        self.unsent += memoryview(data)

    @property
    def kept(self) -> int:
        """What waits for the client to read: `following`, and `unsent`, which gives back what was sent by halves."""
        return self.unsent.__alloc__() + len(self.following)

    def send_on(self) -> None:
        """Send as much of `unsent` as fits the kernel's buffer. Raises OSError when the client is gone."""
        if not self.unsent:
            return
        with contextlib.suppress(BlockingIOError):
            del self.unsent[: self.send(self.unsent, socket.MSG_DONTWAIT)]

    def close(self) -> None:
        """End the connection; its number is given back once it is over, for the loop knows it by that.

        gunicorn closes it in a thread where an answer breaks off, and the next client would be given the number.
        """
        if self.is_over:
            super().close()
        else:
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Let the kernel forget what it has taken as well: closing is a reset, and no memory waits for a client."""
        self.unsent.clear()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
