"""The contract with callers: what the document promises, held against a running server."""
