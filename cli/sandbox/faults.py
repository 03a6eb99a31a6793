"""Owns when a request or a webhook goes wrong, by rule or by seed; how it goes wrong is the server's business."""

import hashlib
import random
import threading
from fnmatch import fnmatchcase
from typing import Any

REQUEST_KINDS = (
    "timeout_before",  # hold the connection, execute nothing, close it
    "timeout_after",  # execute, hold the connection, close it without an answer
    "error_500_before",  # 500, nothing executed, nothing saved
    "error_500_saved",  # 500, nothing executed, the 500 saved under the key
    "error_500_after",  # execute, answer 500, the 500 saved under the key
    "conflict_409",  # 409 idempotency_key_in_use
    "rate_limit_429",  # with a Retry-After of `seconds`, if they are given
    "reset_before",  # TCP reset, nothing executed
    "reset_mid_body",  # execute, send half of the answer, TCP reset
    "slow",  # execute at once, answer late
    "slow_execute",  # hold the key, execute late, answer late
)
# What a key has to do with does not happen to a GET, and a GET executes nothing.
GET_KINDS = ("timeout_before", "error_500_before", "rate_limit_429", "reset_before", "reset_mid_body", "slow")
WEBHOOK_KINDS = (
    "webhook_duplicate",
    "webhook_reordered",  # held until a later one was delivered, or for `seconds`
    "webhook_late",  # sent `seconds` later
    "webhook_dropped",  # never sent
    "webhook_bad_signature",  # this attempt only
    "webhook_stale",  # this attempt only: signed an hour ago
)
_RULE_FIELDS = "kind method path key event metadata intent nth count probability seconds"
RULE_FIELDS = frozenset(_RULE_FIELDS.split())
_SEED_FIELDS = "seed rate kinds webhook_rate webhook_kinds identify_by seconds webhook_seconds"
SEED_FIELDS = frozenset(_SEED_FIELDS.split())
MAX_RULES = 1000


