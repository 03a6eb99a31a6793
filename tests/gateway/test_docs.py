"""The page for readers, and the catalogue of problems: our own files, and a policy without an exception."""

import re
from html.parser import HTMLParser

import pytest

from app.gateway import errors
from app.gateway.docs import ASSETS, _prose, meanings
from tests.fixtures.database import settings_of
from tests.gateway.conftest import made

PAGES = ("/docs", "/docs/problems")


@pytest.fixture(scope="module")
def app(_shared):
    """One for all: pages are read, and nothing is written."""
    yield from made(settings_of(_shared))


def test_the_pages_name_only_files_of_ours_and_each_is_named(app):
    named = set()
    for page in PAGES:
        answer = app.test_client().get(page)
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        named |= set(re.findall(r'(?:src|href)="([^"#]+)"', answer.text))
        assert "://" not in answer.text
    assert named - set(PAGES) == {f"/docs/assets/{name}" for name in ASSETS}
    assert {app.test_client().get(path).status_code for path in named} == {200}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_inline_script_or_style_and_its_policy_no_exception(app, page):
    answer = app.test_client().get(page)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert re.findall(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", answer.text) == []


class Loads(HTMLParser):
    """What a browser loads for a page: the directive of the policy that it asks, and the address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script":
            self.found.add(("script-src", given["src"]))
        if tag == "link":
            self.found.add(("style-src" if given["rel"] == "stylesheet" else "img-src", given["href"]))


@pytest.mark.parametrize("page", PAGES)
def test_all_that_a_page_loads_is_ours_and_allowed_by_its_policy(app, page):
    answer = app.test_client().get(page)
    allowed = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    wanted = Loads(answer.text).found
    for directive, address in set(wanted):
        loaded = app.test_client().get(address)
        assert loaded.status_code == 200
        if directive == "style-src":
            wanted |= {("img-src", url) for url in re.findall(r"url\(['\"]?([^'\")]+)", loaded.text)}
    assert wanted
    for directive, address in wanted:
        source = "data:" if address.startswith("data:") else "'self'"
        assert source in allowed[directive].split(), (directive, address[:80])
        assert source == "data:" or re.match(r"/(?!/)", address), "no other server's"
    # the document that the page asks for, and the requests a reader tries
    assert (allowed["default-src"], allowed["connect-src"]) == ("'none'", "'self'")


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


def test_the_page_of_problems_tells_each_at_its_name_and_escapes_what_it_tells(app):
    page = app.test_client().get("/docs/problems").text
    assert set(re.findall(r'<tr id="([a-z-]+)">', page)) == {code.replace("_", "-") for code in errors.catalogue()}
    assert "the same request again after <code>Retry-After</code>" in page
    assert _prose("<b> `<i>` **x**") == "&lt;b&gt; <code>&lt;i&gt;</code> <strong>x</strong>"


def test_the_page_of_problems_names_no_code_that_there_is_not():
    from app.gateway.docs import _ROW, CATALOGUE

    assert {row[1] for row in _ROW.finditer(CATALOGUE.read_text())} == set(meanings())
