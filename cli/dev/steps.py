"""One line on the terminal for each step while Postbox starts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Steps:
    """Shows the step that runs, then keeps its line with how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show the title as running; when the block ends, as done. A failed step leaves no line: the error tells."""
        began = time.monotonic()
        with self._console.status(title):
            yield
        self._console.print(f"[green]ok[/]  {title} [dim]({time.monotonic() - began:.1f} s)[/]", highlight=False)
