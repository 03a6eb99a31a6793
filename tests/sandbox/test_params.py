"""Holds the requests to the parameter trees of the installed SDK."""

import json
import random
from typing import Any

import pytest
import requests

from tests.sandbox.process import KEY, Sandbox
from tests.sandbox.sdk_params import TARGET, render


def post(sandbox: Sandbox, path: str, form: str) -> Any:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    return requests.post(f"{sandbox.url}{path}", data=form, headers=headers, timeout=60)


def test_the_parameter_file_is_what_the_installed_sdk_says() -> None:
    assert TARGET.read_text() == render(), "run: python -m tests.sandbox.sdk_params"


@pytest.mark.parametrize(
    "form,code,param",
    [
        ("amount=1000", "parameter_missing", "currency"),
        ("amount=ten&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=10.5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=-5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=1000&currency=usd&confirm=yes", None, "confirm"),
        ("amount=1000&currency=usd&capture_method=later", None, "capture_method"),
        ("amount=1000&currency=usd&metadata=x", None, "metadata"),
        ("amount=1000&currency=usd&description=", "parameter_invalid_empty", "description"),
        ("amount=1000&currency=usd&automatic_payment_methods[colour]=red", "parameter_unknown",
         "automatic_payment_methods[colour]"),
        ("amount=1000&currency=zzz", None, "currency"),
        ("amount=1000&currency=usd&return_url=https://a.example", None, "return_url"),
        ("amount=1000&currency=usd&customer=cus_1", None, "customer"),
        ("amount=1000&currency=usd&confirm=true&return_url=https://a.example", "parameter_missing", "payment_method"),
        ("amount[a]=1000&currency=usd", None, "amount"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(shared: Sandbox, form: str, code: str | None, param: str) -> None:
    answer = post(shared, "/v1/payment_intents", form)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error.get("param")) == (code, param)


@pytest.mark.parametrize("form", ["%ff=1", "[a]=1", "a[b=1", "a=1&a[b]=2", "a[b][c][d][e][f]=1", "x" * 5000])
def test_text_that_is_no_form_is_a_400_and_never_a_500(shared: Sandbox, form: str) -> None:
    assert post(shared, "/v1/payment_intents", form).status_code == 400


def test_no_mix_of_known_names_and_odd_values_is_ever_a_500(shared: Sandbox) -> None:
    draw = random.Random(20261123)
    known = json.loads(TARGET.read_text())
    intents = [shared.create().id, shared.pay().id, shared.pay(capture_method="manual").id]
    charge = shared.ledger(intents[1])["charges"][0]["id"]
    ids = {"payment_intents": [*intents, "pi_x"], "charges": [charge, "ch_x"]}
    values = [
        "",
        "1000",
        "-1",
        "0",
        "true",
        "usd",
        "pm_card_visa",
        "\x00",
        "é",
        "[]",
        "9" * 30,
        "data.source",
    ]
    values += ["latest_charge.refunds", "payment_intent.latest_charge", charge, *intents]
    for _ in range(800):
        endpoint = draw.choice(sorted(known["endpoints"]))
        method, path = endpoint.split()
        path = path.replace("{id}", draw.choice(ids.get(path.split("/")[2], ["x"])))
        names = sorted(known["types"][known["endpoints"][endpoint]])
        form = [
            (draw.choice(names) + draw.choice(["", "", "[]", "[a]", "[a][b]"]), draw.choice(values))
            for _ in range(draw.randint(0, 3) if names else 0)
        ]
        if endpoint == "POST /v1/payment_intents":
            form += [("amount", "1000"), ("currency", "usd")]
        place = "data" if method == "POST" else "params"
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = shared.http.request(method, shared.url + path, headers=headers, timeout=60, **{place: form})
        assert answer.status_code in (200, 400, 402, 404), (endpoint, form, answer.text)


def test_lists_and_trees_are_read_in_all_the_forms_that_stripe_reads(shared: Sandbox) -> None:
    for form in ("expand[]=latest_charge", "expand[0]=latest_charge", "expand[5]=latest_charge"):
        answer = post(shared, "/v1/payment_intents", f"amount=1000&currency=usd&{form}&metadata[a b]=%C3%A9")
        assert (answer.status_code, answer.json()["metadata"]) == (200, {"a b": "é"})


def test_a_method_on_a_path_that_is_not_served_is_a_404(shared: Sandbox) -> None:
    for path in ("/v1/nothing", "/v1/payment_intents/pi_1/nothing", "/v2/core", "/v1"):
        assert post(shared, path, "").status_code == 404


def test_another_api_version_is_refused_instead_of_half_served(shared: Sandbox) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Stripe-Version": "2020-08-27"}
    assert requests.get(f"{shared.url}/v1/balance", headers=headers, timeout=60).status_code == 400
