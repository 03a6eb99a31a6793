"""Scenario 23: a webhook meets no database, is refused, and is applied when the provider sends it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from cli.dev.postgres import Cluster
from tests import factories
from tests.fixtures.database import Clone
from tests.fixtures.sandbox import Sandbox
from tests.fixtures.worker import Hand
from tests.gateway.test_server import serving
from tests.gateway.test_webhooks import PATH
from tests.gateway.waiting import until

CHALLENGED = "pm_card_threeDSecure2Required"


def test_scenario_23_a_webhook_that_met_no_database_is_applied_when_it_comes_again(
    hand: Hand, sandbox: Sandbox, database: Clone, cluster: Cluster, tmp_path: Path
) -> None:
    payment = hand.reach(factories.payment(hand.connection, method_token=CHALLENGED)["id"], "requires_action")
    with serving(database, tmp_path, WEB_CONCURRENCY="1") as server:
        sandbox.send_webhooks_to(server.url + PATH)
        # as patient as the provider: the gateway waits some seconds for a connection before it says that there is none
        sandbox.control("POST", "timing", webhook_timeout=30)
        with unreachable(database, cluster):
            sandbox.control("POST", f"payment_intents/{payment['provider_ref']}/authenticate", outcome="success")
            until(lambda: 503 in answers(sandbox), "a webhook to meet the outage")
            assert 200 not in answers(sandbox)
            assert hand.payment(payment["id"])["version"] == payment["version"]
        sandbox.control("POST", "webhooks/flush")
    assert hand.settle(payment["id"])["state"] == "settled"
    stored = hand.connection.execute("select type from webhooks").fetchall()
    assert "payment_intent.succeeded" in {row["type"] for row in stored}
    [confirmed] = hand.connection.execute("select * from audit_log where action = 'payment.confirmed'").fetchall()
    assert confirmed["actor_type"] == "webhook"


@contextmanager
def unreachable(database: Clone, cluster: Cluster) -> Iterator[None]:
    """The gateway has lost its connections and gets no other; who is connected otherwise stays so."""
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"alter database {database.name} allow_connections false")
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
            " and application_name like 'postbox web%%'",
            [database.name],
        )
        try:
            yield
        finally:
            admin.execute(f"alter database {database.name} allow_connections true")


def answers(sandbox: Sandbox) -> list[Any]:
    """How every attempt to deliver a webhook was answered."""
    return [attempt["status"] for attempt in sandbox.control("GET", "webhooks")["deliveries"]]
