"""Owns the sending of events: the signature, the queue, retries with backoff; it never changes a payment."""

import hashlib
import heapq
import hmac
import itertools
import threading
import time
from collections import deque
from typing import Any

from cli.sandbox.delivery import Sender
from cli.sandbox.faults import Faults
from cli.sandbox.table import Row
from cli.sandbox.world import World, unpack, wants

WORKERS = 4  # each keeps one connection per endpoint: enough for 500 deliveries a second on one core
MAX_ATTEMPTS = 40  # with the default backoff some 35 minutes; Stripe itself gives up after three days
MAX_LOG = 20_000
STALE_SECONDS = 3600


def sign(body: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` header: HMAC-SHA256 of `{at}.{body}`, `at` in real seconds, not the sandbox's.

    https://docs.stripe.com/webhooks/signature
    """
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Job:
    """One delivery of one event to one endpoint."""

    __slots__ = ("attempt", "endpoint", "event", "taken", "twist")

    def __init__(self, event: str, endpoint: str, attempt: int = 1, twist: str | None = None) -> None:
        self.event, self.endpoint, self.attempt, self.twist = event, endpoint, attempt, twist
        self.taken = False


class Webhooks:
    """A queue in memory over the ledger's list of undelivered events, and the threads that empty it."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._ready = threading.Condition()
        self._queue: list[tuple[float, int, Job]] = []
        self._held: dict[str, list[Job]] = {}
        self._numbers = itertools.count()
        self._busy = 0
        self._stopped = False
        self.paused = False
        self.log: deque[dict[str, Any]] = deque(maxlen=MAX_LOG)

    def start(self) -> None:
        """Queue what an earlier run left undelivered, listen for new events, start the workers."""
        with self._world.lock:
            left = [(event, set(to)) for event, to in self._world.undelivered.items()]
            self._world.on_event = lambda event, to: self.offer(event["id"], to)
        for event, to in left:
            self.offer(event, sorted(to))
        for number in range(WORKERS):
            threading.Thread(target=self._work, name=f"webhooks-{number}", daemon=True).start()

    def stop(self) -> None:
        with self._ready:
            self._stopped = True
            self._ready.notify_all()

    def offer(self, event_id: str, to: list[str]) -> None:
        """Queue one event for its endpoints, with the faults that are to befall it."""
        for endpoint in to:
            self._enqueue(Job(event_id, endpoint))

    def _enqueue(self, job: Job) -> None:
        event = self._world.get("event", job.event)
        assert event is not None
        fault = self._faults.pick_webhook(event["type"], event, job.attempt == 1)
        kind, seconds = fault or (None, None)
        wait = self._world.timing.hold if seconds is None else seconds
        job.twist = kind
        if kind == "webhook_dropped":
            self._note(job, event["type"], None)
            with self._world.change():
                self._world.delivered(job.event, job.endpoint)
            return
        self._push(job, wait if kind in ("webhook_late", "webhook_reordered") else 0.0)
        if kind == "webhook_reordered":
            with self._ready:
                self._held.setdefault(job.endpoint, []).append(job)
        if kind == "webhook_duplicate":
            self._push(Job(job.event, job.endpoint, job.attempt, kind), 0.0)

    def _push(self, job: Job, after: float) -> None:
        with self._ready:
            heapq.heappush(self._queue, (time.monotonic() + after, next(self._numbers), job))
            self._ready.notify()

    def _work(self) -> None:
        sender = Sender(self._world.timing)
        while True:
            job = self._take()
            if job is None:
                return
            try:
                self.deliver_once(job, sender)
            finally:
                with self._ready:
                    self._busy -= 1
                    self._ready.notify_all()

    def _take(self) -> Job | None:
        with self._ready:
            while not self._stopped:
                wait = None
                if self._queue and not self.paused:
                    wait = self._queue[0][0] - time.monotonic()
                    if wait <= 0:
                        job = heapq.heappop(self._queue)[2]
                        if job.taken:
                            continue
                        job.taken = True
                        self._busy += 1
                        return job
                self._ready.wait(wait)
            return None

    def deliver_once(self, job: Job, sender: Sender) -> int | None:
        """Send one delivery and settle it: done on any 2xx, else again later, else given up. The status, or None."""
        with self._world.lock:
            event = self._world.get("event", job.event)
            endpoint = self._world.get("webhook_endpoint", job.endpoint)
        if event is None or endpoint is None or endpoint["status"] != "enabled":
            with self._world.change():
                self._world.delivered(job.event, job.endpoint)
            return None
        status = self._send(event, endpoint, sender, job.twist)
        self._note(job, event["type"], status)
        if (status is not None and 200 <= status < 300) or job.attempt >= MAX_ATTEMPTS:
            with self._world.change():
                self._world.delivered(job.event, job.endpoint)
            self._release_held(job)
        elif job.event in self._world.undelivered:
            timing = self._world.timing
            wait = min(timing.webhook_retry * 2 ** min(job.attempt - 1, 20), timing.webhook_retry_cap)
            self._push(Job(job.event, job.endpoint, job.attempt + 1), wait)
        return status

    def _send(self, event: Row, endpoint: Row, sender: Sender, twist: str | None) -> int | None:
        body = unpack(event["text"]).encode()
        at = int(time.time()) - (STALE_SECONDS if twist == "webhook_stale" else 0)
        secret = endpoint["secret"] + ("-not" if twist == "webhook_bad_signature" else "")
        return sender.post(endpoint["url"], body, sign(body, secret, at))

    def _release_held(self, done: Job) -> None:
        """A held event goes out right after a later one to the same endpoint."""
        with self._ready:
            for job in self._held.pop(done.endpoint, []):
                if job is done or job.taken:
                    continue
                heapq.heappush(self._queue, (time.monotonic(), next(self._numbers), job))
            self._ready.notify_all()

    def _note(self, job: Job, topic: str, status: int | None) -> None:
        self.log.append(
            {
                "at": time.time(),
                "event": job.event,
                "type": topic,
                "endpoint": job.endpoint,
                "attempt": job.attempt,
                "status": status,
                "fault": job.twist,
            }
        )

    # -- by hand ------------------------------------------------------------------------------------------------

    def pause(self, paused: bool) -> None:
        with self._ready:
            self.paused = paused
            self._ready.notify_all()

    def flush(self, seconds: float) -> int:
        """Make everything due now and wait up to `seconds` until it was tried once; return what is still queued."""
        with self._ready:
            now = time.monotonic()
            self._queue = [(now, number, job) for _, number, job in self._queue]
            heapq.heapify(self._queue)
            self._ready.notify_all()
            deadline = now + seconds

            def idle() -> bool:
                return not self._busy and not (self._queue and self._queue[0][0] <= deadline)

            self._ready.wait_for(idle, timeout=seconds)
            return len(self._queue)

    def redeliver(self, event: Row, count: int, parallel: bool) -> list[int | None]:
        """Send an event again, `count` times to every endpoint that wants it; the statuses in order of sending."""
        with self._world.lock:
            endpoints = [
                endpoint
                for endpoint in self._world.tables["webhook_endpoint"].rows.values()
                if endpoint["status"] == "enabled" and wants(endpoint["enabled_events"], event["type"])
            ]
        sends = [endpoint for endpoint in endpoints for _ in range(count)]
        statuses: list[int | None] = [None] * len(sends)

        def send(number: int) -> None:
            sender = Sender(self._world.timing)
            statuses[number] = self._send(event, sends[number], sender, None)
            self._note(Job(event["id"], sends[number]["id"], 0), event["type"], statuses[number])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(len(sends))]
        for thread in threads:
            thread.start()
            if not parallel:
                thread.join()
        for thread in threads:
            thread.join()
        return statuses

    def counts(self) -> dict[str, int]:
        with self._ready:
            return {"queued": len(self._queue), "in_flight": self._busy}
