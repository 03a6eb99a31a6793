"""/ops/v1: what operators do over HTTP, by the same services as the command line, each under their own name."""

from app.gateway.ops import (
    dead_letters,
    discrepancies,
    figures,
    pauses,
    payments,
    proposals,
    session,
    tenants,
    webhooks,
)

BLUEPRINTS = (
    session.blueprint,
    payments.blueprint,
    dead_letters.blueprint,
    webhooks.blueprint,
    tenants.merchants,
    tenants.keys,
    pauses.blueprint,
    proposals.blueprint,
    figures.blueprint,
    discrepancies.blueprint,
)
