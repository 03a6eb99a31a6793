"""Measures what Postbox does on this machine; every number stands beside one of the same SQL from the same run."""
