"""What was refused before any work was done, counted for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

REFUSED = Counter("postbox_rate_limited_total", "Requests refused by a rate limit.", ["scope", "class"])
TURNED_AWAY = Counter("postbox_turned_away_total", "Requests and connections ended for how they came.", ["kind"])
SHED = Counter("postbox_shed_total", "Writes refused because too much is waiting.", ["reason"])
