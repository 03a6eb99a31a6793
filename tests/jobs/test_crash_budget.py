"""A worker that dies of a delivery is not that delivery's failure: it is rescued, alone, twenty times at most."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.services.deliveries import RESCUE_LIMIT
from cli.dev.postgres import Cluster
from jobs.app import LOCAL_GROUPS
from tests import factories
from tests.jobs.dying_worker import DEATH, KILLED_HANDLER, KILLER
from tests.jobs.processes import World, until, world

SIBLINGS = 40


@pytest.fixture
def killed(cluster: Cluster, template: str, tmp_path: Path):
    """Forty-one local deliveries of one merchant, one of which kills whoever runs it, and a supervised worker."""
    with world(cluster, template, tmp_path) as here:
        subscribe(here, KILLED_HANDLER)
        merchant = factories.merchant(here.connection)["id"]
        for number in range(SIBLINGS + 1):
            # in the middle, so that others carry it before its own turn comes
            reference = KILLER if number == SIBLINGS // 2 else None
            factories.payment(here.connection, merchant_id=merchant, reference=reference)
        here.dying_worker(KILLED_HANDLER, RESPAWN="1")
        yield here


def subscribe(here: World, handler: str) -> None:
    here.connection.execute("delete from subscriptions")
    here.connection.execute(
        "insert into subscriptions (topic, handler, lane) values ('payment.initiated', %s, 'local')", [handler]
    )


def the_killer(here: World) -> dict:
    return here.one(
        "select d.* from deliveries d join payments p on p.id = d.payment_id where p.reference = %s", KILLER
    )


def taken_along(here: World) -> list[int]:
    """How many jobs each death took along, the one that was run included."""
    return [int(n) for n in re.findall(DEATH.format(n=r"(\d+)"), here.log.read_text(errors="replace"))]


def count(here: World, status: str) -> int:
    return here.one("select count(*) as n from deliveries where status = %s", status)["n"]


def test_what_kills_its_worker_isolates_itself_and_dies_of_the_twentieth_rescue(killed: World) -> None:
    until(lambda: count(killed, "done") == SIBLINGS, lambda: f"the others\n{killed.tail()}", seconds=60)
    assert killed.one("select sum(failures) as n from deliveries")["n"] == 0

    until(lambda: the_killer(killed)["rescues"] >= 10, lambda: f"ten rescues\n{killed.tail()}", seconds=60)
    delivery = the_killer(killed)
    assert delivery["failures"] == 0, "ten SIGKILLs do not spend the failure budget"
    assert delivery["alone"]

    until(lambda: the_killer(killed)["status"] == "dead", lambda: f"the end\n{killed.tail()}", seconds=60)
    delivery = the_killer(killed)
    assert (delivery["dead_reason"], delivery["rescues"], delivery["failures"]) == ("crash", RESCUE_LIMIT, 0)
    assert RESCUE_LIMIT == 20
    assert count(killed, "dead") == 1
    # Who is carried is not fetched, and so never rescued for another's sake. Who was fetched beside the killer is, as
    # often as chance has it: a process starts anew more slowly than a hundredth of what parts the two in production.
    assert len(taken_along(killed)) >= RESCUE_LIMIT
    assert max(taken_along(killed)) <= LOCAL_GROUPS
    assert killed.one("select count(*) as n from delivery_failures")["n"] == 0
