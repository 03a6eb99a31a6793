"""Postbox: payments on Postgres and nothing else."""
