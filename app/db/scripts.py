"""The files of sql/ as the migration runner takes them: their order, their markers, what they hold."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.config import SQL_DIR
from app.errors import PostboxError

Connection = psycopg.Connection[tuple[object, ...]]

_CONCURRENTLY = re.compile(
    r"(?:create (?:unique )?index concurrently if not exists|drop index concurrently if exists) "
    r"(?P<index>\w+)\b[^;]*;\s*"
)
_MARKER = re.compile(r"^-- postbox: (?P<word>[a-z-]+)(?: (?P<value>\S+))?[ \t]*$", re.MULTILINE)


class MigrationError(PostboxError):
    """The schema could not be brought up to date."""

    code = "migration_failed"


@dataclass(frozen=True)
class Script:
    """One file of sql/: its name relative to sql/, text with includes resolved, and the SHA-256 of the file itself."""

    name: str
    text: str
    sha256: str
    as_login: bool
    in_transaction: bool
    search_path: str

    @property
    def index(self) -> str:
        """What a script outside a transaction builds or drops. Raises MigrationError when it is anything else."""
        statement = "\n".join(line for line in self.text.splitlines() if not line.startswith("--"))
        found = _CONCURRENTLY.fullmatch(statement.strip())
        if found is None:
            raise MigrationError(
                f"{self.name}: outside a transaction there is one `create index concurrently if not exists`"
                " or `drop index concurrently if exists`"
            )
        return found["index"]


def read_script(path: Path) -> Script:
    """Read one file. Markers: `as-login`, `no-transaction`, `search-path X`, `include package/file`."""
    raw = path.read_text(encoding="utf-8")
    words = {mark["word"]: mark["value"] for mark in _MARKER.finditer(raw)}
    unknown = set(words) - {"as-login", "no-transaction", "search-path", "include"}
    if unknown:
        raise MigrationError(f"{path.name}: unknown marker {sorted(unknown)}")
    text = _MARKER.sub(lambda mark: _included(mark["value"]) if mark["word"] == "include" else mark[0], raw)
    return Script(
        name=path.relative_to(SQL_DIR).as_posix(),
        text=text,
        sha256=hashlib.sha256(raw.encode()).hexdigest(),
        as_login="as-login" in words,
        in_transaction="no-transaction" not in words,
        search_path=words.get("search-path") or "postbox, procrastinate",
    )


def _included(reference: str) -> str:
    package, _, rest = reference.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MigrationError(f"{package} is not installed")
    return (Path(spec.submodule_search_locations[0]) / rest).read_text(encoding="utf-8")


def migrations() -> list[Script]:
    paths = sorted((SQL_DIR / "migrations").glob("*.sql"))
    numbers = [path.name[:4] for path in paths]
    if numbers != [f"{n:04d}" for n in range(1, len(paths) + 1)]:
        raise MigrationError(f"migrations are not numbered one by one: {numbers}")
    return [read_script(path) for path in paths]


def repeatables() -> list[Script]:
    """Functions, triggers, reports, statistics, policies, grants: in this order, because most build on the one before.

    Policies come before grants, so that nobody may touch a table before its rows are walled off.
    """
    paths = [
        *sorted((SQL_DIR / "functions").glob("*.sql")),
        SQL_DIR / "triggers.sql",
        *sorted((SQL_DIR / "reports").glob("*.sql")),
        SQL_DIR / "statistics.sql",
        SQL_DIR / "policies.sql",
    ]
    return [*map(read_script, paths), grants()]


def grants() -> Script:
    return read_script(SQL_DIR / "grants.sql")
