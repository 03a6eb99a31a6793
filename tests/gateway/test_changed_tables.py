"""A column is added while the API serves: whoever is served next is answered as ever."""

from __future__ import annotations

from app.db.pool import RERUNS
from app.gateway.context import EXTENSION
from app.model.actor import Actor, ActorType, Role
from tests.fixtures.warm import release, warm

SESSIONS = RERUNS + 2


def test_whoever_has_prepared_for_a_table_that_has_changed_answers_as_ever(app, api, sql, payment_in):
    row, id_ = payment_in("initiated")
    ids = {"merchant_id": row["merchant_id"], "payment_id": row["id"], "livemode": row["livemode"]}
    door = Actor(ActorType.API, str(api.key.id), Role.API)
    assert api.get(f"/v1/payments/{id_}").status_code == 200
    warm(app.extensions[EXTENSION].database, SESSIONS, door, "payments.get", **ids)
    release(sql)
    assert api.get(f"/v1/payments/{id_}").status_code == 200
    assert api.post(f"/v1/payments/{id_}/cancel").status_code == 200
