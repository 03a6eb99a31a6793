"""Secrets come from the environment or from files, one of the two; anything unusable is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import UNSAFE_ACCEPTED, SettingsError, load_settings
from jobs.app import make_app

SECRETS = (
    "DATABASE_URL", "POSTBOX_MIGRATION_URL", "POSTBOX_OPERATOR_URL", "POSTBOX_KEY_PEPPER", "POSTBOX_OPERATOR_KEY",
    "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS",
)  # fmt: skip
GIVEN = {"DATABASE_URL": "postgresql://db"}


def held(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_the_secret_in_the_environment(tmp_path: Path, name: str, end: str) -> None:
    by_value = load_settings(GIVEN | {name: "a,secret = 1"})
    in_file = {f"{name}_FILE": held(tmp_path / "secret", f"a,secret = 1{end}")}
    assert load_settings({k: v for k, v in GIVEN.items() if k != name} | in_file) == by_value


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    both = GIVEN | {name: "one", f"{name}_FILE": held(tmp_path / "secret", "two")}
    with pytest.raises(SettingsError, match=f"{name} and {name}_FILE are both set"):
        load_settings(both)


def test_a_file_that_is_missing_or_empty_is_one_line_without_its_content(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STRIPE_API_KEY_FILE cannot be read: /nowhere"):
        load_settings(GIVEN | {"STRIPE_API_KEY_FILE": "/nowhere"})
    with pytest.raises(SettingsError, match="STRIPE_API_KEY_FILE is empty"):
        load_settings(GIVEN | {"STRIPE_API_KEY_FILE": held(tmp_path / "secret", "\n")})


def test_the_queue_is_opened_with_a_database_url_from_a_file_too(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("DATABASE_URL_FILE", held(tmp_path / "url", "host=from-a-file\n"))
    assert "from-a-file" in make_app().connector._pool_args["conninfo"]


@pytest.mark.parametrize("value", ["1", "on", "yes", "true", UNSAFE_ACCEPTED.upper(), ""])
def test_an_unsafe_postgres_is_accepted_by_one_unmistakable_value_only(value: str) -> None:
    assert not load_settings(GIVEN | {"POSTBOX_UNSAFE_POSTGRES": value}).unsafe_postgres
    assert load_settings(GIVEN | {"POSTBOX_UNSAFE_POSTGRES": UNSAFE_ACCEPTED}).unsafe_postgres
