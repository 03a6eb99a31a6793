"""/ops/v1/status, /providers, /discrepancies, /operators, /access-log: what runs, what differs, who may and who did."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from marshmallow import RAISE

from app.db import Tx
from app.gateway.cursor import row_position
from app.gateway.ops import answers
from app.gateway.ops.reading import Shown, looking
from app.gateway.ops.schemas import ListAccesses, ListDiscrepancies
from app.gateway.ops.showing import page, show
from app.model.operator_role import Right
from app.services import operator_pages, operators, status
from app.services.sign_in import Person

blueprint = APIBlueprint("ops_figures", __name__, url_prefix="/ops/v1")


@blueprint.get("/status")
@blueprint.output(answers.Status)
@looking(Right.READ)
def figures(tx: Tx, person: Person) -> Shown:
    """What runs, waits, died and is unknown, and whether a person is needed."""
    return Shown(show(answers.Status, status.overview(tx)))


@blueprint.get("/providers")
@blueprint.output(answers.Providers)
@looking(Right.READ)
def providers(tx: Tx, person: Person) -> Shown:
    """The circuits of provider accounts, and what people have paused."""
    return Shown(show(answers.Providers, status.overview(tx)))


@blueprint.get("/discrepancies")
@blueprint.output(answers.list_of(answers.Discrepancy))
@looking(Right.READ)
@blueprint.input(ListDiscrepancies, location="query", unknown=RAISE)
def discrepancies(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Disagreements between two books, newest first."""
    rows = operator_pages.discrepancies(
        tx,
        merchant_id=query_data.get("merchant"),
        status=query_data.get("status"),
        before=row_position(query_data.get("cursor"), "discrepancies"),
        limit=query_data["limit"],
    )
    return page(answers.Discrepancy, "discrepancies", rows, at="first_seen_at", by="id", limit=query_data["limit"])


@blueprint.get("/operators")
@blueprint.output(answers.list_of(answers.Person))
@looking(Right.READ)
def people(tx: Tx, person: Person) -> Shown:
    """Everybody who may sign in, or could, by name."""
    rows = operators.everybody(tx)
    return page(answers.Person, "operators", rows, at="created_at", by="name", limit=None)


@blueprint.get("/access-log")
@blueprint.output(answers.list_of(answers.Access))
@looking(Right.READ_ACCESS_LOG)
@blueprint.input(ListAccesses, location="query", unknown=RAISE)
def accesses(tx: Tx, person: Person, query_data: dict[str, Any]) -> Shown:
    """Who looked at whose rows, newest first."""
    rows = operator_pages.accesses(
        tx,
        operator=query_data.get("operator"),
        merchant_id=query_data.get("merchant"),
        before=row_position(query_data.get("cursor"), "access-log"),
        limit=query_data["limit"],
    )
    return page(answers.Access, "access-log", rows, at="seen_at", by="id", limit=query_data["limit"])
