"""Owns the webhook endpoints: whom events are for; it sends nothing."""

from cli.sandbox.table import Row
from cli.sandbox.world import World


def set_endpoint(world: World, url: str, secret: str, topics: list[str]) -> Row:
    """Add the webhook endpoint of a URL, or change it; one URL is one endpoint, restart or not."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("url starts with http:// or https://")
    for row in world.tables["webhook_endpoint"].rows.values():
        if row["url"] == url:
            row.update(secret=secret, enabled_events=topics, status="enabled")
            return world.put(row)
    return _add(world, url, secret, topics, None)


def set_started_with(world: World, urls: list[str], secret: str) -> None:
    """Make the URLs of the command line the endpoints, in their order.

    The first URL is the first endpoint again after a restart: a server that moved to another port gets what was
    left undelivered, and nobody knocks at the old one.
    """
    before = {
        row.get("_place", 0): row
        for row in world.tables["webhook_endpoint"].rows.values()
        if row.get("_place", 0) is not None
    }
    for place, row in before.items():
        if place >= len(urls):
            row["status"] = "disabled"
            world.put(row)
    for place, url in enumerate(urls):
        if place in before:
            before[place].update(url=url, secret=secret, status="enabled")
            world.put(before[place])
        else:
            _add(world, url, secret, ["*"], place)


def _add(world: World, url: str, secret: str, topics: list[str], place: int | None) -> Row:
    return world.put(
        {
            "id": world.new_id("we"),
            "object": "webhook_endpoint",
            "created": int(world.now()),
            "enabled_events": topics,
            "secret": secret,
            "status": "enabled",
            "url": url,
            "_place": place,
        }
    )
