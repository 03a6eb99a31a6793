"""Tests of the Stripe-compatible sandbox, driven with the real SDK over real HTTP."""
