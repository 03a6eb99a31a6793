"""Verbs of the domain: each takes the open transaction, does one thing, never commits and never reaches the network."""
