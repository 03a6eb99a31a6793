"""Says what the limit is where an aim is out of reach, in figures of the same run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

from app.config import ROOT
from tests.bench.cpu import CLIENTS, PGBENCH
from tests.bench.measure import Series, percentiles

CORES = os.cpu_count() or 1
# The most that a process has had resident; getrusage would tell that of the one that started it, too.
WEIGH = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
WEB, WORKER = "import app.gateway.app", "import cli.main, jobs.worker, jobs.handlers"
IMPORT_SECONDS = 60


def by_cpu(of: Series, to: Series, aim: float, unit: str) -> str:
    """The most that the cores can do at what one costs, and what it would have to cost for the aim."""
    processes, server, driving = _of(of, "worker_cpu_ms"), _of(of, "server_cpu_ms"), _driving(of)
    most = 1000 * CORES / (processes + server + driving)
    left = 1000 * CORES / (aim * to.median) - server - driving
    ours = f"our processes may cost {left:.2f} ms of it"
    none = f"nothing is left for our processes, and {-left:.2f} ms would have to go elsewhere too"
    return (
        f"one {unit} costs {processes:.2f} ms of CPU in our processes, {server:.2f} ms in PostgreSQL and"
        f" {driving:.2f} ms in what drives the load, a warm-up counted in. At that, {CORES} cores give {most:,.0f}/s;"
        f" {of.median:,.0f}/s were measured after the warm-up."
        f" The other side ({to.name}) costs {_of(to, 'server_cpu_ms'):.2f} ms in PostgreSQL and"
        f" {_of(to, 'worker_cpu_ms') + _driving(to):.2f} ms around it, and does {to.median:,.0f}/s."
        f" At {aim:g} times that, {ours if left > 0 else none}."
    )


def by_load(paced: Series, rate: float, unit: str) -> str:
    """How busy the cores are at a pace, how long was waited for one, and how long a flush of the log took."""
    cost = _of(paced, "worker_cpu_ms") + _of(paced, "server_cpu_ms") + _driving(paced)
    found = percentiles(paced.latencies)
    return (
        f"at {rate:g}/s one {unit} costs {cost:.2f} ms of CPU in all, which keeps {CORES} cores"
        f" {rate * cost / 10 / CORES:.0f} % busy with nothing else on them. By the kernel's count threads that could"
        f" run waited for a core, by {unit}, {_of(paced, 'waiting_ms'):.2f} ms in our processes and"
        f" {_of(paced, 'server_waiting_ms'):.2f} ms in PostgreSQL; by PostgreSQL's count one flush of its log took"
        f" {_of(paced, 'flush_ms'):.2f} ms. Half wait {found['p50_ms']:g} ms, 95 of 100 {found['p95_ms']:g} ms, 99 of"
        f" 100 {found['p99_ms']:g} ms."
    )


def by_waits(paced: Mapping[float, Series]) -> str:
    """What the same takes at other paces, and what differs: for how much of a second threads had no core."""
    told = []
    for rate, one in paced.items():
        found, waited = percentiles(one.latencies), rate * (_of(one, "waiting_ms") + _of(one, "server_waiting_ms"))
        told.append(
            f"at {rate:g}/s half wait {found['p50_ms']:g} ms and 95 of 100 {found['p95_ms']:g} ms, and all threads"
            f" together {waited:,.0f} ms of a second"
        )
    return f"What differs by the pace is the wait for a core: {'; '.join(told)}."


def by_company(*series: Series) -> str:
    """What the same answers waited for in each company: a core by the kernel's count, the disk by PostgreSQL's."""
    told = []
    for one in series:
        found = percentiles(one.latencies)
        told.append(
            f"{one.name}: half take {found['p50_ms']:g} ms, 95 of 100 {found['p95_ms']:g} ms, 99 of 100"
            f" {found['p99_ms']:g} ms; by answer threads of all processes that could run waited for one of {CORES}"
            f" cores {_of(one, 'waiting_ms'):.2f} ms, those of PostgreSQL {_of(one, 'server_waiting_ms'):.2f} ms, what"
            f" drains included, and one flush of the log took {_of(one, 'flush_ms'):.2f} ms"
        )
    return f"{'. '.join(told)}."


def by_buffers(what: str, by_size: Mapping[int, Series]) -> str:
    """What one touches and costs at each size; and how far turns of one size lie apart, which is no growth."""
    told = [
        f"among {size:,} {one.median:,.0f}/s, {_of(one, 'buffers'):,.1f} buffers each, {_of(one, 'buffers_read'):,.1f}"
        f" of them from the disk or the system's cache in {_of(one, 'read_ms'):.2f} ms, and"
        f" {_of(one, 'server_cpu_ms'):.2f} ms of CPU in PostgreSQL, {_of(one, 'worker_cpu_ms') + _driving(one):.2f} ms"
        " around it"
        for size, one in by_size.items()
    ]
    rates = next(iter(by_size.values())).rates
    return f"{what}: {'; '.join(told)}. Turns of the smallest lie between {min(rates):,.0f} and {max(rates):,.0f}/s."


def by_pages(traces: Mapping[int, Series], pages: Mapping[int, Series]) -> str:
    """What a page takes without PostgreSQL at each size; traces as they were, and with pages as dear in both."""
    least, most = min(traces), max(traces)
    near, far = (1000 / pages[size].median for size in (least, most))
    small, large = (1000 / traces[size].median for size in (least, most))
    # what was waited for pages is the most that nearer ones spare
    spared = min(_of(traces[most], "buffers_read") * (far - near), _of(traces[most], "read_ms"))
    return (
        f"One page of its files, at random and read without PostgreSQL, takes {near:.3f} ms from the disk among"
        f" {least:,} and {far:.3f} ms among {most:,}. The row is the median of the ratios within a turn; by the"
        f" medians over all turns a trace takes {small:.1f} ms among {least:,} and {large:.1f} ms among {most:,}, which"
        f" is {small / large:.2f}, and with {near:.3f} ms a page in both it would take {large - spared:.1f} ms among"
        f" {most:,}, which would be {small / (large - spared):.2f}."
    )


def by_percentiles(what: str, one: Series) -> str:
    """How the latencies lie, where one figure of them was promised."""
    found = percentiles(one.latencies)
    return f"{what}: half take {found['p50_ms']:g} ms, 95 of 100 {found['p95_ms']:g} ms, 99 of 100 {found['p99_ms']:g}."


def by_imports(statement: str, megabytes: float) -> str:
    """What a process weighs that has imported what it needs and done nothing."""
    empty, loaded = (_weigh(text) for text in ("", statement))
    return (
        f"an interpreter takes {empty:.0f} MB, and {loaded:.0f} MB with what is imported (`{statement}`);"
        f" connections, threads and work make it {megabytes:.0f} MB."
    )


@cache
def _weigh(statement: str) -> float:
    ran = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{WEIGH}"],
        cwd=ROOT, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=True,
    )  # fmt: skip
    return float(ran.stdout) / 1024


def _of(series: Series, sample: str) -> float:
    return statistics.median(series.samples.get(sample, [0.0]))


def _driving(series: Series) -> float:
    return _of(series, f"cpu_ms of {CLIENTS}") + _of(series, f"cpu_ms of {PGBENCH}")
