"""Reconciliation: the rules, who runs them when, and what people do about what they find."""
