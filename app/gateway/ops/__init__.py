"""/ops/v1: what operators do over HTTP, by the same services as the command line, each under their own name."""

from app.gateway.ops import session

BLUEPRINTS = (session.blueprint,)
