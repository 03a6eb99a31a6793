"""Owns idempotency keys as Stripe keeps them: results by key, compared by parameters, pruned by age."""

import hashlib
from typing import Any

from cli.sandbox.errors import invalid, key_in_use, key_reused
from cli.sandbox.table import Row
from cli.sandbox.world import World, dumps

MAX_KEY = 255  # https://docs.stripe.com/api/idempotent_requests


def check_key(key: str) -> None:
    if len(key) > MAX_KEY or not key.strip():
        raise invalid(f"Idempotency keys are 1 to {MAX_KEY} characters long.", code="idempotency_key_invalid")


def fingerprint(method: str, path: str, params: Any) -> str:
    """SHA-256 over what must not change between two uses of one key."""
    return hashlib.sha256(dumps([method, path, _ordered(params)]).encode()).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [[name, _ordered(value[name])] for name in sorted(value)]
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return value


class Keys:
    """Which keys are in use now, over the world's durable results; call everything under the world's lock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._in_use: set[str] = set()

    def begin(self, key: str, print_: str) -> Row | None:
        """Take the key, or return the saved result; 400 for other parameters, 409 while it is in use."""
        record = self._world.keys.get(key)
        if record is not None and record["saved_at"] <= self._world.now() - self._world.timing.key_kept:
            self._world.forget([key])
            record = None
        if record is not None:
            if record["fingerprint"] != print_:
                raise key_reused(key)
            return record
        if key in self._in_use:
            raise key_in_use(key)
        self._in_use.add(key)
        return None

    def save(self, key: str, print_: str, status: int, body: str, request_id: str) -> None:
        """Remember a result, whatever it is; it becomes durable with the change that made it."""
        self._world.remember(
            {
                "key": key,
                "fingerprint": print_,
                "status": status,
                "body": body,
                "request_id": request_id,
                "saved_at": self._world.now(),
            }
        )

    def end(self, key: str) -> None:
        self._in_use.discard(key)


def prune(world: World, before: float) -> int:
    """Forget results saved at or before `before` (sandbox seconds); return how many. Keys are in order of age."""
    with world.change():
        old = []
        for key, record in world.keys.items():
            if record["saved_at"] > before:
                break
            old.append(key)
        return world.forget(old)
