"""Owns the endpoints under /_sandbox/: what tests and people do to the sandbox that Stripe would not let them."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cli.sandbox.endpoints import set_endpoint
from cli.sandbox.errors import StripeError
from cli.sandbox.exchange import Reply, Request
from cli.sandbox.faults import Faults
from cli.sandbox.idempotency import prune
from cli.sandbox.ledger import MAX_PAYMENTS, read_ledger
from cli.sandbox.objects.confirmations import authenticate, take_word_back
from cli.sandbox.objects.damage import exchange_line, write_line
from cli.sandbox.objects.disputes import (
    lose_dispute,
    open_dispute,
    set_dispute_status,
    update_dispute,
    win_dispute,
)
from cli.sandbox.objects.payment_intents import find_intent
from cli.sandbox.objects.payouts import fail_payout, make_automatic_payout
from cli.sandbox.objects.refunds import fail_refund, find_refund, succeed_refund
from cli.sandbox.pages import press, show_challenge
from cli.sandbox.table import Row
from cli.sandbox.tasks import run_due_once
from cli.sandbox.traffic import MAX_REQUESTS, Traffic
from cli.sandbox.webhooks import Webhooks
from cli.sandbox.world import World, dumps, shown, unpack

FLUSH_SECONDS = 5.0
MAX_REDELIVERIES = 100
Act = Callable[[str, dict[str, Any]], Any]


class Control:
    """Serves `/_sandbox/...`: JSON in, JSON out, no key; a mistake is a 400 with `{"error": ...}`."""

    def __init__(self, world: World, faults: Faults, traffic: Traffic, webhooks: Webhooks) -> None:
        self._world, self._faults, self._traffic, self._webhooks = world, faults, traffic, webhooks
        self._started = time.time()
        self._acts: dict[str, Act] = {
            "GET health": self._health,
            "GET ledger": self._ledger,
            "GET requests": self._requests,
            "GET clock": self._clock,
            "POST clock": self._clock,
            "GET timing": self._timing,
            "POST timing": self._timing,
            "GET faults": self._list_faults,
            "POST faults": self._add_faults,
            "DELETE faults": self._clear_faults,
            "DELETE faults/{id}": self._clear_faults,
            "POST payment_intents/{id}/authenticate": self._authenticate,
            "POST payment_intents/{id}/take_back": self._take_back,
            "POST charges/{id}/dispute": self._dispute,
            "POST disputes/{id}/win": lambda ident, _: self._change(lambda: win_dispute(world, ident)),
            "POST disputes/{id}/lose": lambda ident, _: self._change(lambda: lose_dispute(world, ident)),
            "POST disputes/{id}/review": lambda ident, _: self._change(lambda: _review(world, ident)),
            "POST disputes/{id}/status": self._set_dispute_status,
            "POST refunds/{id}/fail": self._fail_refund,
            "POST refunds/{id}/succeed": self._succeed_refund,
            "POST balance_transactions": lambda _, given: self._change(lambda: write_line(world, **given)),
            "POST balance_transactions/{id}/exchange": lambda ident, given: self._change(
                lambda: exchange_line(world, ident, float(given["rate"]))
            ),
            "POST payouts": self._pay_out,
            "POST payouts/{id}/fail": lambda ident, _: self._change(lambda: fail_payout(world, ident)),
            "GET webhooks": self._deliveries,
            "POST webhooks/pause": lambda _i, _b: self._pause(True),
            "POST webhooks/resume": lambda _i, _b: self._pause(False),
            "POST webhooks/flush": self._flush,
            "GET webhooks/endpoints": self._endpoints,
            "POST webhooks/endpoints": self._add_endpoint,
            "DELETE webhooks/endpoints/{id}": self._drop_endpoint,
            "POST events": self._emit,
            "POST events/{id}/redeliver": self._redeliver,
            "GET idempotency": self._show_key,
            "POST idempotency/prune": self._prune,
        }

    def serve(self, request: Request) -> Reply:
        url = urlsplit(request.target)
        parts = url.path.strip("/").split("/")[1:]
        run_due_once(self._world)
        try:
            if parts[:1] == ["3ds"] and len(parts) == 2:
                return self._page(request, parts[1])
            act, ident = self._find(request.method, parts)
            given: dict[str, Any] = dict(parse_qsl(url.query))
            if request.body:
                body = json.loads(request.body)
                if not isinstance(body, dict):
                    raise ValueError("the body is a JSON object")
                given.update(body)
            return Reply(200, dumps(act(ident, given)))
        except StripeError as error:
            return Reply(error.status, dumps({"error": error.body}))
        except (ValueError, TypeError, KeyError) as error:
            return Reply(400, dumps({"error": {"message": f"{type(error).__name__}: {error}"}}))

    def _find(self, method: str, parts: list[str]) -> tuple[Act, str]:
        act = self._acts.get(f"{method} {'/'.join(parts)}")
        if act is not None:
            return act, ""
        for place in (1, 2):
            if len(parts) > place:
                pattern = "/".join([*parts[:place], "{id}", *parts[place + 1 :]])
                if (act := self._acts.get(f"{method} {pattern}")) is not None:
                    return act, parts[place]
        raise StripeError(
            404, "invalid_request_error", f"No such control endpoint: {method} /_sandbox/{'/'.join(parts)}"
        )

    def _page(self, request: Request, ident: str) -> Reply:
        if request.method == "GET":
            with self._world.lock:
                return Reply(200, show_challenge(self._world, ident), kind="text/html; charset=utf-8")
        outcome = dict(parse_qsl(request.body.decode())).get("outcome", "")
        if outcome not in ("success", "failure"):
            raise ValueError("outcome is success or failure")
        with self._world.change():
            to = press(self._world, ident, outcome)
            page = show_challenge(self._world, ident)
        if to is None:
            return Reply(200, page, kind="text/html; charset=utf-8")
        return Reply(303, "", {"Location": to})

    def _change(self, act: Callable[[], Row]) -> Row:
        with self._world.change():
            return act()

    # -- reading ------------------------------------------------------------------------------------------------

    def _health(self, _ident: str, _given: dict[str, Any]) -> Row:
        with self._world.lock:
            objects = {kind: len(table.rows) for kind, table in self._world.tables.items()}
            undelivered = len(self._world.undelivered)
        return {
            "ok": True,
            "account": self._world.account,
            "seed": self._world.seed,
            "started": self._started,
            "objects": objects,
            "idempotency_keys": len(self._world.keys),
            "undelivered_events": undelivered,
            "webhooks": {"paused": self._webhooks.paused, **self._webhooks.counts()},
        }

    def _ledger(self, _ident: str, given: dict[str, Any]) -> Row:
        limit = int(given.pop("limit", MAX_PAYMENTS))
        for name in given:
            if name not in ("payment_id", "payment_intent") and not name.startswith("metadata."):
                raise ValueError(f"unknown filter {name}")
        with self._world.lock:
            return read_ledger(self._world, given, limit)

    def _requests(self, _ident: str, given: dict[str, Any]) -> Row:
        limit = int(given.pop("limit", MAX_REQUESTS))
        found = self._traffic.find(given, limit)
        return {"count": len(found), "requests": found}

    def _show_key(self, _ident: str, given: dict[str, Any]) -> Row:
        with self._world.lock:
            record = self._world.keys.get(given["key"])
            return {"record": record and {**record, "body": unpack(record["body"])}}

    # -- time ---------------------------------------------------------------------------------------------------

    def _clock(self, _ident: str, given: dict[str, Any]) -> Row:
        ran = 0
        if given:
            with self._world.change() as world:
                seconds = given["advance"] if "advance" in given else given["set"] - world.now()
                world.clock.advance(float(seconds))
                world.note("offset", world.clock.offset)
            ran = run_due_once(self._world)
            prune(self._world, self._world.now() - self._world.timing.key_kept)
            self._world.on_task()
        with self._world.lock:
            return {
                "now": self._world.now(),
                "offset": self._world.clock.offset,
                "next_due": self._world.next_due(),
                "ran": ran,
            }

    def _timing(self, _ident: str, given: dict[str, Any]) -> Row:
        self._world.timing.change(given)
        return dict(vars(self._world.timing))

    # -- faults -------------------------------------------------------------------------------------------------

    def _list_faults(self, _ident: str, _given: dict[str, Any]) -> Row:
        return {"rules": self._faults.rules, "plan": self._faults.plan}

    def _add_faults(self, _ident: str, given: dict[str, Any]) -> Row:
        if "rules" in given:
            return {"rules": [self._faults.add_rule(rule) for rule in given["rules"]]}
        return self._faults.set_plan(given) if "seed" in given else self._faults.add_rule(given)

    def _clear_faults(self, ident: str, _given: dict[str, Any]) -> Row:
        self._faults.clear(ident or None)
        return self._list_faults("", {})

    # -- what banks and payers do -------------------------------------------------------------------------------

    def _authenticate(self, ident: str, given: dict[str, Any]) -> Row:
        outcome = given["outcome"]
        if outcome not in ("success", "failure"):
            raise ValueError("outcome is success or failure")
        return self._change(lambda: authenticate(self._world, find_intent(self._world, ident), outcome == "success"))

    def _take_back(self, ident: str, _given: dict[str, Any]) -> Row:
        return self._change(lambda: take_word_back(self._world, find_intent(self._world, ident)))

    def _dispute(self, ident: str, given: dict[str, Any]) -> Row:
        reason, status = given.get("reason", "fraudulent"), given.get("status", "needs_response")
        return self._change(lambda: open_dispute(self._world, ident, reason, status, given.get("amount")))

    def _set_dispute_status(self, ident: str, given: dict[str, Any]) -> Row:
        return self._change(lambda: set_dispute_status(self._world, ident, str(given["status"])))

    def _fail_refund(self, ident: str, given: dict[str, Any]) -> Row:
        return self._change(lambda: fail_refund(self._world, ident, given.get("reason", "lost_or_stolen_card")))

    def _succeed_refund(self, ident: str, _given: dict[str, Any]) -> Row:
        with self._world.change() as world:
            succeed_refund(world, ident)
            return shown(find_refund(world, ident))

    def _pay_out(self, _ident: str, given: dict[str, Any]) -> Row:
        currency, short = given.get("currency", "usd"), int(given.get("short", 0))
        return self._change(lambda: make_automatic_payout(self._world, currency, short))

    # -- webhooks and events ------------------------------------------------------------------------------------

    def _deliveries(self, _ident: str, given: dict[str, Any]) -> Row:
        found = [row for row in list(self._webhooks.log) if all(str(row.get(k)) == v for k, v in given.items())]
        return {"paused": self._webhooks.paused, **self._webhooks.counts(), "deliveries": found}

    def _pause(self, paused: bool) -> Row:
        self._webhooks.pause(paused)
        return {"paused": paused, **self._webhooks.counts()}

    def _flush(self, _ident: str, given: dict[str, Any]) -> Row:
        self._webhooks.pause(False)
        return {"queued": self._webhooks.flush(float(given.get("seconds", FLUSH_SECONDS)))}

    def _endpoints(self, _ident: str, _given: dict[str, Any]) -> Row:
        return {"endpoints": list(self._world.tables["webhook_endpoint"].rows.values())}

    def _add_endpoint(self, _ident: str, given: dict[str, Any]) -> Row:
        return self._change(
            lambda: set_endpoint(self._world, given["url"], given["secret"], given.get("enabled_events", ["*"]))
        )

    def _drop_endpoint(self, ident: str, _given: dict[str, Any]) -> Row:
        with self._world.change() as world:
            endpoint = world.tables["webhook_endpoint"].rows[ident]
            endpoint["status"] = "disabled"
            return world.put(endpoint)

    def _emit(self, _ident: str, given: dict[str, Any]) -> Row:
        with self._world.change() as world:
            world.emit(str(given["type"]), dict(given["object"]))
        return {"type": given["type"]}

    def _redeliver(self, ident: str, given: dict[str, Any]) -> Row:
        event = self._world.get("event", ident)
        if event is None:
            raise KeyError(ident)
        count = min(int(given.get("count", 1)), MAX_REDELIVERIES)
        return {"statuses": self._webhooks.redeliver(event, count, bool(given.get("parallel", False)))}

    def _prune(self, _ident: str, given: dict[str, Any]) -> Row:
        with self._world.change() as world:
            if "key" in given:
                return {"pruned": world.forget([given["key"]])}
            return {"pruned": prune(world, world.now() - float(given.get("older_than", 0)))}


def _review(world: World, ident: str) -> Row:
    return update_dispute(world, ident, {"evidence": {"uncategorized_text": "under review"}, "submit": True})
