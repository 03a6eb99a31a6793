"""The tests that draw, at the size that proves something: what CI runs a little of."""
