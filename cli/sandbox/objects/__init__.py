"""Owns the objects of the API, one module per kind; none of them knows HTTP."""
