"""Load as the outside makes it: open-loop arrivals, slow clients, greedy neighbours; bounded, and on loopback only."""
