"""Owns the Stripe-compatible sandbox server: a separate process that imports nothing of the product."""
