"""What the demo talks to, over HTTP like anybody: the API, the fault control of the sandbox, its 3-D Secure page."""

import uuid
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests

TIMEOUT_SECONDS = 30


class DemoError(Exception):
    """A request of the demo was refused."""


class Api:
    """The public API, as one merchant."""

    def __init__(self, url: str, api_key: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {api_key}"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._post("/v1/payments", body)

    def capture(self, payment_id: str, amount: int) -> None:
        self._post(f"/v1/payments/{payment_id}/capture", {"amount": amount})

    def cancel(self, payment_id: str) -> None:
        self._post(f"/v1/payments/{payment_id}/cancel", {"reason": "requested"})

    def show(self, payment_id: str) -> dict[str, Any]:
        return _answer(self._session.get(f"{self._url}/v1/payments/{payment_id}", timeout=TIMEOUT_SECONDS))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return _answer(self._session.post(self._url + path, json=body, headers=headers, timeout=TIMEOUT_SECONDS))


class Faults:
    """The sandbox's rules for what goes wrong."""

    def __init__(self, sandbox_url: str) -> None:
        self._url = f"{sandbox_url}/_sandbox/faults"

    def strike_next_confirmation(self, kind: str, seconds: float | None) -> str:
        """Make the next confirmation of any payment fail in this way, once; return the rule's id."""
        rule = {"kind": kind, "method": "POST", "path": "/v1/payment_intents/*/confirm", "seconds": seconds}
        return str(_answer(requests.post(self._url, json=rule, timeout=TIMEOUT_SECONDS))["id"])

    def has_struck(self, rule_id: str) -> bool:
        found = _answer(requests.get(self._url, timeout=TIMEOUT_SECONDS))
        return any(rule["id"] == rule_id and rule["fired"] for rule in found["rules"])


def press_button(page_url: str, label: str) -> None:
    """Open the 3-D Secure page and press the button whose value, name or text contains the label."""
    page = requests.get(page_url, timeout=TIMEOUT_SECONDS)
    reader = _Forms()
    reader.feed(page.text)
    for form in reader.forms:
        for button in form.buttons:
            if label in " ".join(button.values()).lower():
                fields = {button["name"]: button.get("value", "")} if button.get("name") else {}
                url = urljoin(page_url, button.get("formaction") or form.action)
                # The merchant's return page need not exist, so the redirect to it is not followed.
                requests.post(url, data=fields | form.fields, timeout=TIMEOUT_SECONDS, allow_redirects=False)
                return
    raise DemoError(f"{page_url} has no button {label}")


def _answer(response: requests.Response) -> dict[str, Any]:
    if not response.ok:
        raise DemoError(f"{response.request.method} {response.url} answered {response.status_code}: {response.text}")
    found: dict[str, Any] = response.json()
    return found


class _Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}
        self.buttons: list[dict[str, str]] = []


class _Forms(HTMLParser):
    """The forms of a page, with their hidden fields and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self._in_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(_Form(given.get("action", "")))
        elif self.forms and (tag == "button" or (tag == "input" and given.get("type") == "submit")):
            self.forms[-1].buttons.append(given)
            self._in_button = tag == "button"
        elif self.forms and tag == "input" and given.get("name"):
            self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._in_button and self.forms:
            self.forms[-1].buttons[-1]["text"] = data

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._in_button = False
