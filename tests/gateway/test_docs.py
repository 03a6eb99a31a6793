"""The page for readers, and the catalogue of problems: our own files, and a policy without an exception."""

import re

import pytest

from app.gateway import errors
from app.gateway.docs import ASSETS, meanings


def test_the_page_names_only_files_of_ours(app):
    answer = app.test_client().get("/docs")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(named) == len(ASSETS)
    for path in named:
        assert path.startswith("/docs/assets/")
        assert app.test_client().get(path).status_code == 200
    assert "://" not in answer.text


def test_the_page_has_no_inline_script_or_style_and_its_policy_no_exception(app):
    answer = app.test_client().get("/docs")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", answer.text) == []


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_an_asset_may_be_kept_for_a_while(app, name):
    answer = app.test_client().get(f"/docs/assets/{name}")
    assert answer.headers["Cache-Control"].startswith("public, max-age=")
    assert len(answer.data) > 100


@pytest.mark.parametrize("name", ["../docs.py", "..%2fdocs.html", "docs.html", "swagger-ui.js", ""])
def test_no_other_file_is_served(app, name):
    assert app.test_client().get(f"/docs/assets/{name}").status_code == 404


@pytest.mark.parametrize("code", sorted(errors.catalogue()))
def test_every_type_of_problem_is_explained_under_its_name(app, code):
    name = errors.type_of(code).removeprefix(errors.TYPE)
    told = app.test_client().get(f"/problems/{name}").get_json()
    assert (told["code"], told["status"], told["type"]) == (code, errors.catalogue()[code].status, errors.type_of(code))
    assert told["meaning"]
    assert told["remedy"]


def test_the_page_of_problems_names_no_code_that_there_is_not():
    from app.gateway.docs import _ROW, CATALOGUE

    assert {row[1] for row in _ROW.finditer(CATALOGUE.read_text())} == set(meanings())
