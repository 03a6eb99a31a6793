"""Owns `python -m cli.sandbox`, which is `postbox sandbox` without the rest of the product."""

from cli.sandbox.command import sandbox

if __name__ == "__main__":
    sandbox(prog_name="postbox sandbox")
