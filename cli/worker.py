"""`postbox worker`: runs deliveries until told to stop; all of it lives in jobs."""

from __future__ import annotations

import os
from importlib import import_module

import click

from app import logs
from app.config import load_settings, log_form
from app.db.durability import refuse_unsafe


@click.command()
def worker() -> None:
    """Run deliveries until SIGTERM, which drains within 25 s."""
    logs.configure(log_form(os.environ))
    settings = load_settings()
    refuse_unsafe(settings)
    import_module("jobs.worker").run(settings)
