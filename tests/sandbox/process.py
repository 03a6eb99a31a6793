"""Owns a real sandbox server process and ways to talk to it; it imports nothing of the server's code."""

import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
import stripe

ROOT = Path(__file__).parents[2]
KEY = "sk_test_postbox"
SECRET = "whsec_test"
# What has not happened after this long never will, however busy the machine.
END_SECONDS = WAIT_SECONDS = 60.0


def wait_for(condition: Callable[[], Any], what: str, seconds: float = WAIT_SECONDS) -> Any:
    """Ask until the answer is true, at most `seconds`; the answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        threading.Event().wait(0.01)


class Sandbox:
    """One server process on a free port over one ledger file."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.options = options
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "cli.sandbox", "stripe", "--port", "0", "--data", str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--api-key", KEY, *self.options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("listening on "), self.finish()
        self.url = line.split()[-1]
        self.http = requests.Session()
        self.client = self.make_client(20)

    def make_client(self, seconds: float, key: str = KEY) -> Any:
        """The real SDK's `client.v1`, without retries of its own, with a read timeout in seconds."""
        self.transport = stripe.RequestsClient(timeout=(3, seconds), session=requests.Session())
        return stripe.StripeClient(
            key, base_addresses={"api": self.url}, max_network_retries=0, http_client=self.transport
        ).v1

    def finish(self) -> tuple[str, str]:
        """Wait for the process to end; what it printed."""
        return self.process.communicate(timeout=END_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.finish()
        self.http.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.finish()
        self.http.close()

    def get(self, path: str, /, **query: Any) -> Any:
        answer = self.http.get(f"{self.url}/_sandbox/{path}", params=query, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, /, **body: Any) -> Any:
        answer = self.http.post(f"{self.url}/_sandbox/{path}", json=body, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def delete(self, path: str) -> Any:
        answer = self.http.delete(f"{self.url}/_sandbox/{path}", timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    # -- payments -----------------------------------------------------------------------------------------------

    def create(self, method: str = "pm_card_visa", amount: int = 1000, **more: Any) -> Any:
        kind = "us_bank_account" if method.startswith("pm_usBank") else "card"
        given = {
            "amount": amount,
            "currency": "usd",
            "allowed_payment_method_types": [kind],
            "payment_method": method,
            **more,
        }
        return self.client.payment_intents.create(given)

    def confirm(self, ident: str, key: str | None = None, **more: Any) -> Any:
        options: Any = {"idempotency_key": key} if key else None
        return self.client.payment_intents.confirm(ident, {"return_url": "https://shop.example/back", **more}, options)

    def pay(self, method: str = "pm_card_visa", amount: int = 1000, **more: Any) -> Any:
        """Create and confirm; the intent with its charge expanded."""
        intent = self.create(method, amount, **more)
        bank = {"mandate_data": {"customer_acceptance": {"type": "offline"}}} if "usBank" in method else {}
        return self.confirm(intent.id, expand=["latest_charge"], **bank)

    def refusal(self, act: Callable[[], Any]) -> Any:
        """The StripeError that an act must raise."""
        try:
            answer = act()
        except stripe.StripeError as error:
            return error
        raise AssertionError(f"not refused: {answer}")

    def topics(self, ident: str) -> list[str]:
        """The types of all events about one payment intent and its charges, oldest first."""
        charges = {charge["id"] for charge in self.ledger(ident)["charges"]}
        events = self.client.events.list({"limit": 100}).data
        about = [e for e in events if getattr(e.data.object, "id", None) in {ident, *charges}]
        return [event.type for event in reversed(about)]

    def ledger(self, ident: str) -> Any:
        return self.get("ledger", payment_intent=ident)["payments"][0]


class Receiver:
    """A webhook receiver: keeps what arrives, answers what `answer` says (200 by default)."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str]] = []
        self.answer: Callable[[bytes], int] = lambda body: 200
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answer(body)
                receiver.seen.append((body, self.headers["Stripe-Signature"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks"

    def bodies(self, topic: str) -> list[bytes]:
        return [body for body, _ in list(self.seen) if f'"type":"{topic}"}}'.encode() in body]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
