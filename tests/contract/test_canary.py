"""A string of its own in every field a caller can fill, looked for everywhere afterwards: it is where it belongs."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from psycopg import sql as names
from psycopg.types.string import TextLoader

from app.db import Database
from app.gateway.auth import SESSION_COOKIE
from app.services.sign_in import csrf_token
from tests.contract.fields import ITEM, bodies, scheme_of, signature
from tests.contract.fuzz import UNLIMITED
from tests.contract.seed import seed
from tests.e2e.gateway_process import GatewayProcess, start_gateway
from tests.fixtures.database import OPERATOR_KEY
from tests.gateway.documented import document
from tests.gateway.ops.conftest import open_session
from tests.jobs.processes import DRAIN_SECONDS, World, until, world

# Where what a merchant says about a payment must be: the payment, the audit, the stored answer, the events that tell of
# it; and what the provider has to know, in the operation and in the record of every call.
_ROW, _ANSWER, _AUDIT = "payments.", "idempotency_keys.body", "audit_log.body"
_SENT = {"operations.params", "provider_calls.request"}
ALLOWED: dict[str, set[str]] = {
    "reference": {_ROW + "reference", _ANSWER, _AUDIT, "events.payload"},
    "description": {_ROW + "description", _ANSWER, _AUDIT, *_SENT},
    "metaname": {_ROW + "metadata", _ANSWER, _AUDIT},
    "metavalue": {_ROW + "metadata", _ANSWER, _AUDIT},
    "url": {_ROW + "return_url", _AUDIT, *_SENT},
    "SD": {_ROW + "statement_descriptor", _AUDIT, *_SENT},
    # The provider's refusal names the token that it does not know, and a refusal is evidence.
    "token": {_ROW + "method_token", _ROW + "failure_message", "operations.outcome_message", _AUDIT, *_SENT,
              "provider_calls.response", "provider_calls.error_detail"},
    "key": {"idempotency_keys.key"},
    "requestid": {"audit_log.request_id"},
    # Why a person did something is told where it was done, and what they made has its name.
    "opsreason": {"audit_log.reason", _AUDIT, _ANSWER, "proposals.reason", "proposals.decision_reason", "pauses.reason",
                  "deliveries.resolved_reason", "discrepancies.resolution_note"},
    "opscode": {"discrepancies.resolution_code", "events.payload", _AUDIT, _ANSWER},
    "opsname": {"merchants.name", _AUDIT, _ANSWER},
    "opslabel": {"api_keys.label", _AUDIT, _ANSWER},
    # What they looked for is noted.
    "opsquery": {"access_log.entity"},
    "opsid": {"access_log.entity"},
}  # fmt: skip

VISA = "4242424242424242"

TRACE = uuid.uuid4().hex


class Canary:
    """Names a field `<secret><label>`, remembers the labels, and keeps every answer."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway, self.secret = gateway, "cnry" + uuid.uuid4().hex[:6]
        self.labels: set[str] = set()
        self.answers: list[str] = []

    def __call__(self, label: str) -> str:
        self.labels.add(label)
        return self.secret + label

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
        sent = {
            "Authorization": f"Bearer {self.gateway.key}",
            "Idempotency-Key": uuid.uuid4().hex,
            "Content-Type": "application/json",
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, str) or body is None else json.dumps(body)
        answer = requests.request(method, self.gateway.url + path, data=raw, headers=sent, timeout=30)
        if not answer.ok:
            self.answers.append(f"{answer.headers}\n{answer.text}")
        return answer


def payment(canary: Canary, **changes: Any) -> dict[str, Any]:
    return {
        "amount": 1_000,
        "currency": "usd",
        "method": {"type": "card", "token": "pm_card_visa"},
        "reference": canary("reference"),
        "description": canary("description"),
        "statement_descriptor": canary("SD"),
        "return_url": f"https://shop.example/{canary('url')}",
        "metadata": {canary("metaname"): canary("metavalue")},
    } | changes