class Faults:
    """The rules in force, and the seeded plan; thread-safe."""

    def __init__(self, seed: str) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._next = 0
        self.rules: list[dict[str, Any]] = []
        self.plan: dict[str, Any] = {}
        self._attempts: dict[str, int] = {}
        self._cleared = threading.Event()

    def add_rule(self, given: dict[str, Any]) -> dict[str, Any]:
        """Add one rule; ValueError says what is wrong with it."""
        unknown = set(given) - RULE_FIELDS
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        if given.get("kind") not in REQUEST_KINDS + WEBHOOK_KINDS:
            raise ValueError(f"kind is one of {', '.join(REQUEST_KINDS + WEBHOOK_KINDS)}")
        with self._lock:
            if len(self.rules) >= MAX_RULES:
                raise ValueError(f"at most {MAX_RULES} rules")
            self._next += 1
            rule = {
                "id": f"fault_{self._next}",
                "method": "*",
                "path": "*",
                "key": "*",
                "event": "*",
                "metadata": {},
                "intent": {},
                "nth": 1,
                "count": 1,
                "probability": 1.0,
                "seconds": None,
                **given,
                "matched": 0,
                "fired": 0,
            }
            self.rules.append(rule)
            return dict(rule)

    def set_plan(self, given: dict[str, Any]) -> dict[str, Any]:
        """Fail `rate` of all calls (0-1) by `seed`; the same seed and calls fail the same way again."""
        unknown = set(given) - SEED_FIELDS
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)[0]}")
        for name, known in (("kinds", REQUEST_KINDS), ("webhook_kinds", WEBHOOK_KINDS)):
            if not set(given.get(name, ())) <= set(known):
                raise ValueError(f"{name} are some of {', '.join(known)}")
        with self._lock:
            self.plan = {
                "seed": str(given["seed"]),
                "rate": float(given.get("rate", 0)),
                "kinds": list(given.get("kinds", REQUEST_KINDS)),
                "webhook_rate": float(given.get("webhook_rate", 0)),
                "webhook_kinds": list(given.get("webhook_kinds", WEBHOOK_KINDS)),
                "identify_by": given.get("identify_by"),
                "seconds": given.get("seconds"),
                "webhook_seconds": given.get("webhook_seconds"),
            }
            self._attempts.clear()
            return dict(self.plan)

    def clear(self, ident: str | None = None) -> None:
        """Remove one rule, or every rule and the plan; without them nothing keeps a late execution waiting."""
        with self._lock:
            self.rules = [rule for rule in self.rules if ident is not None and rule["id"] != ident]
            if ident is None:
                self.plan = {}
                self._cleared.set()
                self._cleared = threading.Event()

    def wait(self, seconds: float) -> None:
        """Keep one request waiting, until all faults are cleared at the latest."""
        self._cleared.wait(seconds)

    def pick_request(
        self, method: str, path: str, endpoint: str, key: str, intent: dict[str, Any]
    ) -> tuple[str, float | None] | None:
        """The fault of one API request and its seconds, or None.

        `intent` is the payment intent it is about, or the parameters of the request that creates one.
        """
        if not self.rules and not self.plan:
            return None
        metadata = intent.get("metadata")
        if not isinstance(metadata, dict):
            metadata = {}
        with self._lock:
            for rule in self.rules:
                if (
                    rule["kind"] in REQUEST_KINDS
                    and rule["method"] in ("*", method)
                    and fnmatchcase(path, rule["path"])
                    and fnmatchcase(key, rule["key"])
                    and _carries(metadata, rule["metadata"])
                    and _carries(intent, rule["intent"])
                    and self._fires(rule)
                ):
                    return rule["kind"], rule["seconds"]
            kinds = [k for k in self.plan.get("kinds", ()) if method == "POST" or k in GET_KINDS]
            identity = self._identity(intent, key or path)
            kind = self._draw(f"{endpoint}|{identity}", self.plan.get("rate", 0), kinds)
            return (kind, self.plan["seconds"]) if kind else None

    def pick_webhook(self, topic: str, event: dict[str, Any], first: bool) -> tuple[str, float | None] | None:
        """The fault of one webhook delivery; the seeded plan looks at first attempts only."""
        if not self.rules and not self.plan:
            return None
        with self._lock:
            for rule in self.rules:
                if (
                    rule["kind"] in WEBHOOK_KINDS
                    and fnmatchcase(topic, rule["event"])
                    and _carries(event["metadata"], rule["metadata"])
                    and self._fires(rule)
                ):
                    return rule["kind"], rule["seconds"]
            if not first:
                return None
            identity = self._identity(event, event["subject"] or "")
            rate, kinds = self.plan.get("webhook_rate", 0), self.plan.get("webhook_kinds", [])
            kind = self._draw(f"{topic}|{identity}", rate, kinds)
            return (kind, self.plan["webhook_seconds"]) if kind else None

    def _fires(self, rule: dict[str, Any]) -> bool:
        rule["matched"] += 1
        if rule["matched"] < rule["nth"] or (rule["count"] is not None and rule["fired"] >= rule["count"]):
            return False
        if rule["probability"] < 1 and self._random.random() >= rule["probability"]:
            return False
        rule["fired"] += 1
        return True

    def _identity(self, about: dict[str, Any], otherwise: str) -> str:
        # Ids and keys differ from run to run; a reference in the metadata, or the description, does not.
        name = self.plan.get("identify_by") or ""
        metadata = about.get("metadata")
        named = (metadata.get(name) if isinstance(metadata, dict) else None) or about.get(name)
        return str(named or otherwise)

    def _draw(self, identity: str, rate: float, kinds: list[str]) -> str | None:
        if not rate or not kinds:
            return None
        ordinal = self._attempts[identity] = self._attempts.get(identity, 0) + 1
        drawn = hashlib.sha256(f"{self.plan['seed']}|{identity}|{ordinal}".encode()).digest()
        if int.from_bytes(drawn[:8], "big") >= rate * 2**64:
            return None
        return kinds[int.from_bytes(drawn[8:16], "big") % len(kinds)]


def _carries(metadata: dict[str, Any], wanted: dict[str, Any]) -> bool:
    # As text: a parameter is text before it is checked, and a number in the payment intent.
    return all(str(metadata.get(name)) == str(value) for name, value in wanted.items())
