"""Settings, read once from the environment into frozen values; nothing else reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SQL_DIR = ROOT / "sql"

# The demo and the tests use the sandbox's key; a real one replaces it.
SANDBOX_API_KEY = "sk_test_postbox"
# A process starts on a PostgreSQL that may forget only when it was told so twice: by this value, which nobody types by
# chance, and by the names of the settings that may be off.
UNSAFE_ACCEPTED = "payments-may-be-lost"
# What a login of its own can be given for: the roles are postbox_<name>.
LOGIN_ROLES = ("api", "worker", "operator", "compliance")
PLATFORM_MERCHANT_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Timing:
    """Every wait in the system, in seconds. Production values are the defaults; `scaled` shrinks them all for tests."""

    lease: float = 30.0  # one provider call plus the slack to record it
    provider_connect: float = 3.0
    provider_read: float = 20.0  # below the lease, so a slow answer is recorded by the one who asked
    retry_first: float = 15.0  # then x4: 15 s, 60 s, dead
    not_executed_wait: float = 2.0  # 429 and 409: same key again soon, uncounted
    not_there_yet: float = 5.0  # a webhook ahead of its payment, a balance transaction still missing
    unrouted_for: float = 900.0  # a webhook of an unknown payment is looked for this long
    deferral_cap: float = 86_400.0
    key_reusable_for: float = 82_800.0  # Stripe may prune a key after 24 h; we stop at 23 h
    circuit_open: float = 30.0
    pause_recheck: float = 5.0
    pause_longest: float = 300.0  # behind a long pause ever more rarely, up to this far apart; to resume ends it
    unknown_recheck: float = 300.0  # a handler of another release is looked for ever more rarely, up to this far apart
    outcome_due_card: float = 600.0  # a card is decided in seconds; ten minutes of silence is worth a question
    outcome_due_bank: float = 432_000.0
    observe_again: float = 900.0
    action_window: float = 86_400.0
    settle_recheck: float = 3_600.0
    dispute_recheck: float = 21_600.0  # a dispute is decided in weeks; its webhooks come first
    sweep_promote: float = 0.5
    sweep_leases: float = 5.0
    sweep_jobs: float = 10.0
    sweep_clock: float = 5.0
    sweep_reconcile: float = 0.5  # books are compared within a second of what happened to them
    reconcile_sweep: float = 600.0  # every payment not at rest is compared this often, whatever was lost
    changes_every: float = 3_600.0  # the provider's lists are read this often, whatever its webhooks told
    changes_overlap: float = 172_800.0  # and this far back beyond what was read: a list shows some things late
    events_kept: float = 2_592_000.0  # Stripe lists events for 30 days; the first reading goes back as far
    balance_every: float = 86_400.0
    night_every: float = 86_400.0
    night_back: float = 7_776_000.0  # 90 days: what may still be disputed or refunded
    silence: float = 1.0  # times the deadlines that are rows of the database: those hold production's
    worker_heartbeat: float = 5.0
    worker_stalled: float = 20.0  # a killed worker's job is found and rescued well inside 60 s
    rescue_spread: float = 5.0  # times the rescues so far: what kills its worker is parted from who ran beside it
    poll: float = 1.0
    # Transactions that notify commit one after the other, in the whole cluster: 20 ms apart, were it a payment's.
    # Ours is a commit of its own, one per process, that waits for no disk, so it may come sooner.
    wake_every: float = 0.005
    idempotency_lock: float = 1.0
    idempotency_keep: float = 604_800.0
    session_idle: float = 1_800.0  # OWASP: half an hour for what is worth money
    decision_window: float = 86_400.0  # proposals_expire_within_a_day; who reads it the day after should propose anew
    session_longest: float = 43_200.0  # a long day; then everybody proves again who they are
    prove_again: float = 60.0  # a balance that was found to differ is asked for this often until it agrees
    payout_again: float = 3_600.0  # a payout that its provider has not itemised yet is read this often until it is
    # a balance that differs is asked for again at these distances: money on its way is in our books by the last
    balance_again: tuple[float, ...] = (1.0, 10.0, 60.0, 300.0, 900.0)
    # asking the provider after an unknown outcome: at once, then at these distances
    resolve_schedule: tuple[float, ...] = (0.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0)

    def scaled(self, factor: float) -> Timing:
        """The same waits times `factor`, except those that bound real work rather than waiting."""
        unscaled = {"idempotency_lock", "wake_every", "idempotency_keep", "key_reusable_for"}
        values: dict[str, object] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in unscaled:
                values[item.name] = value
            elif isinstance(value, tuple):
                values[item.name] = tuple(part * factor for part in value)
            else:
                values[item.name] = value * factor
        return Timing(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rate:
    """A token bucket: whole tokens per second, and how many it holds when it is full."""

    per_second: int
    burst: int

    @property
    def window(self) -> int:
        """Seconds in which an empty one fills, rounded up."""
        return -(-self.burst // self.per_second)


@dataclass(frozen=True)
class Rates:
    """What one key, all keys of one merchant together, and one operator may ask for."""

    key_read: Rate = Rate(200, 400)
    key_write: Rate = Rate(100, 200)
    merchant_read: Rate = Rate(200, 400)
    merchant_write: Rate = Rate(100, 200)
    # a person at the console: a page of figures asks for ten things at once, a page of letters is replayed one by one
    operator_read: Rate = Rate(20, 200)
    operator_write: Rate = Rate(10, 100)
    # of one address: an office of sixty that comes in at nine
    sign_in: Rate = Rate(1, 60)


@dataclass(frozen=True)
class Shed:
    """From where on a web process refuses writes before it does any work for them; reads and webhooks go on."""

    # Seconds that a delivery may have been runnable: workers that are five minutes behind are behind for good, and who
    # is refused now can still go elsewhere with the payment.
    queue_age: float = 300.0
    # Requests that wait for a connection: two turns of eight. A process that has just begun, and is still opening its
    # connections, has as many waiters as threads.
    pool_waiters: int = 16
    # Requests that wait for a thread: four turns of eight, a quarter of a second of what a process does.
    requests: int = 32


@dataclass(frozen=True)
class Settings:
    """One process's settings; secrets are kept out of repr."""

    database_url: str = field(repr=False)
    migration_url: str = field(repr=False)
    key_pepper: str = field(repr=False)
    operator_key: str = field(default="", repr=False, kw_only=True)
    stripe_api_key: str = field(repr=False)
    stripe_api_base: str | None = None
    stripe_account: str = "default"
    stripe_webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    time_scale: float = 1.0
    timing: Timing = field(default_factory=Timing)
    rates: Rates = field(default_factory=Rates)
    shed: Shed = field(default_factory=Shed)
    api_pool_size: int = 8
    worker_concurrency: int = 200
    carrying: bool = True
    livemode: bool = False
    trusted_proxies: int = 0
    # settings of PostgreSQL that may be off
    unsafe_postgres: frozenset[str] = frozenset()
    # the operators' own way into the database; without it theirs is everybody's
    operator_url: str | None = field(default=None, repr=False)
    # runtime role -> login, for `postbox migrate`; empty: the login of DATABASE_URL may take on each of them
    logins: Mapping[str, str] = field(default_factory=dict)


