"""One HTTP exchange under the SDK: bounded in time and size, kept raw for evidence; never a retry or a redirect."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import requests
import stripe
from requests.adapters import HTTPAdapter

# A page of 100 expanded PaymentIntents is about 1 MB.
MAX_BODY = 4 * 1024 * 1024
CHUNK = 64 * 1024


class DeadlineExceeded(Exception):
    """The reply was still arriving when the time for the whole call was over."""


class BodyTooLarge(Exception):
    """The reply is larger than any that Stripe sends."""


@dataclass(frozen=True)
class RawReply:
    """What arrived, whole: header names match in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(stripe.RequestsClient):
    """One session and one kept-alive connection per thread, so as many connections as there are threads calling.

    A session shared by threads would need a pool that either blocks without a limit or opens connections to throw
    them away; the SDK keeps its sessions per thread too.
    """

    def __init__(self, *, connect_timeout: float, read_timeout: float, use_proxies: bool) -> None:
        super().__init__(timeout=(connect_timeout, read_timeout))
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._use_proxies = use_proxies
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()  # a thread's ends with the thread
        self._sessions_lock = threading.Lock()

    def request(  # type: ignore[override]  # as the SDK's own: bytes, and no _usage
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Called by the SDK. Raises stripe.APIConnectionError when no whole reply arrived."""
        ends_at = time.monotonic() + self._connect_timeout + self._read_timeout
        try:
            with self._session_of_thread().request(
                method,
                url,
                headers=dict(headers or {}),
                data=post_data,
                timeout=(self._connect_timeout, self._read_timeout),
                stream=True,
                allow_redirects=False,  # a POST followed as a GET answers another question
                auth=_as_is,
                verify=stripe.ca_bundle_path,
            ) as response:
                body = self._read(response, ends_at)
        except Exception as error:
            _raise_connection_error(error)
        self._thread_local.reply = RawReply(response.status_code, response.headers, body)
        return body, response.status_code, response.headers

    def forget(self) -> None:
        self._thread_local.reply = None

    def last_reply(self) -> RawReply | None:
        """The raw reply to this thread's last request, if one arrived whole."""
        reply = getattr(self._thread_local, "reply", None)
        return reply if isinstance(reply, RawReply) else None

    def close(self) -> None:
        """Close every thread's connection; a later request opens a new one."""
        with self._sessions_lock:
            for session in list(self._sessions):
                session.close()

    def _read(self, response: requests.Response, ends_at: float) -> bytes:
        # `read1` returns what has arrived; a read of a given size would let a peer that sends a byte every few seconds
        # hold the thread past the lease, as each byte restarts the socket's timeout.
        parts: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(CHUNK, decode_content=True):
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                raise BodyTooLarge(f"more than {MAX_BODY} bytes")
            if time.monotonic() > ends_at:
                raise DeadlineExceeded(f"still arriving after {self._connect_timeout + self._read_timeout:g} s")
        return b"".join(parts)

    def _session_of_thread(self) -> requests.Session:
        session = getattr(self._thread_local, "session", None)
        if not isinstance(session, requests.Session):
            session = requests.Session()
            session.trust_env = self._use_proxies
            for scheme in ("https://", "http://"):
                session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))
            self._thread_local.session = session
            with self._sessions_lock:
                self._sessions.add(session)
        return session

    def _add_telemetry_header(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers

    def _record_request_metrics(self, response: object, request_start: object, usage: object) -> None:
        return None


def _as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps a ~/.netrc entry for the host from replacing the API key."""
    return request


def _raise_connection_error(error: Exception) -> NoReturn:
    raise stripe.APIConnectionError(f"{type(error).__name__}: {error}") from error  # type: ignore[no-untyped-call]
