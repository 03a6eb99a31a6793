"""The demo covers every kind of payment and says which one did not arrive."""

from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Thread

import pytest
from rich.console import Console

from app.gateway.schemas import CreatePayment
from cli.dev.demo import Running, _report, _shorten
from cli.dev.demo_clients import DemoError, press_button
from cli.dev.demo_payments import STORIES

PAGE = b"""<html><form method="post"><input type="hidden" name="token" value="t1">
<button name="outcome" value="success">Complete</button><button name="outcome" value="failure">Fail</button></form>"""


def test_there_are_twenty_payments_of_every_kind() -> None:
    assert len(STORIES) == 20
    assert Counter(s.end for s in STORIES).keys() == {"settled", "failed", "canceled"}
    assert {s.fault for s in STORIES} >= {"timeout_after", "error_500_before", "error_500_after"}
    assert any(s.press == "complete" for s in STORIES)
    assert any(s.press == "fail" for s in STORIES)
    assert any(s.capture and s.capture < s.amount for s in STORIES)


def test_the_api_takes_every_request_of_the_demo() -> None:
    for story in STORIES:
        assert CreatePayment().load(story.request())["amount"] == story.amount


def test_one_that_did_not_arrive_is_named_with_where_it_is_and_should_be() -> None:
    running = [Running(story, f"pay_{n}", ["initiated", story.end]) for n, story in enumerate(STORIES)]
    console = Console(file=StringIO(), width=200)
    assert _report(running, "", 30, console)
    running[4].trail.append("outcome_unknown")
    assert not _report(running, "", 30, console)
    assert "#5 card: is outcome_unknown, should be settled" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_narrow_terminal_shows_the_newest_states() -> None:
    trail = ["initiated", "submitting", "submitted", "confirmed", "settled"]
    assert _shorten(trail, 100) == trail
    assert _shorten(trail, 24) == ["..", "confirmed", "settled"]
    assert _shorten(trail, 1) == ["..", "settled"]


def test_the_button_pressed_is_the_one_with_that_label() -> None:
    posted: list[bytes] = []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PAGE)

        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(303)
            self.send_header("Location", "http://192.0.2.1/nowhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/_sandbox/3ds/pi_1"
        press_button(url, "fail")
        with pytest.raises(DemoError, match="has no button"):
            press_button(url, "maybe")
        server.shutdown()
        thread.join()
    assert posted == [b"outcome=failure&token=t1"]
