"""Runs Schemathesis over the whole document against gunicorn on a real database: every phase, every check."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from app.config import ROOT, Rates
from cli.openapi import PATH
from tests.contract.seed import seed
from tests.e2e.gateway_process import GatewayProcess, start_gateway
from tests.fixtures.cluster import shared_cluster
from tests.fixtures.database import OPERATOR_KEY, migrated
from tests.jobs.processes import World, world

HERE = Path(__file__).parent
# What any operation is asked in continuous integration; bin/fuzz asks more.
EXAMPLES = 300
# Scenarios go from one operation to the next by what was answered, a tenth of a second each. These are the most:
# Hypothesis gives up when the same steps are answered differently the second time, and Schemathesis says nothing of it.
# Of two whole runs one played them all and one 19; without the other phases more than 300 were played.
SCENARIOS = 50
# An answer takes milliseconds; ten seconds on a machine that does other things too are a hang.
HANG_SECONDS = 10
# A run takes minutes, and a session of a hundredth of its length would end meanwhile.
REAL_TIME = 1.0
# No bucket empties.
UNLIMITED = "1000000/1000000"
SETTINGS = {
    # No worker runs beside it, so the queue grows old; shedding has tests of its own.
    "POSTBOX_SHED_QUEUE_AGE": "1000000",
    "POSTBOX_SHED_POOL_WAITERS": "1000000",
    "POSTBOX_SHED_REQUESTS": "1000000",
    "POSTBOX_OPERATOR_KEY": OPERATOR_KEY,
    **{f"POSTBOX_RATE_{bucket.name.upper()}": UNLIMITED for bucket in dataclasses.fields(Rates)},
}


def fuzz(
    here: World,
    gateway: GatewayProcess,
    report: Path,
    *more: str,
    examples: int = EXAMPLES,
    scenarios: int = SCENARIOS,
) -> int:
    """One whole run; the events of it are in `report`, a line each. Returns Schemathesis's exit code."""
    config = report.with_suffix(".toml")
    of_scenarios = f"\n[phases.stateful.generation]\nmax-examples = {scenarios}\n"
    config.write_text((HERE / "schemathesis.toml").read_text() + of_scenarios)
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", str(PATH), "--url", gateway.url, "--mode", "all"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(examples)),
            # One worker: an operation's cases depend on what was seen before, which another one would change meanwhile.
            *("--request-timeout", str(HANG_SECONDS), "--workers", "1", "--continue-on-failure", "--no-color"),
            *("--report", "ndjson", "--report-ndjson-path", str(report)),
            *more,
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
            "POSTBOX_API_KEY": gateway.key,
            "POSTBOX_FUZZ_DATABASE": here.database.url,
            "POSTBOX_FUZZ_ORIGIN": gateway.url,
            "POSTBOX_FUZZ_EXISTING": json.dumps(seed(here.connection, gateway.merchant_id)),
        },
        check=False,
    ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="bin/fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=2_000, help="cases per operation and phase, and scenarios")
    parser.add_argument("--report", type=Path, default=ROOT / ".postbox" / "fuzz.ndjson")
    arguments, more = parser.parse_known_args()
    with (
        shared_cluster() as cluster,
        tempfile.TemporaryDirectory() as directory,
        world(cluster, migrated(cluster), Path(directory), time_scale=REAL_TIME) as here,
    ):
        here.env.update(SETTINGS)
        gateway = start_gateway(here)
        many = arguments.examples
        code = fuzz(here, gateway, arguments.report, *more, examples=many, scenarios=many)
        print(here.tail())
    return code


if __name__ == "__main__":
    sys.exit(main())
