"""If-Match: what a caller decided on one version of a payment is not done to another; and what can be expanded."""

import pytest

from app.gateway import etags
from tests.gateway.conftest import CARD as CREATE


def test_the_tag_is_the_version_wherever_a_payment_is_the_answer(api, payment_in):
    made = api.post("/v1/payments", dict(CREATE))
    assert made.headers["ETag"] == f'"{made.get_json()["version"]}"'
    row, name = payment_in("authorized")
    assert api.get(f"/v1/payments/{name}").headers["ETag"] == f'"{row["version"]}"'
    assert "ETag" not in api.get("/v1/payments").headers


def test_a_replay_has_the_tag_of_the_first_answer(api):
    first, again = (api.post("/v1/payments", dict(CREATE), key="same") for _ in range(2))
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize("verb", ["capture", "cancel"])
def test_another_version_is_refused_and_nothing_is_written(api, sql, payment_in, verb):
    row, name = payment_in("authorized")
    stale = f'"{row["version"] - 1}"'
    answer = api.post(f"/v1/payments/{name}/{verb}", key="free", If_Match=stale)
    assert (answer.status_code, answer.get_json()["code"]) == (412, "precondition_failed")
    assert sql.execute("select from operations where kind = %s", [verb]).fetchall() == []
    assert api.post(f"/v1/payments/{name}/{verb}", key="free", If_Match=f'"{row["version"]}"').status_code == 202


def test_a_refund_of_another_version_is_refused_and_reserves_nothing(api, sql, payment_in):
    row, name = payment_in("confirmed")
    path = f"/v1/payments/{name}/refunds"
    answer = api.post(path, {"amount": 100}, key="free", If_Match=f'"{row["version"] - 1}"')
    assert (answer.status_code, answer.get_json()["code"]) == (412, "precondition_failed")
    assert sql.execute("select from refunds").fetchall() == []
    assert api.post(path, {"amount": 100}, key="free", If_Match=f'"{row["version"]}"').status_code == 201


def test_the_version_is_looked_at_before_the_state(api, payment_in):
    _, name = payment_in("canceled")
    assert api.post(f"/v1/payments/{name}/cancel", If_Match='"1"').status_code == 412
    assert api.post(f"/v1/payments/{name}/cancel", If_Match="*").status_code == 409


@pytest.mark.parametrize(
    "given, versions",
    [
        (None, None), ("*", None), (" * ", None), ('"3"', {3}), ('"3", "4"', {3, 4}), ('"3","4"', {3, 4}),
        ("", set()), ("3", set()), ('W/"3"', set()), ('"x"', set()), ('"3" "4"', set()), ('"' + "9" * 30 + '"', set()),
    ],
)  # fmt: skip
def test_only_strong_tags_of_ours_match(given, versions):
    assert etags.allowed(given) == versions


def test_a_payment_can_be_shown_with_its_history(api):
    made = api.post("/v1/payments", dict(CREATE)).get_json()
    plain = api.get(f"/v1/payments/{made['id']}").get_json()
    told = api.get(f"/v1/payments/{made['id']}", expand="history").get_json()
    assert "history" not in plain
    assert told == plain | {"history": api.get(f"/v1/payments/{made['id']}/timeline").get_json()["data"]}


@pytest.mark.parametrize("expand", ["", "everything", "history,", "history,everything", "history" * 50])
def test_what_cannot_be_expanded_is_refused(api, expand):
    made = api.post("/v1/payments", dict(CREATE)).get_json()
    answer = api.get(f"/v1/payments/{made['id']}", expand=expand)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, "/expand")
