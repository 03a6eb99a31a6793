"""What every job needs and nothing else: settings, the database, and the provider of an account."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from app.config import Settings, Timing
from app.db import Database
from app.db.sessions import BY_KEY
from app.db.wake import Waker
from app.providers.protocol import Provider
from app.providers.stripe import StripeProvider
from jobs.courtesy import Courtesy
from jobs.flight import Flight
from jobs.oldest import OldestJob

# Calls in flight wait for the provider without a connection, so many of them share these; beside them the sweepers, and
# room for failures to be recorded.
SHARED_CONNECTIONS = 16
SPARE_CONNECTIONS = 4
# More local groups at once than this only wait for each other's locks. Our own worker fetches no more local jobs than
# that, so only one that is not ours ever waits here. They have connections of their own, because a connection that all
# take in turns plans every statement of a group anew.
LOCAL_GROUPS = 2


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    database: Database
    groups: Database
    provider: Provider
    waker: Waker
    flight: Flight
    oldest: OldestJob = field(default_factory=OldestJob)
    courtesy: Courtesy = field(default_factory=Courtesy)
    # set on SIGTERM: what is on its way is finished, nothing further is begun
    draining: threading.Event = field(default_factory=threading.Event)
    # set when a connection was refused because its server may forget: what is fetched from here on is fetched in vain
    unsafe: threading.Event = field(default_factory=threading.Event)

    @property
    def timing(self) -> Timing:
        return self.settings.timing

    def close(self) -> None:
        self.waker.close()
        self.groups.close()
        self.database.close()


def open_runtime(settings: Settings) -> Runtime:
    """A runtime with an open pool; the caller closes it."""
    unsafe = threading.Event()
    database = Database(
        settings.database_url,
        size=min(settings.worker_concurrency, SHARED_CONNECTIONS) + SPARE_CONNECTIONS,
        application="postbox worker",
        unsafe_accepted=settings.unsafe_postgres,
        met_unsafe=unsafe.set,
    ).open()
    groups = database
    if settings.carrying:
        groups = Database(
            settings.database_url,
            size=LOCAL_GROUPS,
            application="postbox worker groups",
            options=BY_KEY,
            unsafe_accepted=settings.unsafe_postgres,
            met_unsafe=unsafe.set,
        ).open()
    return Runtime(
        settings=settings,
        database=database,
        groups=groups,
        provider=stripe_provider(settings),
        waker=Waker(database, every=settings.timing.wake_every),
        flight=Flight(settings.worker_concurrency, patience=settings.timing.provider_read),
        unsafe=unsafe,
    )


def stripe_provider(settings: Settings) -> StripeProvider:
    return StripeProvider(
        settings.stripe_api_key,
        account=settings.stripe_account,
        api_base=settings.stripe_api_base,
        webhook_secrets=settings.stripe_webhook_secrets,
        connect_timeout=settings.timing.provider_connect,
        read_timeout=settings.timing.provider_read,
    )
