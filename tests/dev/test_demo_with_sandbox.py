"""The demo's faults and its 3-D Secure button work on the real sandbox, started as `postbox dev` starts it."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.config import ROOT, SANDBOX_API_KEY
from cli.dev import processes
from cli.dev.demo_clients import Faults, press_button
from cli.dev.demo_payments import STORIES
from cli.dev.processes import choose_port, forget_other_endpoints, sandbox_service
from cli.dev.supervisor import Supervisor
from cli.sandbox.objects.payment_methods import METHODS

WEBHOOK_URL = "http://127.0.0.1:9/webhooks/stripe/default"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("sandbox")
    postbox = directory / "postbox"
    postbox.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cli.main "$@"\n')
    postbox.chmod(0o755)
    port = choose_port(directory / "port")
    with pytest.MonkeyPatch.context() as patch, Supervisor(directory / "log") as supervisor:
        patch.setattr(processes, "POSTBOX", str(postbox))
        env = {"STRIPE_WEBHOOK_SECRETS": "whsec_demo", "PYTHONPATH": str(ROOT)}
        data = directory / "ledger.jsonl"
        supervisor.start(sandbox_service(env, ROOT, data=data, port=port, webhook_url=WEBHOOK_URL))
        yield f"http://127.0.0.1:{port}"


def call(sandbox: str, path: str, **params: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {SANDBOX_API_KEY}"}
    return requests.post(f"{sandbox}/v1/{path}", data=params, headers=headers, timeout=10)


def create(sandbox: str, token: str) -> dict[str, Any]:
    intent: dict[str, Any] = call(
        sandbox,
        "payment_intents",
        amount="2000",
        currency="usd",
        payment_method=token,
        **{"allowed_payment_method_types[0]": "card"},
    ).json()
    assert "id" in intent, intent
    return intent


def test_the_fault_strikes_one_confirmation_and_no_other_call(sandbox: str) -> None:
    faults = Faults(sandbox)
    rule = faults.strike_next_confirmation("error_500_before", None)
    intent = create(sandbox, "pm_card_visa")
    assert not faults.has_struck(rule)
    path = f"payment_intents/{intent['id']}/confirm"
    assert call(sandbox, path, return_url="https://example.com").status_code == 500
    assert faults.has_struck(rule)
    assert call(sandbox, path, return_url="https://example.com").json()["status"] == "succeeded"


@pytest.mark.parametrize("label, status", [("complete", "succeeded"), ("fail", "requires_payment_method")])
def test_the_secure_page_has_the_buttons_that_the_demo_presses(sandbox: str, label: str, status: str) -> None:
    intent = create(sandbox, "pm_card_threeDSecure2Required")
    path = f"payment_intents/{intent['id']}/confirm"
    waiting = call(sandbox, path, return_url="https://example.com/return").json()
    press_button(waiting["next_action"]["redirect_to_url"]["url"], label)
    headers = {"Authorization": f"Bearer {SANDBOX_API_KEY}"}
    shown = requests.get(f"{sandbox}/v1/payment_intents/{intent['id']}", headers=headers, timeout=10).json()
    assert shown["status"] == status


def test_only_this_runs_webhook_address_stays_enabled(sandbox: str) -> None:
    control = f"{sandbox}/_sandbox/webhooks/endpoints"
    requests.post(control, json={"url": "http://127.0.0.1:8/old", "secret": "whsec_old"}, timeout=10)
    forget_other_endpoints(sandbox, WEBHOOK_URL)
    found = requests.get(control, timeout=10).json()["endpoints"]
    assert [e["url"] for e in found if e["status"] == "enabled"] == [WEBHOOK_URL]


def test_the_sandbox_knows_every_card_of_the_demo() -> None:
    assert {story.token for story in STORIES} <= METHODS.keys()


def test_the_ports_of_the_demo_machine_are_remembered(tmp_path: Path) -> None:
    assert choose_port(tmp_path / "port") == choose_port(tmp_path / "port")
