"""`postbox openapi`: the API's description, made of its routes and committed beside them."""

from __future__ import annotations

import click

from app.config import ROOT
from app.gateway import document

PATH = ROOT / "docs" / "openapi.json"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail when the committed document is stale.")
def openapi(check: bool) -> None:
    """Write docs/openapi.json from the routes."""
    made = document.text()
    stale = not PATH.exists() or PATH.read_text(encoding="utf-8") != made
    if check and stale:
        raise click.ClickException("docs/openapi.json is stale: run `postbox openapi`")
    if not check:
        PATH.write_text(made, encoding="utf-8")
    click.echo(f"{PATH.relative_to(ROOT)}: {'written' if stale else 'up to date'}")