class SettingsError(ValueError):
    """A setting is missing or unusable."""


def secret(env: Mapping[str, str], name: str) -> str:
    """NAME, or what the file named by NAME_FILE holds, as Docker and Kubernetes hand out secrets; "" when unset.

    Raises SettingsError when both are set, and when the file cannot be read or holds nothing.
    """
    value, path = env.get(name, "").strip(), env.get(f"{name}_FILE", "").strip()
    if not path:
        return value
    if value:
        raise SettingsError(f"{name} and {name}_FILE are both set: which one is meant?")
    try:
        held = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}_FILE cannot be read: {path}") from error
    if not held:
        raise SettingsError(f"{name}_FILE is empty: {path}")
    return held


def log_form(env: Mapping[str, str]) -> str:
    """POSTBOX_LOGS: `json`, `text`, or "" for whatever suits where the lines go. Raises SettingsError."""
    form = env.get("POSTBOX_LOGS", "").strip()
    if form not in ("", "json", "text"):
        raise SettingsError(f"POSTBOX_LOGS must be json or text, not {form!r}")
    return form


def _number(env: Mapping[str, str], name: str, default: float, *, at_least: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise SettingsError(f"{name} is not a number: {text!r}") from error
    if not value >= at_least:
        raise SettingsError(f"{name} must be at least {at_least:g}, not {text}")
    return value


def _rate(env: Mapping[str, str], name: str, default: Rate) -> Rate:
    """`100/200`: tokens per second, and the burst."""
    text = env.get(name, "").strip()
    if not text:
        return default
    # Nine digits at most: the database multiplies them by a million.
    match = re.fullmatch(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})", text)
    if match is None:
        raise SettingsError(f"{name} must be requests per second and burst, like 100/200, not {text!r}")
    return Rate(int(match[1]), int(match[2]))


