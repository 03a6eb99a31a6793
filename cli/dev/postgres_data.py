"""The data directory: created whole by initdb, checked before a server is started on it."""

import hmac
import os
import shutil
from pathlib import Path

from cli.dev.postgres_failure import ClusterError, broken, explain
from cli.dev.postgres_home import FREE_BYTES_TO_CREATE, Home, make_private
from cli.dev.postgres_process import run_as
from cli.dev.state import write_private

MAJOR = "18"
SUPERUSER = "postgres"


def derive_password(secret: str, user: str) -> str:
    """Return the password of a role: one secret, as many passwords as there are roles, nothing else to keep."""
    return hmac.digest(secret.encode(), user.encode(), "sha256").hex()


def create_data(home: Home, bin_dir: Path, secret: str, *, durable: bool) -> None:
    """Run initdb beside the final place and move it there whole, so that an interrupted one leaves nothing."""
    home.require_free_space(FREE_BYTES_TO_CREATE)
    draft = home.data_dir.with_name("data.new")
    shutil.rmtree(draft, ignore_errors=True)
    make_private(draft, home.account)
    password = home.path / "initdb.password"
    write_private(password, derive_password(secret, SUPERUSER))
    if home.account:
        os.chown(password, home.account.pw_uid, home.account.pw_gid)
    argv = [str(bin_dir / "initdb"), "-D", str(draft), "-U", SUPERUSER, f"--pwfile={password}"]
    argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        ran = run_as(home, argv if durable else [*argv, "--no-sync"])
    finally:
        password.unlink(missing_ok=True)
    if ran.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise ClusterError(explain(ran.stderr, home.data_dir))
    draft.rename(home.data_dir)


def check_data(data_dir: Path) -> None:
    """Raise ClusterError when this is not a whole data directory of our version."""
    try:
        found = (data_dir / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise ClusterError(broken(data_dir, "PG_VERSION is missing")) from None
    if not found.isdigit():
        raise ClusterError(broken(data_dir, "PG_VERSION is not a number"))
    if found != MAJOR:
        raise ClusterError(f"{data_dir} was written by PostgreSQL {found}, this is {MAJOR}: move it away")
    if not (data_dir / "global" / "pg_control").exists():
        raise ClusterError(broken(data_dir, "global/pg_control is missing"))
