"""What every job needs and nothing else: settings, the database, and the provider of an account."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from app.config import Settings, Timing
from app.db import Database
from app.db.wake import Waker
from app.providers.protocol import Provider
from app.providers.stripe import StripeProvider

# Beside one connection per running job: the sweeper, and room for failures to be recorded.
SPARE_CONNECTIONS = 4


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    database: Database
    provider: Provider
    waker: Waker
    # set on SIGTERM: what is on its way is finished, nothing further is begun
    draining: threading.Event = field(default_factory=threading.Event)

    @property
    def timing(self) -> Timing:
        return self.settings.timing

    def close(self) -> None:
        self.waker.close()
        self.database.close()


def open_runtime(settings: Settings) -> Runtime:
    """A runtime with an open pool; the caller closes it."""
    database = Database(
        settings.database_url,
        size=settings.worker_concurrency + SPARE_CONNECTIONS,
        application="postbox worker",
    ).open()
    return Runtime(
        settings=settings,
        database=database,
        provider=stripe_provider(settings),
        waker=Waker(database, every=settings.timing.wake_every),
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
