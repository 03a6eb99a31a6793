"""How gunicorn serves the gateway; every number can be set from the environment, or with GUNICORN_CMD_ARGS."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from typing import Any

bind = f"0.0.0.0:{os.environ.get('PORT', '8000')}"

# Threads, because a request mostly waits for Postgres; processes, because the rest of it holds the interpreter lock.
# Our own kind of gthread: a request gets its thread when all of it is here, so that a slow client holds none,
# and webhooks that come at once get one together.
worker_class = "app.gateway.webhook_worker.WebhookWorker"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# One connection per thread: more threads would queue for the pool, more connections would idle.
threads = int(os.environ.get("POSTBOX_WEB_THREADS") or os.environ.get("POSTBOX_API_POOL_SIZE") or "8")

# Open connections per process, most of them idle or slow, at a few KB each; beyond it one of them goes. Each is a file.
worker_connections = 2_000
_SPARE_FILES = 256
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft != resource.RLIM_INFINITY and _soft < worker_connections + _SPARE_FILES:
    _wanted = worker_connections + _SPARE_FILES if _hard == resource.RLIM_INFINITY else _hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_wanted, worker_connections + _SPARE_FILES), _hard))
    worker_connections = min(worker_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)

# The loop of a process beats; one that is silent for so long is replaced. What a request may take is bounded elsewhere:
# to arrive and to be sent by patient_worker, to wait for a connection and for each statement by app.db.pool.
timeout = 30
# Platforms kill 30 s after SIGTERM; what is running by then has long been answered.
graceful_timeout = 25
# Longer than a client's pause between two calls; a load balancer in front should keep for less.
keepalive = 15

# Our longest path is under 100 characters and our longest query a cursor, a reference and two dates, escaped.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190

# Whom to believe about the client is a setting of the gateway's own (POSTBOX_TRUSTED_PROXIES), never gunicorn's guess.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

# An answer is kept until it is whole (client_socket.py): a file must not overtake its head.
sendfile = False

# The control socket is a door that nobody here uses.
control_socket_disable = True

# Heartbeats write to a file; on a disk that stalls a worker would be taken for hung.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# Requests are told of by request_log.py, with ids that gunicorn does not know and without what it would quote.
accesslog = None
errorlog = "-"
logger_class = "app.gateway.gunicorn_log.GunicornLog"

# Metrics of all workers meet in files here; prometheus_client looks for the variable when a worker imports it.
_OWN_METRICS = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
if _OWN_METRICS:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="postbox-metrics-")


def on_starting(server: Any) -> None:
    """Refuse to serve what could not be kept, in one line."""
    from app.config import SettingsError, load_settings
    from app.db.durability import refuse_unsafe
    from app.errors import UnsafeDatabase

    try:
        refuse_unsafe(load_settings())
    except (SettingsError, UnsafeDatabase) as error:
        sys.exit(f"Error: {error}")


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    if _OWN_METRICS:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
