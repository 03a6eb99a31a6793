"""The generated picture of the schema is the schema."""

from __future__ import annotations

from cli.dev.postgres import Cluster
from tests.wiring.schema_dump import SCHEMA, dump


def test_schema_sql_is_what_the_files_of_sql_make(cluster: Cluster, template: str) -> None:
    assert SCHEMA.read_text(encoding="utf-8") == dump(cluster, template), "run: python -m tests.wiring.schema_dump"
