"""Says what the database answers to a statement, and undoes it."""

from __future__ import annotations

import psycopg

from tests import factories
from tests.factories import Connection

ACCEPTED = "accepted"


def answer(
    conn: Connection,
    statement: str,
    params: object = None,
    *,
    actor: str = "worker",
    actor_id: str | None = None,
    role: str | None = None,
    merchant_id: object = "",
    session: str = "",
) -> str:
    """Accepted, or the SQLSTATE, or the name of the constraint; under `actor` and `role`, and undone either way.

    `merchant_id`: whom the transaction acts for; as postbox_api there are no rows but that merchant's.
    `session`: what proves that `actor_id` is signed in (`factories.session_of`).
    """
    try:
        with conn.transaction(force_rollback=True):
            factories.act(conn, actor, actor_id=actor_id, role=role, merchant_id=str(merchant_id), session=session)
            conn.execute(statement, params)  # type: ignore[arg-type]
            conn.execute("set constraints all immediate")
    except psycopg.Error as error:
        return error.diag.constraint_name or error.sqlstate or "no sqlstate"
    return ACCEPTED
