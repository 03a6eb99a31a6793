"""What was refused before any work was done, counted for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

REFUSED = Counter("postbox_rate_limited_total", "Requests refused by a rate limit.", ["scope", "class"])
SHED = Counter("postbox_shed_total", "Writes refused because too much is waiting.", ["reason"])
