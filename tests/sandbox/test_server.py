"""Holds the process to its manners: ports, signals, raw HTTP, the page a payer sees."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.sandbox.process import KEY, ROOT, Sandbox


def test_a_port_in_use_is_one_clear_line_and_exit_1(start: Callable[..., Sandbox], tmp_path: Path) -> None:
    port = urlsplit(start().url).port
    command = [
        sys.executable,
        "-m",
        "cli.sandbox",
        "stripe",
        "--port",
        str(port),
        "--data",
        str(tmp_path / "other"),
    ]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=15, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert str(port) in ended.stderr


def test_sigterm_ends_it_at_once_even_while_a_call_is_held(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    sandbox.post("faults", kind="timeout_before", seconds=600)
    with socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0)) as held:
        held.sendall(f"GET /v1/balance HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        while not sandbox.get("requests")["count"]:
            pass
        sandbox.process.send_signal(signal.SIGTERM)
        _, errors = sandbox.finish()
    assert (sandbox.process.returncode, "Traceback" in errors) == (0, False)


def test_one_connection_serves_many_requests(shared: Sandbox) -> None:
    request = f"GET /v1/balance HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", urlsplit(shared.url).port or 0)) as connection:
        stream = connection.makefile("rb")
        connection.sendall(request * 3)
        for _ in range(3):
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            assert stream.read(length).startswith(b'{"object":"balance"')
        stream.close()


@pytest.mark.parametrize(
    "head,status",
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/refunds HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"POST /v1/refunds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /v1/refunds HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_gets_a_status_and_a_close(shared: Sandbox, head: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(shared.url).port or 0), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(1000).split()[1] == status


def test_every_answer_carries_its_request_id_and_the_version(shared: Sandbox) -> None:
    headers = shared.client.balance.retrieve().last_response.headers
    assert headers["Request-Id"].startswith("req_")
    assert headers["Stripe-Version"] == "2026-10-28.endive"


@pytest.mark.parametrize(
    "button,status,redirect",
    [("success", "succeeded", "succeeded"), ("failure", "requires_payment_method", "failed")],
)
def test_the_payer_presses_a_button_and_returns_to_the_shop(
    shared: Sandbox, button: str, status: str, redirect: str
) -> None:
    intent = shared.pay("pm_card_threeDSecure2Required")
    page = requests.get(intent.next_action.redirect_to_url.url, timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    assert f'value="{button}"' in page.text
    for _ in range(2):  # a second press changes nothing
        pressed = requests.post(page.url, data={"outcome": button}, allow_redirects=False, timeout=60)
        assert pressed.status_code == 303
    back = urlsplit(pressed.headers["Location"])
    assert (back.netloc, back.path) == ("shop.example", "/back")
    arguments = parse_qs(back.query)
    assert (arguments["payment_intent"], arguments["redirect_status"]) == ([intent.id], [redirect])
    assert shared.client.payment_intents.retrieve(intent.id).status == status
    assert "Nothing to do" in requests.get(page.url, timeout=60).text


def test_a_card_declined_after_its_challenge_fails_without_an_answer_to_the_browser(shared: Sandbox) -> None:
    intent = shared.pay("pm_card_threeDSecureRequiredChargeDeclined")
    after = shared.post(f"payment_intents/{intent.id}/authenticate", outcome="success")
    assert (after["status"], after["last_payment_error"]["code"]) == (
        "requires_payment_method",
        "card_declined",
    )


def test_an_unknown_control_endpoint_is_a_404(shared: Sandbox) -> None:
    assert requests.get(f"{shared.url}/_sandbox/nothing", timeout=60).status_code == 404
