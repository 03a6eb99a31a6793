"""One night of comparing, in a process of its own so that its memory can be read: `python -m tests.bench.night`."""

from __future__ import annotations

import json
import resource
import time

from app.config import load_settings
from jobs.provider_runs import compare_night_once, request_runs_once
from jobs.runtime import open_runtime


def main() -> None:
    runtime = open_runtime(load_settings())
    try:
        request_runs_once(runtime)
        began, compared = time.monotonic(), 0
        while page := compare_night_once(runtime):
            compared += page
        seconds = time.monotonic() - began
    finally:
        runtime.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # kilobytes on Linux
    found = {"memory_mb": usage.ru_maxrss // 1024, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    print(json.dumps(found | {"seconds": seconds}))


if __name__ == "__main__":
    main()