def _logins(env: Mapping[str, str]) -> dict[str, str]:
    """`api=web,worker=jobs`: which login plays which runtime role, and no other."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in env.get("POSTBOX_LOGINS", "").split(","))):
        role, _, login = part.partition("=")
        if role not in LOGIN_ROLES or not login or role in found or login in found.values():
            raise SettingsError(
                f"POSTBOX_LOGINS must name one login for each of {', '.join(LOGIN_ROLES)}, "
                f"like api=web,worker=jobs, not {part!r}"
            )
        found[role] = login
    return found


def _unsafe(env: Mapping[str, str]) -> frozenset[str]:
    """What may be off in PostgreSQL; either variable alone allows nothing."""
    named = {part.strip() for part in env.get("POSTBOX_UNSAFE_SETTINGS", "").split(",")} - {""}
    accepted = env.get("POSTBOX_UNSAFE_POSTGRES", "").strip() == UNSAFE_ACCEPTED
    return frozenset(named if accepted else ())


def load_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises SettingsError with one clear line."""
    env = os.environ if env is None else env
    url = secret(env, "DATABASE_URL")
    if not url:
        raise SettingsError("DATABASE_URL is not set")
    scale = _number(env, "POSTBOX_TIME_SCALE", 1.0, at_least=0.0001)
    stripe_key = secret(env, "STRIPE_API_KEY") or SANDBOX_API_KEY
    secrets = tuple(part.strip() for part in secret(env, "STRIPE_WEBHOOK_SECRETS").split(",") if part.strip())
    return Settings(
        database_url=url,
        migration_url=secret(env, "POSTBOX_MIGRATION_URL") or url,
        key_pepper=secret(env, "POSTBOX_KEY_PEPPER"),
        operator_key=secret(env, "POSTBOX_OPERATOR_KEY"),
        stripe_api_key=stripe_key,
        stripe_api_base=env.get("STRIPE_API_BASE", "").strip() or None,
        stripe_account=env.get("STRIPE_ACCOUNT", "").strip() or "default",
        stripe_webhook_secrets=secrets,
        time_scale=scale,
        timing=Timing().scaled(scale) if scale != 1.0 else Timing(),
        rates=Rates(
            key_read=_rate(env, "POSTBOX_RATE_KEY_READ", Rates.key_read),
            key_write=_rate(env, "POSTBOX_RATE_KEY_WRITE", Rates.key_write),
            merchant_read=_rate(env, "POSTBOX_RATE_MERCHANT_READ", Rates.merchant_read),
            merchant_write=_rate(env, "POSTBOX_RATE_MERCHANT_WRITE", Rates.merchant_write),
            operator_read=_rate(env, "POSTBOX_RATE_OPERATOR_READ", Rates.operator_read),
            operator_write=_rate(env, "POSTBOX_RATE_OPERATOR_WRITE", Rates.operator_write),
            sign_in=_rate(env, "POSTBOX_RATE_SIGN_IN", Rates.sign_in),
        ),
        shed=Shed(
            queue_age=_number(env, "POSTBOX_SHED_QUEUE_AGE", Shed.queue_age, at_least=1),
            pool_waiters=int(_number(env, "POSTBOX_SHED_POOL_WAITERS", Shed.pool_waiters, at_least=1)),
            requests=int(_number(env, "POSTBOX_SHED_REQUESTS", Shed.requests, at_least=1)),
        ),
        api_pool_size=int(_number(env, "POSTBOX_API_POOL_SIZE", 8, at_least=1)),
        worker_concurrency=int(_number(env, "POSTBOX_WORKER_CONCURRENCY", 200, at_least=1)),
        carrying=env.get("POSTBOX_CARRYING", "on").strip().lower() not in {"off", "0", "false", "no"},
        livemode=stripe_key.startswith(("sk_live_", "rk_live_")),
        trusted_proxies=int(_number(env, "POSTBOX_TRUSTED_PROXIES", 0, at_least=0)),
        operator_url=secret(env, "POSTBOX_OPERATOR_URL") or None,
        logins=_logins(env),
        unsafe_postgres=_unsafe(env),
    )
