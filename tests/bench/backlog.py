"""Databases with payments at the very step that is measured: made by real transitions of the right actors."""

from __future__ import annotations

from app.model.operation import params_sha256
from tests import factories
from tests.fixtures.database import Clone, Connection

HANDLER = "watch_outcome"
MERCHANTS = 20


def prepare(
    database: Clone, payments: int, handler: str = HANDLER, *, reference: str = "order ", clean: bool = True
) -> None:
    """Payments that were just submitted, each with a local delivery to run; remote deliveries are done.

    `clean`: the tables are as a vacuum leaves them, which takes its time in a large database.
    """
    conn = _submitting(database, payments, reference)
    with factories.acting(conn, "worker"):
        conn.execute("update payments set state = 'submitted', provider_rank = 30 where state = 'submitting'")
    _settle_down(conn, handler, clean=clean)
    row = conn.execute("select count(*) as n from deliveries where status = 'pending'").fetchone()
    assert row == {"n": payments}, "every payment has its local delivery"


def prepare_submitting(database: Clone, payments: int) -> None:
    """Payments whose submission is about to be recorded: the next step makes the event."""
    _settle_down(_submitting(database, payments, "order "), HANDLER, clean=True)


def _submitting(database: Clone, payments: int, reference: str) -> Connection:
    conn = database.connect(admin=True)
    for place, merchant_id in enumerate(_merchants(conn)):
        with factories.acting(conn, "api", merchant_id=str(merchant_id)):
            conn.execute(
                "insert into payments (merchant_id, amount, currency, provider, provider_account, method, method_token,"
                " reference) select %s, 1000 + n %% 500, 'usd', 'stripe', 'default', 'card', 'pm_card_visa', %s || n"
                " from generate_series(1, %s) n where n %% %s = %s",
                [merchant_id, reference, payments, MERCHANTS, place],
            )
    with factories.acting(conn, "worker"):
        conn.execute(
            "insert into operations (merchant_id, payment_id, kind, step, params, params_sha256)"
            " select merchant_id, id, 'submit', 'create', '{}', %s from payments where state = 'initiated'",
            [params_sha256({})],
        )
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
        conn.execute(
            "update payments set provider_ref = 'pi_' || replace(id::text, '-', '') where state = 'submitting'"
        )
    return conn


def _merchants(conn: Connection) -> list[object]:
    """The same ones for every batch."""
    known = conn.execute("select id from merchants where name ~ '^M[0-9]+$' order by name").fetchall()
    return [row["id"] for row in known] or [factories.merchant(conn, f"M{n}")["id"] for n in range(MERCHANTS)]


def _settle_down(conn: Connection, handler: str, *, clean: bool) -> None:
    # There is no provider beside a drain: what the clock asks of one would wait for ever and be measured too.
    conn.execute(
        "delete from subscriptions s where lane = 'remote'"
        " and not exists (select from deliveries d where d.handler = s.handler)"
    )
    conn.execute(
        "update deliveries set status = 'done', done_at = clock_timestamp(), job_id = null"
        " where status = 'pending' and handler <> %s",
        [handler],
    )
    conn.execute("delete from procrastinate_jobs where queue_name <> 'local'")
    # Their books were compared: the clock looks again when silence will have lasted too long.
    conn.execute("update reconcile_due set due_at = clock_timestamp() + interval '1 hour'")
    conn.execute("vacuum (freeze, analyze)" if clean else "analyze")
