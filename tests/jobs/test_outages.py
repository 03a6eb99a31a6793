"""A database that is not able to is nobody's failure: in both lanes a delivery waits for it, uncounted."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.handlers import HANDLERS, LocalHandler, RemoteHandler
from tests import factories
from tests.fixtures.worker import Hand

HANDLER = "test_unlucky"
# a full disk, no memory, too many connections, a disk that fails, an administrator's shutdown
UNABLE = ("53100", "53200", "53300", "58030", "57P01")


def handlers(sqlstate: str) -> dict[str, Any]:
    """The same trouble in each lane."""
    trouble = f"do $$ begin raise exception 'not able to' using errcode = '{sqlstate}'; end $$"
    return {
        "remote": RemoteHandler(HANDLER, lambda run: run.begin(lambda tx: tx.connection.execute(trouble))),
        "local": LocalHandler(HANDLER, lambda tx, row, timing: tx.connection.execute(trouble)),
    }


@pytest.mark.parametrize("sqlstate", UNABLE)
def test_a_remote_delivery_waits_uncounted(hand: Hand, monkeypatch: pytest.MonkeyPatch, sqlstate: str) -> None:
    monkeypatch.setitem(HANDLERS, HANDLER, handlers(sqlstate)["remote"])
    delivery = unlucky(hand, "remote")
    assert (delivery["status"], delivery["failures"], delivery["deferred_for"]) == ("pending", 0, "database_down")


@pytest.mark.parametrize("sqlstate", UNABLE)
def test_a_local_delivery_is_left_as_it_was_for_another(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, sqlstate: str
) -> None:
    monkeypatch.setitem(HANDLERS, HANDLER, handlers(sqlstate)["local"])
    with pytest.raises(Exception, match="not able to"):
        unlucky(hand, "local")
    row = hand.connection.execute("select status, failures from deliveries").fetchone()
    assert row == {"status": "pending", "failures": 0}


def unlucky(hand: Hand, lane: str) -> dict[str, Any]:
    hand.connection.execute("delete from subscriptions")
    hand.connection.execute(
        "insert into subscriptions (topic, handler, lane) values ('payment.initiated', %s, %s)", [HANDLER, lane]
    )
    factories.payment(hand.connection)
    assert hand.run_one(lane)
    row = hand.connection.execute("select * from deliveries").fetchone()
    assert row is not None
    return row
