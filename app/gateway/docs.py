"""/docs and /problems: the API for readers, from our own files and no other server's."""

from __future__ import annotations

import mimetypes
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from flask import Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from app.config import ROOT
from app.errors import NotFound
from app.gateway import answers, errors
from app.gateway.contract import public

blueprint = APIBlueprint("docs", __name__)

PAGES = Path(__file__).parent / "pages"
CATALOGUE = ROOT / "docs" / "api-errors.md"

# File -> whose it is; nothing else of either directory is served. They change with a release at most.
ASSETS = {
    "start.js": "ours",
    "problems.css": "ours",
    "swagger-ui.css": "theirs",
    "swagger-ui-bundle.js": "theirs",
    "favicon-32x32.png": "theirs",
}
ASSET_SECONDS = 3_600

_CODE = re.compile(r"`([^`]+)`")
_WEIGHT = re.compile(r"\*\*([^*]+)\*\*")
_ROW = re.compile(r"^\| [0-9, ]+ \| `([a-z_]+)` \| (.+) \| (.+) \|$", re.MULTILINE)


@blueprint.get("/docs")
@blueprint.doc(hide=True)
def page() -> Response:
    """Swagger UI over /openapi.json."""
    return Response((PAGES / "docs.html").read_bytes(), content_type="text/html; charset=utf-8")


@blueprint.get("/docs/problems")
@blueprint.doc(hide=True)
def problems() -> Response:
    """Every type of problem for readers, each at its name: /docs/problems#rate-limited."""
    return Response(_catalogue(), content_type="text/html; charset=utf-8")


@cache
def _catalogue() -> str:
    # read here and not at the start: it is for few
    pages = Environment(loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined)
    pages.filters["prose"] = _prose
    told = sorted(meanings().values(), key=lambda one: (one["status"], one["code"]))
    named = [one | {"name": one["type"].removeprefix(errors.TYPE)} for one in told]
    return pages.get_template("problems.html").render(problems=named)


def _prose(text: str) -> Markup:
    """What stands between backticks is code, and between two stars is said with weight."""
    told = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_WEIGHT.sub(r"<strong>\1</strong>", told))  # noqa: S704 (escaped before)


@blueprint.get("/docs/assets/<name>")
@blueprint.doc(hide=True)
def asset(name: str) -> Response:
    """One file of the page."""
    if name not in ASSETS:
        raise NotFound()
    # The package is a bundle of files to us, and its blueprint, which needs inline script, stays unused.
    spec = find_spec("flask_swagger_ui")
    assert spec is not None and spec.origin is not None, "flask-swagger-ui is a dependency"
    directory = PAGES if ASSETS[name] == "ours" else Path(spec.origin).parent / "dist"
    answer = Response((directory / name).read_bytes(), mimetype=mimetypes.guess_type(name)[0])
    answer.headers["Cache-Control"] = f"public, max-age={ASSET_SECONDS}"
    return answer


@blueprint.get("/problems/<code>")
@blueprint.output(answers.ProblemType)
@public
def problem_type(code: str) -> dict[str, Any]:
    """What a type of problem means, and what to do about it."""
    found = meanings().get(code.replace("-", "_"))
    if found is None:
        raise NotFound()
    return found


@cache
def meanings() -> dict[str, dict[str, Any]]:
    """The catalogue as docs/api-errors.md tells it, by code."""
    told = {row[1]: row for row in _ROW.finditer(CATALOGUE.read_text(encoding="utf-8"))}
    return {
        code: {
            "type": errors.type_of(code),
            "title": found.title,
            "status": found.status,
            "code": code,
            "meaning": told[code][2],
            "remedy": told[code][3],
        }
        for code, found in errors.catalogue().items()
        if code in told
    }
