"""`postbox dev`: everything on this machine, started in order, shown, served until Ctrl-C, stopped in reverse."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
import psycopg
import requests
from rich.console import Console

from app.config import ROOT, SANDBOX_API_KEY
from cli.dev import demo, merchant, operator, processes
from cli.dev.database import DATABASE, LOGIN, DatabaseKeeper, create_database, is_own_url
from cli.dev.postgres import Cluster, ClusterError, ensure_cluster
from cli.dev.postgres_process import wait
from cli.dev.state import StateError, hold, load_secrets, read_env_file, write_env_file
from cli.dev.steps import Steps
from cli.dev.supervisor import ServiceError, Supervisor

STATE = ROOT / ".postbox"
ENV_FILE = STATE / "dev.env"

# A web server that was killed lets go of its port within two seconds, when its workers notice.
PORT_SECONDS = 3.0


class StartError(Exception):
    """Postbox does not start."""


@dataclass(frozen=True)
class Plan:
    """What this run starts itself, because nobody gave it the real thing."""

    port: int
    own_database: bool
    own_sandbox: bool


@click.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Where the API listens.")
@click.option("--no-demo", is_flag=True, help="Do not send the demo payments.")
def dev(port: int, no_demo: bool) -> None:
    """Run all of Postbox on this machine until Ctrl-C, with a demo."""
    console = Console(stderr=True)
    stopping = _on_signal()
    try:
        with ExitStack() as stack:
            stack.enter_context(hold(STATE))
            _require_port(port)
            _serve(stack, console, port, with_demo=not no_demo, stopping=stopping)
    except KeyboardInterrupt:
        console.print("stopped")
    except (StartError, StateError, ClusterError, ServiceError, merchant.MerchantError) as e:
        raise click.ClickException(str(e)) from e
    except psycopg.Error as e:
        raise click.ClickException(f"PostgreSQL refused: {str(e).splitlines()[0]}") from e
    except requests.RequestException as e:
        raise click.ClickException(f"a request to one of our own services failed: {e}") from e
    except OSError as e:
        raise click.ClickException(f"{e.filename or STATE}: {e.strerror or e}") from e


def _serve(stack: ExitStack, console: Console, port: int, *, with_demo: bool, stopping: "_Stopping") -> None:
    steps = Steps(console)
    procfile = processes.read_procfile(ROOT / "Procfile")
    plan = _plan(port)
    env = _environment(plan)
    if console.is_terminal:
        env.setdefault("POSTBOX_LOGS", "text")
    if plan.own_database:
        with steps.step("PostgreSQL 18"), stopping.postponed():
            cluster = ensure_cluster(STATE)
            keeper = DatabaseKeeper(cluster, lambda line: console.print(line, style="yellow"))
            stack.callback(keeper.stop)
            create_database(cluster)
        env |= _database_urls(cluster)
        keeper.start()
    with steps.step("Schema"), stopping.postponed():
        _run_once(procfile["release"], env)
    supervisor = stack.enter_context(Supervisor(STATE / "log", console))
    stack.callback(stopping.tell, console)
    stopping.supervisor = supervisor
    if plan.own_sandbox:
        with steps.step("Stripe sandbox"):
            sandbox = env["STRIPE_API_BASE"]
            webhook_url = f"http://127.0.0.1:{port}/webhooks/stripe/{env.get('STRIPE_ACCOUNT', 'default')}"
            supervisor.start(
                processes.sandbox_service(
                    env,
                    ROOT,
                    data=STATE / "stripe-sandbox.jsonl",
                    port=int(sandbox.rpartition(":")[2]),
                    webhook_url=webhook_url,
                )
            )
            processes.forget_other_endpoints(sandbox, webhook_url)
    with steps.step(f"API on http://127.0.0.1:{port}"):
        supervisor.start(processes.web_service(procfile["web"], env, ROOT, port))
    with steps.step("Worker"):
        supervisor.start(processes.worker_service(procfile["worker"], env, ROOT))
    known = read_env_file(ENV_FILE).get("POSTBOX_API_KEY", "")
    url = f"http://127.0.0.1:{port}"
    with steps.step("Demo merchant"):
        api_key = known if merchant.key_works(url, known) else merchant.create(env, ROOT)
    with steps.step("Demo operator"):
        person = operator.known_or_new(read_env_file(ENV_FILE), env, ROOT)
    write_env_file(ENV_FILE, _for_scripts(env, url, api_key) | person)
    if with_demo and plan.own_sandbox:
        demo.run(url, api_key, env["STRIPE_API_BASE"], console)
    elif with_demo:
        console.print("no demo: it needs the sandbox, and STRIPE_API_KEY or STRIPE_API_BASE is set", style="yellow")
    console.print(f"Postbox serves on {url} until Ctrl-C. In another terminal:", highlight=False)
    console.print(
        f"   set -a; . {_short(ENV_FILE)}; set +a; {_short(Path(processes.POSTBOX))} status",
        style="dim",
        soft_wrap=True,
    )
    console.print(
        f"To sign in to {url}/ops/v1: the name {operator.NAME}, its password in {_short(ENV_FILE)}, "
        f"and the code of {_short(Path(processes.POSTBOX))} operators code",
        style="dim",
        soft_wrap=True,
    )
    supervisor.echo(True)
    threading.Event().wait()


def _plan(port: int) -> Plan:
    """Decide what to start; our own values, sourced from dev.env by a person, count as not given."""
    given = os.environ.get("DATABASE_URL", "")
    own_database = not given or is_own_url(STATE, given)
    base = os.environ.get("STRIPE_API_BASE", "")
    own_base = read_env_file(ENV_FILE).get("STRIPE_API_BASE", "")
    key = os.environ.get("STRIPE_API_KEY", "")
    own_sandbox = key in ("", SANDBOX_API_KEY) and (not base or base == own_base)
    return Plan(port, own_database, own_sandbox)


def _environment(plan: Plan) -> dict[str, str]:
    """Return the environment of every process, except the database that is not running yet."""
    known = load_secrets(STATE)
    # A proxy for the outside must not be asked for what runs on this machine, by us or by our processes.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(
        filter(None, ["127.0.0.1,localhost", os.environ.get("no_proxy") or os.environ.get("NO_PROXY")])
    )
    env = dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["PYTHONUNBUFFERED"] = "1"
    env.setdefault("POSTBOX_KEY_PEPPER", known.key_pepper)
    env.setdefault("POSTBOX_OPERATOR_KEY", known.operator_key)
    if plan.own_sandbox:
        env["STRIPE_API_KEY"] = SANDBOX_API_KEY
        env["STRIPE_API_BASE"] = f"http://127.0.0.1:{processes.choose_port(STATE / 'sandbox.port')}"
        env["STRIPE_WEBHOOK_SECRETS"] = known.webhook_secret
    return env


def _database_urls(cluster: Cluster) -> dict[str, str]:
    return {"DATABASE_URL": cluster.url(DATABASE, LOGIN), "POSTBOX_MIGRATION_URL": cluster.url(DATABASE)}


def _for_scripts(env: Mapping[str, str], url: str, api_key: str) -> dict[str, str]:
    names = ("DATABASE_URL", "POSTBOX_MIGRATION_URL", "POSTBOX_KEY_PEPPER", "POSTBOX_OPERATOR_KEY", "STRIPE_API_BASE")
    return {
        "POSTBOX_URL": url,
        "POSTBOX_API_KEY": api_key,
        "POSTBOX_WEBHOOK_SECRET": env.get("STRIPE_WEBHOOK_SECRETS", "").partition(",")[0],
        **{name: env[name] for name in names if env.get(name)},
    }


def _run_once(argv: list[str], env: Mapping[str, str]) -> None:
    # In a session of its own, because the terminal sends Ctrl-C to the whole of ours.
    ran = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, start_new_session=True)
    if ran.returncode:
        told = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()] or ["no message"]
        raise StartError(f"{' '.join(argv)} failed: {told[-1].strip().removeprefix('Error: ')}")


def _require_port(port: int) -> None:
    refusal: list[OSError] = []
    if not wait(lambda: _can_bind(port, refusal), PORT_SECONDS):
        raise StartError(f"port {port} cannot be used ({refusal[-1].strerror}): choose another with --port")


def _can_bind(port: int, refusal: list[OSError]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as e:
            refusal.append(e)
            return False
    return True


class _Stopping:
    """What signals do: the first ends the main thread's work, later ones give up waiting."""

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None
        self._asked = False
        self._postponing = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked and self.supervisor:
            self.supervisor.hurry()
        elif not self._asked:
            self._asked = True
            if not self._postponing:
                raise KeyboardInterrupt

    def tell(self, console: Console) -> None:
        if self._asked:
            console.print("stopping; a second Ctrl-C does not wait", style="dim")

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Finish the block first: what it starts must be known before it can be stopped."""
        self._postponing = True
        try:
            yield
        finally:
            self._postponing = False
        if self._asked:
            raise KeyboardInterrupt


def _on_signal() -> _Stopping:
    stopping = _Stopping()
    signal.signal(signal.SIGINT, stopping)
    signal.signal(signal.SIGTERM, stopping)
    # nohup asks to go on when the terminal closes; without it a closed terminal stops everything.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stopping)
    return stopping


def _short(path: Path) -> str:
    cwd = Path.cwd()
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
