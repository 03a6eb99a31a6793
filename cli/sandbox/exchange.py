"""Owns one API exchange from request to answer: key, fault, idempotency, execution; it does not touch sockets."""

import base64
import binascii
import dataclasses
import sys
import threading
import time
import traceback
from typing import Any
from urllib.parse import urlsplit

from cli.sandbox.errors import StripeError, invalid, key_in_use, rate_limited, server_error, unauthorized
from cli.sandbox.expand import check_paths, expand
from cli.sandbox.faults import Faults
from cli.sandbox.idempotency import Keys, check_key, fingerprint
from cli.sandbox.params import check, decode
from cli.sandbox.router import Route, route
from cli.sandbox.table import Row
from cli.sandbox.tasks import run_due_once
from cli.sandbox.traffic import Traffic
from cli.sandbox.world import API_VERSION, World, dumps, unpack

JSON = "application/json"


@dataclasses.dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass
class Reply:
    """An answer, and what the server does to the connection instead of, or before, sending it."""

    status: int
    body: str
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    kind: str = JSON
    fault: str | None = None
    seconds: float = 0.0


class Exchange:
    """Serves `/v1/...` of one world to the holders of its API keys."""

    def __init__(self, world: World, api_keys: list[str], faults: Faults, traffic: Traffic) -> None:
        self._world = world
        self._api_keys = frozenset(api_keys)
        self._faults = faults
        self._traffic = traffic
        self._keys = Keys(world)
        self._lock = threading.Lock()
        self._count = 0

    def serve(self, request: Request) -> Reply:
        with self._lock:
            self._count += 1
            request_id = f"req_{int(time.time() * 1000):x}{self._count:06x}"
        url = urlsplit(request.target)
        key = request.headers.get("idempotency-key", "") if request.method == "POST" else ""
        entry = self._traffic.open(
            {
                "id": request_id,
                "at": self._world.now(),
                "method": request.method,
                "path": url.path,
                "idempotency_key": key or None,
                "payment_intent": None,
                "status": None,
                "fault": None,
                "replayed": False,
            }
        )
        try:
            reply = self._serve(request, url.path, url.query, key, request_id, entry)
        except StripeError as error:
            reply = _refusal(error)
        reply.headers.setdefault("Request-Id", request_id)
        reply.headers["Stripe-Version"] = API_VERSION
        if key:
            reply.headers["Idempotency-Key"] = key
        entry["status"] = reply.status
        entry["fault"] = entry["fault"] or reply.fault
        return reply

    def _serve(self, request: Request, path: str, query: str, key: str, request_id: str, entry: Row) -> Reply:
        self._authenticate(request.headers.get("authorization", ""))
        version = request.headers.get("stripe-version", API_VERSION)
        if version != API_VERSION:
            raise invalid(f"The Postbox sandbox serves the API version {API_VERSION} only, not {version}.")
        if "stripe-account" in request.headers:
            raise invalid("The Postbox sandbox serves one account: Stripe-Account is refused.")
        found = route(request.method, path)
        if found is None:
            raise StripeError(404, "invalid_request_error", f"Unrecognized request URL ({request.method}: {path}).")
        try:
            text = request.body.decode() if request.method == "POST" else query
        except UnicodeDecodeError:
            raise invalid("The request's body is not UTF-8.") from None
        given = decode(text)
        run_due_once(self._world)
        entry["payment_intent"], intent = self._subject(found, given)
        fault = self._faults.pick_request(request.method, path, found.endpoint, key, intent)
        kind, seconds = fault or ("", None)
        entry["fault"] = kind or None
        hold = self._world.timing.hold if seconds is None else seconds
        if kind in ("timeout_before", "reset_before"):
            return Reply(0, "", fault=kind, seconds=hold)
        if kind == "error_500_before":
            raise server_error()
        if kind == "rate_limit_429":
            return _refusal(rate_limited(), retry_after=seconds)
        if kind == "conflict_409":
            raise key_in_use(key)
        if request.method == "GET":
            with self._world.lock:
                reply = Reply(200, self._execute(found, given))
        else:
            reply = self._write(request.method, path, key, request_id, found, given, kind, hold, entry)
        if kind in ("timeout_after", "reset_mid_body", "slow"):
            reply.fault, reply.seconds = kind, hold
        return reply

    def _write(
        self,
        method: str,
        path: str,
        key: str,
        request_id: str,
        found: Route,
        given: dict[str, Any],
        kind: str,
        hold: float,
        entry: Row,
    ) -> Reply:
        if not key:
            return self._run(request_id, None, "", found, given, kind, entry)
        check_key(key)
        print_ = fingerprint(method, path, given)
        with self._world.lock:
            record = self._keys.begin(key, print_)
        if record is not None:
            entry["replayed"] = True
            headers = {"Idempotent-Replayed": "true", "Original-Request": record["request_id"]}
            return Reply(record["status"], unpack(record["body"]), headers)
        try:
            if kind == "slow_execute":
                self._faults.wait(hold)
            return self._run(request_id, key, print_, found, given, kind, entry)
        finally:
            with self._world.lock:
                self._keys.end(key)

    def _run(
        self,
        request_id: str,
        key: str | None,
        print_: str,
        found: Route,
        given: dict[str, Any],
        kind: str,
        entry: Row,
    ) -> Reply:
        """Execute and remember in one ledger record, so that a crash leaves both or neither."""
        with self._world.change({"id": request_id, "idempotency_key": key}):
            saved = True
            try:
                if kind == "error_500_saved":
                    raise server_error()
                reply = Reply(200, self._execute(found, given))
                entry["payment_intent"] = entry["payment_intent"] or _created_intent(found, reply.body)
                if kind == "error_500_after":
                    raise server_error()
            except StripeError as error:
                reply = _refusal(error)
                saved = error.saved
                if kind == "error_500_after" and saved:
                    reply = _refusal(server_error())
            except Exception:
                traceback.print_exc(file=sys.stderr)
                reply = _refusal(server_error())
            if key and saved:
                self._keys.save(key, print_, reply.status, reply.body, request_id)
            return reply

    def _execute(self, found: Route, given: dict[str, Any]) -> str:
        params = check(found.endpoint, given)
        paths = params.pop("expand", [])
        check_paths(found.endpoint, paths)
        return dumps(expand(self._world, found.serve(self._world, found.ident, params), paths))

    def _authenticate(self, header: str) -> None:
        scheme, _, given = header.partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        if given.strip() not in self._api_keys:
            raise unauthorized(given.strip())

    def _subject(self, found: Route, given: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """The id of the payment intent a request is about, and what fault rules look at: it, or the parameters."""
        ident = found.ident if "/payment_intents/" in found.endpoint else given.get("payment_intent")
        with self._world.lock:
            intent = self._world.get("payment_intent", ident) if isinstance(ident, str) else None
        if intent is not None:
            return intent["id"], intent
        return None, given


def _refusal(error: StripeError, *, retry_after: float | None = None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": str(round(retry_after))}
    return Reply(error.status, dumps({"error": error.body}), headers)


def _created_intent(found: Route, body: str) -> str | None:
    if found.endpoint != "POST /v1/payment_intents":
        return None
    return body[7 : body.index('"', 7)]
