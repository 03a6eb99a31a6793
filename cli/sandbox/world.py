"""Owns the sandbox's whole state behind one lock, and makes each change durable before anybody sees it."""

import hashlib
import heapq
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cli.sandbox.clock import Clock, Timing
from cli.sandbox.journal import FORMAT, Journal
from cli.sandbox.table import Row, Table

API_VERSION = "2026-10-28.endive"
TABLES: dict[str, tuple[str, ...]] = {
    "payment_intent": ("_payment_id",),
    "charge": ("payment_intent",),
    "refund": ("payment_intent", "charge"),
    "dispute": ("payment_intent", "charge"),
    "balance_transaction": ("source", "type", "_payout"),
    "payout": (),
    "event": ("type",),
    "webhook_endpoint": (),
}


def dumps(value: Any) -> str:
    """The one JSON form used for answers, events and the ledger file."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def pack(text: str) -> bytes:
    """A text as it is kept in memory: events and saved answers are most of it, and seldom read."""
    return zlib.compress(text.encode(), 1)


def unpack(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


def shown(row: Row) -> Row:
    """The object as the API shows it: what starts with `_` is the sandbox's own."""
    return {name: value for name, value in row.items() if name[0] != "_"}


class World:
    """Every object, index, task and idempotency record; changed only inside `change()`."""

    def __init__(self, journal: Journal, clock: Clock, timing: Timing, seed: str) -> None:
        self.lock = threading.RLock()
        self.journal = journal
        self.clock = clock
        self.timing = timing
        self.seed = seed
        self.base_url = ""
        self.tables = {kind: Table(kind, fields) for kind, fields in TABLES.items()}
        self.keys: dict[str, Row] = {}
        self.balances: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
        self.undelivered: dict[str, set[str]] = {}
        self.on_event: Callable[[Row, list[str]], None] = lambda event, to: None
        self.on_task: Callable[[], None] = lambda: None
        self._tasks: dict[str, Row] = {}
        self._due: list[tuple[float, int, str]] = []
        self._counter = 0
        self._counted: dict[str, str] = {}
        self._dirty: dict[str, Row] = {}
        self._lines: list[str] = []
        self._fresh: list[tuple[Row, list[str]]] = []
        self._request: Row = {"id": None, "idempotency_key": None}
        self._depth = 0
        self._load()
        self.account = "acct_" + hashlib.sha256(self.seed.encode()).hexdigest()[:16]

    # -- reading ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock.now()

    def get(self, kind: str, ident: str) -> Row | None:
        return self.tables[kind].get(ident)

    # -- changing -----------------------------------------------------------------------------------------------

    @contextmanager
    def change(self, request: Row | None = None) -> Iterator["World"]:
        """Hold the lock; on the way out write one ledger record of everything that changed, even on an error:
        a decline is an error that changed the payment."""
        with self.lock:
            self._depth += 1
            if request is not None:
                self._request = request
            try:
                yield self
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._request = {"id": None, "idempotency_key": None}
                    self._commit()

    def new_id(self, prefix: str) -> str:
        """An id no other run of this ledger has made; the same seed and order give the same ids."""
        self._counter += 1
        return prefix + "_" + hashlib.sha256(f"{self.seed}:{self._counter}".encode()).hexdigest()[:24]

    def put(self, row: Row) -> Row:
        """Store a new object, or record that one has changed."""
        self.tables[row["object"]].put(row)
        self._dirty[row["id"]] = row
        if row["object"] == "balance_transaction":
            self._count(row)
        return row

    def emit(self, topic: str, row: Row, before: Row | None = None) -> None:
        """Record one event about `row` as it is now (https://docs.stripe.com/api/events/object)."""
        to = [
            endpoint["id"]
            for endpoint in self.tables["webhook_endpoint"].rows.values()
            if endpoint["status"] == "enabled" and wants(endpoint["enabled_events"], topic)
        ]
        data: Row = {"object": shown(row)}
        if before is not None:
            data["previous_attributes"] = before
        body = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self.now()),
            "data": data,
            "livemode": False,
            "pending_webhooks": len(to),
            "request": dict(self._request),
            "type": topic,
        }
        text = dumps(body)
        event = self._keep_event(body, text, to)
        self._lines.append(f'"to":{dumps(to)},"event":{text}')
        self._fresh.append((event, to))

    def remember(self, record: Row) -> None:
        """Store one idempotency record: key, fingerprint, status, body, saved_at (seconds)."""
        self.keys[record["key"]] = {**record, "body": pack(record["body"])}
        self._lines.append('"key":' + dumps(record))

    def forget(self, keys: list[str]) -> int:
        """Prune idempotency records; a pruned key executes again."""
        gone = [key for key in keys if self.keys.pop(key, None) is not None]
        if gone:
            self._lines.append('"forget":' + dumps(gone))
        return len(gone)

    def delivered(self, event: str, endpoint: str) -> None:
        """Record that an endpoint has an event, or that its delivery was given up."""
        left = self.undelivered.get(event)
        if left is not None:
            left.discard(endpoint)
            if not left:
                del self.undelivered[event]
        self._lines.append('"delivered":' + dumps([event, endpoint]))

    def note(self, name: str, value: Any) -> None:
        """Write one setting (the clock's offset) into the ledger file."""
        self._lines.append(f'"{name}":{dumps(value)}')

    # -- time ---------------------------------------------------------------------------------------------------

    def schedule(self, verb: str, ref: str, after: float) -> None:
        """Have `verb` done to the object `ref` in `after` seconds of the sandbox's clock, restart or not."""
        self._counter += 1
        task: Row = {"id": f"task_{self._counter}", "due": self.now() + after, "verb": verb, "ref": ref}
        self._tasks[task["id"]] = task
        heapq.heappush(self._due, (task["due"], self._counter, task["id"]))
        self._lines.append('"task":' + dumps(task))
        if self._due[0][2] == task["id"]:
            self.on_task()

    def next_due(self) -> float | None:
        """When the next task falls due, in seconds of the sandbox's clock."""
        return self._due[0][0] if self._due else None

    def next_due_verb(self) -> str | None:
        """What the next task that is already due will do."""
        if not self._due or self._due[0][0] > self.now():
            return None
        return str(self._tasks[self._due[0][2]]["verb"])

    def take_due(self) -> Row | None:
        """Take one task that is due; its removal is part of the same ledger record as its effect."""
        if not self._due or self._due[0][0] > self.now():
            return None
        task = self._tasks.pop(heapq.heappop(self._due)[2])
        self._lines.append('"done":' + dumps(task["id"]))
        return task

    # -- inside -------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        if not self._dirty and not self._lines:
            return
        parts = [f'"put":{dumps(row)}' for row in self._dirty.values()] + self._lines
        # One record is a list of single-key steps, so that objects of any number need one write only.
        steps = ",".join("{" + part + "}" for part in parts)
        self.journal.append(f'{{"n":{self._counter},"do":[{steps}]}}')
        fresh, self._fresh, self._dirty, self._lines = self._fresh, [], {}, []
        for event, to in fresh:
            self.on_event(event, to)

    def _load(self) -> None:
        empty = True
        for record in self.journal.replay():
            if empty:
                self.seed = record["seed"]
            empty = False
            self._counter = max(self._counter, record.get("n", 0))
            for step in record.get("do", ()):
                self._redo(step)
        self._due = [(task["due"], number, ident) for number, (ident, task) in enumerate(self._tasks.items())]
        heapq.heapify(self._due)
        if empty:
            self.journal.append(dumps({"format": FORMAT, "seed": self.seed}))

    def _redo(self, step: Row) -> None:
        if "put" in step:
            row = step["put"]
            self.tables[row["object"]].put(row)
            if row["object"] == "balance_transaction":
                self._count(row)
        elif "event" in step:
            self._keep_event(step["event"], dumps(step["event"]), step["to"])
        elif "key" in step:
            record = step["key"]
            self.keys[record["key"]] = {**record, "body": pack(record["body"])}
        elif "forget" in step:
            for key in step["forget"]:
                self.keys.pop(key, None)
        elif "delivered" in step:
            event, endpoint = step["delivered"]
            left = self.undelivered.get(event, set())
            left.discard(endpoint)
            if not left:
                self.undelivered.pop(event, None)
        elif "task" in step:
            self._tasks[step["task"]["id"]] = step["task"]
        elif "done" in step:
            self._tasks.pop(step["done"], None)
        elif "offset" in step:
            self.clock.offset = step["offset"]

    def _keep_event(self, body: Row, text: str, to: list[str]) -> Row:
        subject = body["data"]["object"]
        event: Row = {
            "id": body["id"],
            "created": body["created"],
            "type": body["type"],
            "text": pack(text),
            "subject": subject.get("id"),
            "metadata": subject.get("metadata") or {},
            "description": subject.get("description"),
        }
        self.tables["event"].put(event)
        if to:
            self.undelivered[body["id"]] = set(to)
        return event

    def _count(self, row: Row) -> None:
        before = self._counted.get(row["id"])
        if before == row["status"]:
            return
        currency = row["currency"]
        if before is not None:
            self.balances[before][currency] -= row["net"]
        held = self.balances[row["status"]]
        held[currency] = held.get(currency, 0) + row["net"]
        self._counted[row["id"]] = row["status"]


def wants(patterns: list[str], topic: str) -> bool:
    """Whether an endpoint's `enabled_events` (exact names, or `*`) include a topic."""
    return "*" in patterns or topic in patterns
