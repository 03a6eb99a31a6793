"""A peer that speaks HTTP and misbehaves on demand, and the objects that Stripe would send."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, settings

from app.providers.stripe import StripeProvider

# A busy machine is no finding, and the first text drawn builds the table of all characters.
settings.register_profile("providers", deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
settings.load_profile("providers")

PAYMENT_ID = "01980000-0000-7000-8000-000000000001"
MERCHANT_ID = "01980000-0000-7000-8000-000000000002"
OPERATION_ID = "01980000-0000-7000-8000-000000000003"
METADATA = {"payment_id": PAYMENT_ID, "merchant_id": MERCHANT_ID, "operation_id": OPERATION_ID}
PATIENT = 20.0  # seconds for a reply; only a test about silence sets its own


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    manner: str = "whole"  # whole | silent | drip | reset_before | reset_mid_body | short | short_chunked


@dataclass
class Seen:
    method: str
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]
    port: int
    raw: bytes


class Peer:
    """Answers in the order of `answers`, the last one for ever; `seen` is what arrived."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        self.gate: threading.Barrier | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                peer._serve(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                """A client that gave up is what half of these tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def says(self, body: object = None, status: int = 200, manner: str = "whole", **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(Answer(status, raw, {k.replace("_", "-"): v for k, v in headers.items()}, manner))

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        parts = urlsplit(handler.path)
        with self._lock:
            params = parse_qs(body.decode(errors="replace") or parts.query)
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.seen.append(Seen(handler.command, parts.path, params, headers, handler.client_address[1], body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.gate is not None:
            self.gate.wait(timeout=10)
        try:
            self._answer(handler, answer)
        except OSError:
            handler.close_connection = True

    def _answer(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.manner == "silent":
            self._over.wait(timeout=10)
        if answer.manner in {"silent", "reset_before"}:
            return self._reset(handler)
        chunked = answer.manner == "short_chunked"
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        if answer.manner == "drip":
            for position in range(len(answer.body)):
                handler.wfile.write(answer.body[position : position + 1])
                handler.wfile.flush()
                if self._over.wait(timeout=0.02):
                    return None
        half = answer.body[: len(answer.body) // 2]
        if answer.manner == "whole":
            handler.wfile.write(answer.body)
        elif chunked:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
            handler.close_connection = True
        else:
            handler.wfile.write(half)
            handler.wfile.flush()
            handler.close_connection = True
            if answer.manner == "reset_mid_body":
                self._reset(handler)
        return None

    def _reset(self, handler: BaseHTTPRequestHandler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture
def read_timeout() -> float:
    return PATIENT


@pytest.fixture
def provider(peer: Peer, read_timeout: float) -> Iterator[StripeProvider]:
    provider = StripeProvider(
        "sk_test_postbox", account="default", api_base=peer.url, connect_timeout=0.3, read_timeout=read_timeout
    )
    yield provider
    provider.close()


@pytest.fixture(scope="session")
def operation() -> dict[str, Any]:
    """A submit operation's stored parameters."""
    return {
        "amount": 1050,
        "currency": "usd",
        "method": {"type": "card", "token": "pm_card_visa"},
        "capture_method": "automatic",
        "return_url": "https://shop.example/back?session=abc",
        "description": "Two chairs",
        "statement_descriptor": "CHAIRS",
        "metadata": dict(METADATA),
    }


Build = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def intent() -> Build:
    """A PaymentIntent with a charge and its balance transaction, as a card payment that succeeded has it."""

    def build(**changes: Any) -> dict[str, Any]:
        return {
            "id": "pi_1", "object": "payment_intent", "status": "succeeded", "amount": 1050, "amount_capturable": 0,
            "amount_received": 1050, "currency": "usd", "created": 1_790_000_000, "livemode": False,
            "client_secret": "pi_1_secret_abc", "latest_charge": charge_of(), "metadata": dict(METADATA),
            "last_payment_error": None, "next_action": None, "cancellation_reason": None,
            "receipt_email": "payer@example.com",
        } | changes  # fmt: skip

    return build


@pytest.fixture(scope="session")
def charge() -> Build:
    return charge_of


def charge_of(**changes: Any) -> dict[str, Any]:
    card = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034, "three_d_secure": None}
    return {
        "id": "ch_1", "object": "charge", "status": "succeeded", "amount": 1050, "currency": "usd", "captured": True,
        "created": 1_790_000_001, "payment_intent": "pi_1", "billing_details": {"email": "payer@example.com"},
        "payment_method_details": {"type": "card", "card": card},
        "balance_transaction": {
            "id": "txn_1", "object": "balance_transaction", "amount": 1050, "fee": 60, "net": 990, "currency": "usd",
            "status": "pending", "reporting_category": "charge", "type": "charge", "source": "ch_1",
            "available_on": 1_790_200_000, "created": 1_790_000_002,
        },
    } | changes  # fmt: skip


@pytest.fixture(scope="session")
def error_reply() -> Build:
    """An error body as Stripe sends it."""

    def build(code: str | None = None, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
        return {"error": {"type": kind, "code": code, "message": "It did not work."} | more}

    return build
