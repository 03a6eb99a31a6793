"""The demo operator: a person who may do everything, with a password and a second factor that dev.env remembers."""

from collections.abc import Mapping
from pathlib import Path

from cli.dev.merchant import postbox

NAME = "demo"

# What dev.env calls them.
PASSWORD, SECRET = "POSTBOX_DEMO_PASSWORD", "POSTBOX_DEMO_TOTP"


def known_or_new(remembered: Mapping[str, str], env: Mapping[str, str], cwd: Path) -> dict[str, str]:
    """The variables that let a person sign in; a database that does not know the demo operator gets it."""
    exists = any(row["name"] == NAME for row in postbox(["operators", "list", "--json"], env, cwd))
    if exists and remembered.get(PASSWORD) and remembered.get(SECRET):
        return {"POSTBOX_DEMO_OPERATOR": NAME, PASSWORD: remembered[PASSWORD], SECRET: remembered[SECRET]}
    how = ["reset", NAME, "--reason", "dev.env was lost"] if exists else ["create", NAME, "--role", "admin"]
    made = postbox(["operators", *how, "--json"], env, cwd)
    return {"POSTBOX_DEMO_OPERATOR": NAME, PASSWORD: made["password"], SECRET: made["totp_secret"]}