def accepted(canary: Canary) -> None:
    """What the API takes: every text of it may be stored, each in its places."""
    headers = {"Idempotency_Key": canary("key"), "X_Request_Id": canary("requestid"), "User_Agent": canary("agent")}
    headers |= {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": f"a={canary('tracestate')}"}
    headers |= {"Cookie": f"a={canary('cookie')}", "X_Forwarded_For": canary("forwarded"), "X_Own": canary("header")}
    made = canary.send("POST", "/v1/payments", payment(canary), **headers)
    assert made.status_code == 201, made.text
    token = {"method": {"type": "card", "token": canary("token")}}
    assert canary.send("POST", "/v1/payments", payment(canary) | token).status_code == 201
    shown = canary.send("GET", f"/v1/payments/{made.json()['id']}?{canary('queryname')}={canary('queryvalue')}")
    assert shown.status_code == 422, "a query it does not know is refused"
    canary.send("GET", f"/v1/payments?reference={canary('queryreference')}")
    canary.send("GET", f"/v1/events?topic={canary('querytopic')}")


def refused(canary: Canary) -> None:
    """What the API refuses: nothing of it is stored, logged or told back."""
    for path in ("/v1/payments", "/v1/events", "/v1/balance/entries"):
        canary.send("GET", f"{path}?cursor={canary('cursor')}")
        canary.send("GET", f"{path}?limit={canary('limit')}")
    canary.send("GET", f"/v1/payments?state={canary('state')}&currency={canary('currency')}")
    canary.send("GET", f"/v1/payments/pay_{canary('id')}")
    canary.send("GET", f"/{canary('path')}")
    canary.send("GET", "/v1/payments", Authorization=f"Bearer {canary('bearer')}")
    canary.send("GET", "/v1/payments", Authorization=f"Basic {canary('basic')}")
    canary.send("POST", "/v1/payments", payment(canary), Idempotency_Key=canary("key") + " with a space")
    canary.send("POST", "/v1/payments", payment(canary), Content_Type=f"text/{canary('mediatype')}")
    canary.send("POST", "/v1/payments", f'{{"amount": {canary("broken")}')
    canary.send("GET", "/v1/payments", traceparent=canary("traceparent"))
    canary.send("GET", f"/v1/payments?{canary('longquery') * 500}")
    for body in bodies():
        if scheme_of(body) != "webhookSignature":
            for path, _ in body.fields():
                wrong = f'["{canary("wrong")}"]'
                canary.send(body.method, body.url, body.with_raw(path, wrong).decode())
            canary.send(body.method, body.url, {**body.example, "amount": canary("amount")})


def webhooks(canary: Canary) -> None:
    """An event signed by the provider, whose texts are the payer's; one that nobody signed; one of another account."""
    body = next(body for body in bodies() if body.route.startswith("/webhooks/"))
    inner = {"object": "payment_intent", "id": "pi_none", "description": canary("hookdescription")}
    inner |= {"receipt_email": f"{canary('hookemail')}@shop.example", "metadata": {"note": canary("hookmetadata")}}
    event = body.example | {"id": f"evt_{uuid.uuid4().hex}", "data": {"object": inner}, "own": canary("hookmember")}
    raw = json.dumps(event)
    assert canary.send("POST", body.url, raw, Stripe_Signature=signature(raw.encode())).status_code == 200
    canary.send("POST", body.url, raw, Stripe_Signature=f"t=1,v1={canary('signature')}")
    canary.send("POST", f"/webhooks/stripe/{canary('account')}", raw)


def operators(canary: Canary, here: World) -> None:
    """Every text of every body and every query that an operator sends, beside one who tries to sign in."""
    existing = seed(here.connection, canary.gateway.merchant_id)
    with Database(here.database.url, size=1, application="canary") as database:
        token = open_session(database, "admin")
    mine = {
        "Cookie": f"{SESSION_COOKIE}={token}",
        "Origin": canary.gateway.url,
        "X_CSRF_Token": csrf_token(token, OPERATOR_KEY),
        "Authorization": "",
    }
    for body in bodies():
        if scheme_of(body) not in ("session", "nobody"):
            continue
        known = {"merchant": existing["merchant"][0]} if "merchant" in body.example else {}
        body = replace(body, example=body.example | known)
        for path, schema in body.fields():
            if schema["type"] == "string":
                raw = body.with_raw(path, json.dumps(canary(f"ops{path[-1] if path[-1] != ITEM else path[-2]}")))
                canary.send(body.method, filled(body.route, existing), raw.decode(), **mine)
    for route, name in texts_of_queries("session"):
        canary.send("GET", f"{filled(route, existing)}?{name}={canary('opsquery')}", **mine)
        canary.send("GET", f"{filled(route, existing)}?{name}={VISA}", **mine)
    of_nobody(canary, mine)


def of_nobody(canary: Canary, mine: dict[str, str]) -> None:
    """What there is not, in every place that a path of operators names something: no row of it, or a card number."""
    examples = {(body.method, body.route): body.example for body in bodies()}
    for route, methods in document()["paths"].items():
        if not route.startswith("/ops/v1/"):
            continue
        for name in (canary("opsid"), VISA):
            path = re.sub(r"\{\w+\}", name, route)
            for method in (method.upper() for method in methods if path != route):
                answer = canary.send(method, path, examples.get((method, route)), **mine)
                assert answer.status_code == 404, f"{method} {path}: {answer.text}"
        if "get" in methods:
            canary.send("GET", f"{path}?note={VISA}&{VISA}=note", **mine)


def filled(route: str, existing: dict[str, list[str]]) -> str:
    """The route with an id that exists in every place of one; each is named once, for it may be used up."""
    return re.sub(r"\{(\w+)\}", lambda found: existing[found[1]].pop(), route)


def texts_of_queries(scheme: str) -> list[tuple[str, str]]:
    """Every text in a query of whom this scheme lets in, as (route, name)."""
    return [
        (route, parameter["name"])
        for route, methods in document()["paths"].items()
        if any(scheme in names for names in methods.get("get", {}).get("security", []))
        for parameter in methods["get"].get("parameters", [])
        if parameter.get("in") == "query" and parameter["schema"]["type"] == "string"
    ]


def found_in_database(here: World, needle: str) -> set[str]:
    """Every column, of every table of ours and of the queue, where some row holds the text, in bytes or JSON too."""
    found = set()
    for table in here.all("select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                          " where c.relkind = 'r' and n.nspname in ('postbox', 'procrastinate')"):  # fmt: skip
        query = names.SQL("select * from {}").format(names.Identifier(table["nspname"], table["relname"]))
        cursor = here.connection.cursor()
        cursor.adapters.register_loader("timestamptz", TextLoader)  # -infinity is no moment of Python's
        for row in cursor.execute(query):
            found |= {f"{table['relname']}.{column}" for column, value in row.items() if needle in as_text(value)}
    return found


def as_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@pytest.fixture(scope="module")
def told(cluster, template, tmp_path_factory):
    """A gateway and a worker that have seen every canary, and are done with it; their world and the canary."""
    with world(cluster, template, tmp_path_factory.mktemp("canary")) as here:
        before = cluster.log_file.stat().st_size
        here.env |= {"POSTBOX_OPERATOR_KEY": OPERATOR_KEY, "POSTBOX_RATE_OPERATOR_WRITE": UNLIMITED}
        canary = Canary(start_gateway(here))
        for part in (accepted, refused, webhooks):
            part(canary)
        # before anybody takes them: a job that is done is deleted
        canary.jobs = here.all("select * from procrastinate_jobs")
        worker = here.worker()
        until(lambda: not here.pending(), here.pending, seconds=120)
        worker.terminate()  # what operators act upon is seeded, and not the worker's
        worker.wait(DRAIN_SECONDS)
        operators(canary, here)
        canary.postgres_log = cluster.log_file.read_bytes()[before:].decode(errors="replace")
        canary.metrics = requests.get(canary.gateway.url + "/metrics", timeout=30).text
        yield here, canary


def test_the_database_holds_each_only_in_its_columns(told):
    here, canary = told
    strayed = [
        f"{label} in {column}"
        for label in sorted(canary.labels)
        for column in sorted(found_in_database(here, canary.secret + label) - ALLOWED.get(label, set()))
    ]
    assert not strayed, "\n".join(strayed)


def test_each_is_found_where_it_must_be_so_the_search_works(told):
    here, canary = told
    for label in ALLOWED:
        assert found_in_database(here, canary.secret + label), label
    assert canary.secret in str(here.all("select * from events"))


def test_a_job_carries_the_names_of_its_delivery_and_nothing_else(told):
    _, canary = told
    assert {job["args"]["handler"] for job in canary.jobs} >= {"submit_payment", "apply_webhook"}
    assert {tuple(sorted(job["args"])) for job in canary.jobs} == {("event_id", "handler", "merchant_id")}
    assert canary.secret not in str(canary.jobs)


def test_every_line_of_web_and_worker_is_json_and_each_kind_was_written(told):
    here, _ = told
    lines = [json.loads(line) for line in Path(here.log).read_text().splitlines()]
    assert all({"at", "level", "message"} <= set(line) for line in lines)
    assert {"request", "delivery", "provider call", "turned away"} <= {line["message"] for line in lines}


def test_a_trace_is_followed_from_the_request_into_the_worker(told):
    here, canary = told
    lines = [json.loads(line) for line in Path(here.log).read_text().splitlines()]
    [request] = [line for line in lines if line.get("trace_id") == TRACE]
    assert (request["route"], request["status"]) == ("/v1/payments", 201)
    key_id = canary.gateway.key.split("_")[2]
    assert (request["merchant_id"], request["key_id"]) == (str(canary.gateway.merchant_id), key_id)
    followed = {(line["message"], line["handler"]) for line in lines if line.get("caused_by") == TRACE}
    assert {("delivery", "submit_payment"), ("provider call", "submit_payment")} <= followed


def test_no_log_holds_any_but_the_request_id(told, cluster):
    here, canary = told
    logs = Path(here.log).read_text(errors="replace") + canary.postgres_log
    assert {label for label in canary.labels if canary.secret + label in logs} <= {"requestid"}


def test_no_problem_and_no_metric_tells_one_back(told):
    _, canary = told
    answers = "\n".join(canary.answers)
    assert len(canary.answers) > 25, "refused() provokes one problem or more for each way to be refused"
    # A pointer names the member that it refuses; the caller made the name.
    # And an operator is told what it is that is not paused.
    assert {label for label in canary.labels if canary.secret + label in answers} <= {"queryname", "opsname"}
    assert canary.secret not in canary.metrics


def test_a_card_number_that_an_operator_looks_for_is_nowhere(told):
    here, canary = told
    logs = Path(here.log).read_text(errors="replace") + canary.postgres_log + canary.metrics + "".join(canary.answers)
    assert found_in_database(here, VISA) == set()
    assert VISA not in logs


def test_a_key_is_in_no_log_no_table_and_no_answer(told):
    """The API key's secret, the pepper and the webhook's: what opens a door is found nowhere at all."""
    here, canary = told
    secret = canary.gateway.key.rsplit("_", 1)[1]
    logs = Path(here.log).read_text(errors="replace") + canary.postgres_log + canary.metrics + "".join(canary.answers)
    assert found_in_database(here, secret) == set()
    for text in (secret, here.environment()["POSTBOX_KEY_PEPPER"], here.environment()["STRIPE_WEBHOOK_SECRETS"]):
        assert text not in logs
