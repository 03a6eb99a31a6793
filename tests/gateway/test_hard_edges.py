"""What every answer carries, and whom we believe about the client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Response, request

from app.gateway import create_app
from app.gateway.context import EXTENSION
from app.gateway.security_headers import PAGE_POLICY

# Kept by hand: what a header says is a decision, and a line that is lost must be seen.
WANTED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
FORWARDED = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}
FORWARDED |= {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "Forwarded": "for=203.0.113.1"}


@pytest.fixture
def behind(settings):
    """Makes an application behind so many proxies, and returns what it believes about a forwarded request."""
    made = []

    def believed(proxies: int) -> dict[str, Any]:
        app = create_app(replace(settings, trusted_proxies=proxies))
        made.append(app)
        seen: dict[str, Any] = {}
        app.before_request(lambda: seen.update(address=request.remote_addr, scheme=request.scheme, host=request.host))
        answer = app.test_client().get("/healthz", headers=FORWARDED)
        return seen | {"hsts": answer.headers.get("Strict-Transport-Security")}

    yield believed
    for app in made:
        app.extensions[EXTENSION].database.close()


def test_forwarded_headers_are_ignored_unless_a_proxy_is_named(behind):
    assert behind(0) == {"address": "127.0.0.1", "scheme": "http", "host": "localhost", "hsts": None}


def test_behind_proxies_the_address_is_the_one_that_the_outermost_of_ours_saw(behind):
    seen = {"scheme": "https", "host": "localhost", "hsts": "max-age=31536000"}
    assert behind(1) == seen | {"address": "198.51.100.7"}
    # with more proxies of ours than the header tells of, somebody came around one of them: nothing is believed
    assert behind(2) == {"address": "203.0.113.9", "scheme": "http", "host": "localhost", "hsts": None}
    assert behind(3) == {"address": "127.0.0.1", "scheme": "http", "host": "localhost", "hsts": None}


@pytest.mark.parametrize(
    "path, status",
    [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/payments", 401), ("/nowhere", 404), ("/v1/x", 404)],
)
def test_every_answer_carries_the_security_headers(app, path, status):
    answer = app.test_client().get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in WANTED} == WANTED
    assert "Strict-Transport-Security" not in answer.headers


def test_an_answer_to_a_good_key_and_a_crash_carry_them_too(app, api, monkeypatch):
    made = api.post("/v1/payments", {})
    monkeypatch.setattr("app.services.payments.page", None)
    crashed = api.get("/v1/payments")
    assert (made.status_code, crashed.status_code) == (422, 500)
    for answer in (made, crashed):
        assert {name: answer.headers.get(name) for name in WANTED} == WANTED


def test_a_page_loads_its_own_files_and_nothing_else(app):
    app.add_url_rule("/page", view_func=lambda: Response("<p>", mimetype="text/html"))
    answer = app.test_client().get("/page")
    assert answer.headers["Content-Security-Policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY and "*" not in PAGE_POLICY and "http" not in PAGE_POLICY


def test_a_view_that_may_be_cached_says_so_itself(app):
    app.add_url_rule("/asset", view_func=lambda: Response("x", headers={"Cache-Control": "public, max-age=60"}))
    assert app.test_client().get("/asset").headers["Cache-Control"] == "public, max-age=60"
