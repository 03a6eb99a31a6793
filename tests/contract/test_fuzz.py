"""Schemathesis over the whole document, against gunicorn on a real database: every phase, every check."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.contract.fuzz import EXAMPLES, REAL_TIME, SETTINGS, fuzz
from tests.e2e.gateway_process import start_gateway
from tests.gateway.documented import document
from tests.jobs.processes import world

OPERATIONS = {f"{method.upper()} {path}" for path, methods in document()["paths"].items() for method in methods}
PHASES = {"examples", "coverage", "fuzzing", "stateful"}
# Needs two identities with objects of their own; tests/gateway/test_tenancy.py asks for all of them, every route.
NOT_APPLICABLE = {"object_level_authorization"}


@pytest.fixture(scope="module")
def run(cluster, template, tmp_path_factory):
    """One whole run: what came back, every event of it, the log, and how often the gateway answered."""
    directory = tmp_path_factory.mktemp("fuzz")
    with world(cluster, template, directory, time_scale=REAL_TIME) as here:
        here.env.update(SETTINGS)
        gateway = start_gateway(here)
        report = directory / "report.ndjson"
        code = fuzz(here, gateway, report)
        events = [json.loads(line) for line in report.read_text().splitlines()]
        return code, events, here.tail(), answers_of(gateway)


def scenarios(events):
    return [event["ScenarioFinished"]["recorder"] for event in events if "ScenarioFinished" in event]


def failures(events) -> list[str]:
    return [
        f"{recorder['label']}: {check['name']}: {json.dumps(check.get('failure_info'))[:500]}"
        for recorder in scenarios(events)
        for checks in recorder.get("checks", {}).values()
        for check in checks
        if check["status"] == "failure"
    ]


def test_nothing_is_found(run):
    code, events, log, _ = run
    assert not failures(events), "\n".join(failures(events)[:20])
    assert code == 0, log


def test_every_operation_was_asked_often_enough(run):
    """By what Schemathesis sent to it, and by what the gateway says it answered."""
    _, events, _, answered = run
    sent = Counter()
    for recorder in scenarios(events):
        sent[recorder["label"]] += len(recorder.get("interactions", ()))
    for counted in (sent, answered):
        assert {name: counted[name] for name in OPERATIONS if counted[name] < EXAMPLES} == {}


def answers_of(gateway) -> Counter[str]:
    """How many requests of each operation the gateway has answered, by its own metrics."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(requests.get(gateway.url + "/metrics", timeout=30).text):
        for sample in family.samples:
            if sample.name == "postbox_http_requests_total":
                found[f"{sample.labels['method']} {sample.labels['route']}"] += int(sample.value)
    return found


def test_every_answer_came_and_none_was_an_error_of_ours(run):
    _, events, _, _ = run
    for recorder in scenarios(events):
        for interaction in recorder.get("interactions", {}).values():
            assert interaction["response"] is not None, recorder["label"]
            assert interaction["response"]["status_code"] < 500, recorder["label"]


def test_every_phase_and_every_check_took_part(run):
    _, events, _, _ = run
    from schemathesis.checks import CHECKS

    phases = {event["PhaseStarted"]["phase"]["name"] for event in events if "PhaseStarted" in event}
    ran = {check["name"] for r in scenarios(events) for checks in r.get("checks", {}).values() for check in checks}
    assert phases >= PHASES
    assert set(CHECKS.get_all_names()) - ran <= NOT_APPLICABLE
    assert Path("tests/contract/schemathesis.toml").exists()
