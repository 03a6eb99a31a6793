"""The same step driven by other queues, each in an environment of its own."""
