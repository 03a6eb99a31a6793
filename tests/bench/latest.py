"""latest.json: the newest result of every benchmark, and of each ratio its value and the run that it comes from."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from tests.bench import machine
from tests.bench.promised import BY_KEY, counts

# What is told of the run that a value comes from.
RUN = ("command", "commit", "at")


def merged(known: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """`known` with what `found` measured in the place of the same benchmarks' older results.

    A ratio is there because a result is that has it; of several that measured it the worst counts. A benchmark that
    failed has no figure: what it measured before is of other code, and of a run that went well.
    """
    of = {
        "command": found["command"], "commit": found["machine"]["commit"], "at": found["machine"]["at"],
        "where": machine.where(found["machine"]), "when": machine.when(found["machine"]),
    }  # fmt: skip
    # what an earlier release left does not say where and when it was measured, so it is told no more
    results = {name: result for name, result in known.get("results", {}).items() if "where" in result}
    results = {name: result for name, result in results.items() if name not in found["failed"]}
    # and of what was not promised the newest owner keeps it
    taken = {key for result in found["results"].values() for key in result["ratios"]} - BY_KEY.keys()
    results = {name: _without(result, taken) for name, result in results.items()}
    results |= {name: result | of for name, result in found["results"].items()}
    runs = _runs(results)
    return {
        "commit": of["commit"],
        "ratios": {key: run["value"] for key, run in runs.items()},
        "runs": runs,
        "results": results,
    }


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """Each ratio of one run once, a small run's too."""
    found: dict[str, float] = {}
    for result in results.values():
        found |= {
            key: value for key, value in result["ratios"].items() if key not in found or counts(key, value, found[key])
        }
    return found


def _without(result: dict[str, Any], taken: Set[str]) -> dict[str, Any]:
    """The result with none of these ratios: another benchmark measures them now."""
    return result | {"ratios": {key: value for key, value in result["ratios"].items() if key not in taken}}


def _runs(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each ratio's value, whose it is, and by which command at which commit."""
    runs: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        for key, value in result["ratios"].items():
            promise = BY_KEY.get(key)
            if promise and result["payments"] < promise.payments:
                continue
            assert promise is None or name in promise.by, f"{key} is measured by {promise.by}, not by {name}"
            assert key not in runs or promise, f"{key} is measured by {name} and by {runs[key]['bench']}"
            if key in runs and not counts(key, value, runs[key]["value"]):
                continue
            runs[key] = {"value": value, "bench": name, "payments": result["payments"]} | {
                what: result[what] for what in RUN
            }
    return runs
