"""Databases with payments at the very step that is measured: made by real transitions of the right actors."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from app.config import Timing
from app.db import QUERIES
from app.model.operation import params_sha256
from jobs.provider_runs import owed
from tests import factories
from tests.fixtures.database import Clone, Connection

HANDLER = "watch_outcome"
MERCHANTS = 20
# The triggers speak once for all rows, each without a cause: it is how the local lane changes many.
AS_A_GROUP = "select set_config('postbox.causations', '{}', true)"


def prepare(
    database: Clone,
    payments: int,
    handler: str = HANDLER,
    *,
    merchants: int = MERCHANTS,
    reference: str = "order ",
    clean: bool = True,
) -> None:
    """Payments that were just submitted, each with a local delivery to run; remote deliveries are done.

    `clean`: the tables are as a vacuum leaves them, which takes its time in a large database.
    """
    conn = _submitting(database, payments, reference, _merchants(database, merchants))
    with factories.acting(conn, "worker"):
        conn.execute(AS_A_GROUP)
        conn.execute(
            "update payments set state = 'submitted', provider_rank = 30"
            " where state = 'submitting' and starts_with(reference, %s)",
            [reference],
        )
    _settle_down(conn, handler, clean=clean)
    row = conn.execute("select count(*) as n from deliveries where status = 'pending'").fetchone()
    assert row == {"n": payments}, "every payment has its local delivery"


def prepare_submitting(
    database: Clone, payments: int, *, merchants: int = MERCHANTS, reference: str = "order "
) -> None:
    """Payments whose submission is about to be recorded: the next step makes the event."""
    conn = _submitting(database, payments, reference, _merchants(database, merchants))
    _settle_down(conn, HANDLER, clean=True)


def _submitting(database: Clone, payments: int, reference: str, merchants: list[object]) -> Connection:
    conn = database.connect(admin=True)
    for place, merchant_id in enumerate(merchants):
        with factories.acting(conn, "api", merchant_id=str(merchant_id)):
            conn.execute(
                "insert into payments (merchant_id, amount, currency, provider, provider_account, method, method_token,"
                " reference) select %s, 1000 + n %% 500, 'usd', 'stripe', 'default', 'card', 'pm_card_visa', %s || n"
                " from generate_series(1, %s) n where n %% %s = %s",
                [merchant_id, reference, payments, len(merchants), place],
            )
    with factories.acting(conn, "worker"):
        conn.execute(
            "insert into operations (merchant_id, payment_id, kind, step, params, params_sha256)"
            " select merchant_id, id, 'submit', 'create', '{}', %s from payments where state = 'initiated'",
            [params_sha256({})],
        )
        conn.execute(AS_A_GROUP)
        conn.execute("update payments set state = 'submitting' where state = 'initiated'")
    with factories.acting(conn, "worker"):
        conn.execute(
            "update operations set status = 'in_flight', lease_token = gen_random_uuid(),"
            " lease_expires_at = 'tomorrow' where status = 'pending'"
        )
        conn.execute(
            "update operations set status = 'succeeded', outcome = 'ok', finished_at = clock_timestamp(),"
            " lease_token = null, lease_expires_at = null where status = 'in_flight'"
        )
        conn.execute(AS_A_GROUP)
        conn.execute(
            "update payments set provider_ref = 'pi_' || replace(id::text, '-', '') where state = 'submitting'"
        )
    return conn


def _merchants(database: Clone, count: int) -> list[object]:
    """The same ones for every batch of as many."""
    conn = database.connect(admin=True)
    named = f"^M[0-9]+ of {count}$"
    known = conn.execute("select id from merchants where name ~ %s order by name", [named]).fetchall()
    return [row["id"] for row in known] or [factories.merchant(conn, f"M{n} of {count}")["id"] for n in range(count)]


def _settle_down(conn: Connection, handler: str, *, clean: bool) -> None:
    # There is no provider beside a drain: what the clock asks of one would wait for ever and be measured too.
    conn.execute(
        "delete from subscriptions s where lane = 'remote'"
        " and not exists (select from deliveries d where d.handler = s.handler)"
    )
    _do_what_is_owed(conn)
    conn.execute(
        "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null"
        " where status = 'pending' and handler <> %s",
        [handler],
    )
    conn.execute("delete from procrastinate_jobs where queue_name <> 'local'")
    # Nor would it answer about those that were delivered before, ten minutes later and again with every pass.
    with factories.acting(conn, "worker"):
        conn.execute(AS_A_GROUP)
        conn.execute(
            "update payments set observe_at = clock_timestamp() + interval '1 day'"
            " where observe_at < clock_timestamp() + interval '1 hour'"
        )
    # Their books were compared: the clock looks again when silence will have lasted too long.
    conn.execute(
        "update reconcile_due set due_at = clock_timestamp() + interval '1 day'"
        " where due_at < clock_timestamp() + interval '1 hour'"
    )
    conn.execute("vacuum (freeze, analyze)" if clean else "analyze deliveries, procrastinate_jobs")


def _do_what_is_owed(conn: Connection) -> None:
    """The look at the provider of this hour, and this day's night over all books, which would be measured too."""
    account = {"provider": "stripe", "account": "default", "subject": None, "asked_by": "clock", "position": Jsonb({})}
    with factories.acting(conn, "reconciler"):
        for kind, every in owed(Timing()).items():
            conn.execute(QUERIES["reconciliation_runs.request"].encode(), account | {"kind": kind, "every": every})
        conn.execute(
            "update reconciliation_runs set status = 'finished', finished_at = clock_timestamp()"
            " where status = 'requested'"
        )
