"""Every error is one shape, tells no secret, and is found again by its request id."""

from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from app import errors
from app.config import ROOT
from app.gateway import problems
from app.gateway.errors import CODES, PROBLEMS
from app.services import payments
from tests.gateway.conftest import CARD

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "errors", "request_id"}


def assert_problem(answer, status, code):
    body = answer.get_json()
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == "urn:postbox:problem:" + code.replace("_", "-")
    assert body["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/payments/", 404, "not_found"),
        ("GET", "//v1/payments", 404, "not_found"),
        ("DELETE", "/v1/payments", 405, "method_not_allowed"),
        ("BREW", "/v1/payments", 405, "method_not_allowed"),
        ("GET", "/webhooks/stripe/default", 405, "method_not_allowed"),
        ("POST", "/webhooks/stripe/other", 400, "webhook_refused"),
        ("GET", "/v1/payments", 401, "unauthenticated"),
        ("POST", "/v1/payments", 401, "unauthenticated"),
        ("GET", "/docs/assets/oauth2-redirect.js", 404, "not_found"),
        ("GET", "/problems/no-such", 404, "not_found"),
        ("GET", "/static/app.css", 404, "not_found"),
    ],
)
def test_what_the_framework_refuses_is_a_problem_too(app, method, path, status, code):
    assert_problem(app.test_client().open(path, method=method), status, code)


def test_a_405_tells_what_is_allowed(app):
    assert "POST" in app.test_client().delete("/v1/payments").headers["Allow"]


def test_the_instance_is_the_route_and_never_what_was_put_into_it(api):
    answer = api.get("/v1/payments/pay_4242424242424242/timeline")
    assert answer.get_json()["instance"] == "/v1/payments/{payment_id}/timeline"
    assert "4242" not in answer.text


@pytest.mark.parametrize("given", ["shop-1", "A.b_c-9", "x" * 64])
def test_a_harmless_request_id_is_kept(app, given):
    answer = app.test_client().get("/nowhere", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == answer.get_json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "<script>", "a;b"])
def test_any_other_request_id_is_replaced(app, given):
    answer = app.test_client().get("/healthz", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] != given
    assert len(answer.headers["X-Request-Id"]) == 32


def test_an_unexpected_exception_is_a_bare_500_and_logged(api, monkeypatch):
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("what only the log may know")

    monkeypatch.setattr(payments, "create", crash)
    with capture_logs() as lines:
        answer = api.post("/v1/payments", CARD, X_Request_Id="find-me")
    assert_problem(answer, 500, "internal_error")
    assert "only the log" not in answer.text
    [failed] = [line for line in lines if line["log_level"] == "error"]
    assert failed["request_id"] == "find-me"
    assert "only the log" in failed["exception"]


@pytest.mark.parametrize("raised", ["mapped", "as it came", "behind another"])
def test_no_database_text_leaves_in_an_answer_or_a_log(api, sql, monkeypatch, caplog, raised):
    sql.execute("alter table payments add constraint payments_test_refuses check (reference <> 'private')")
    if raised != "mapped":
        instead = RuntimeError("sqlstate 23514") if raised == "behind another" else None
        monkeypatch.setattr("app.db.pool.domain_error", lambda error: instead or error)
    with caplog.at_level("DEBUG"), capture_logs() as lines:
        answer = api.post("/v1/payments", CARD | {"reference": "private"})
    assert_problem(answer, 500, "internal_error")
    for secret in ("private", "pm_card_visa", "violates", "Failing row", "payments_test_refuses"):
        assert secret not in answer.text
    for secret in ("pm_card_visa", "Failing row"):
        assert secret not in caplog.text + str(lines)
    assert "23514" in str(lines)


def test_a_broken_query_does_not_show_itself(api, monkeypatch):
    from app.db.queries import QUERIES

    monkeypatch.setitem(QUERIES, "payments.get", "select no_such_column from payments")
    answer = api.get("/v1/payments/pay_" + "0" * 32)
    assert_problem(answer, 500, "internal_error")
    assert "column" not in answer.text


@pytest.mark.parametrize("sqlstate", ["53100", "53200", "58030", "57P01"])
def test_a_database_that_is_not_able_to_is_a_503(api, sql, monkeypatch, sqlstate):
    from app.db.queries import QUERIES

    sql.execute(
        "create function full_disk() returns setof payments language plpgsql as"
        f" $$ begin raise exception 'No space left' using errcode = '{sqlstate}'; end $$;"
        " grant execute on function full_disk to postbox_api"
    )
    monkeypatch.setitem(QUERIES, "payments.get", "select * from full_disk()")
    answer = api.get("/v1/payments/pay_" + "0" * 32)
    assert_problem(answer, 503, "database_down")
    assert (answer.headers["Retry-After"], "space" in answer.text) == ("5", False)


def test_a_serialization_failure_is_rerun_and_then_busy(api, monkeypatch):
    seen = []

    def conflict(*_: object, **__: object) -> None:
        seen.append(1)
        raise psycopg.errors.SerializationFailure

    # A made error has no server message behind it, so it is given the state that the server would send.
    monkeypatch.setattr(psycopg.errors.SerializationFailure, "sqlstate", "40001", raising=False)
    monkeypatch.setattr(payments, "create", conflict)
    assert_problem(api.post("/v1/payments", CARD), 503, "busy")
    assert len(seen) > 1


def test_every_error_of_the_domain_is_in_the_table_or_is_a_500_on_purpose():
    ours = {kind for module in (errors, problems) for kind in vars(module).values() if isinstance(kind, type)}
    ours = {kind for kind in ours if issubclass(kind, errors.PostboxError)}
    internal = {errors.PostboxError, errors.ActorRefused, errors.ActorMissing, errors.ConstraintViolated}
    # one without a code of its own is told as what it is a kind of
    named = {kind for kind in ours if "code" in vars(kind)}
    assert named - internal <= set(PROBLEMS) <= ours
    assert all(set(kind.__mro__) & set(PROBLEMS) for kind in ours - named)


def test_every_code_is_documented():
    page = Path(ROOT / "docs" / "api-errors.md").read_text()
    for code in {kind.code for kind in PROBLEMS} | set(CODES.values()) | {"not_found", "method_not_allowed"}:
        assert f"`{code}`" in page, code
