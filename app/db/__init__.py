"""The only way to the database: pool, transaction, named queries, error map, migrations."""

from app.db.pool import Database, Tx
from app.db.queries import QUERIES

__all__ = ["QUERIES", "Database", "Tx"]
