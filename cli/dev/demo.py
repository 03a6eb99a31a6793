"""Sends the demo payments through the public API, does what a shopper and a merchant would do, and shows them live."""

import time
from dataclasses import dataclass, field

import requests
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.dev.demo_clients import Api, DemoError, Faults, press_button
from cli.dev.demo_payments import STORIES, Story

# The slowest story waits out the provider's read timeout (20 s), a circuit that opened (30 s) and settlement (10 s).
LONGEST_SECONDS = 150.0
LOOK_EVERY_SECONDS = 0.4
STRIKE_SECONDS = 20.0

# Number, title and amount take this many columns.
TRAIL_STARTS_AT = 56

DONE = {"settled", "failed", "canceled", "refunded", "charged_back", "returned"}
COLOURS = {"settled": "green", "failed": "red", "canceled": "yellow", "outcome_unknown": "magenta"}


@dataclass
class Running:
    """One story under way: its payment and the states seen."""

    story: Story
    payment_id: str = ""
    trail: list[str] = field(default_factory=list)
    acted: bool = False

    @property
    def state(self) -> str:
        return self.trail[-1] if self.trail else ""

    @property
    def arrived(self) -> bool:
        return self.state == self.story.end


def run(url: str, api_key: str, sandbox_url: str, console: Console) -> bool:
    """Run all stories; return whether each ended where it must, and say which did not."""
    api, faults = Api(url, api_key), Faults(sandbox_url)
    running = [Running(story) for story in STORIES]
    began = time.monotonic()
    refused = ""
    console.print(f"{len(running)} demo payments are on their way", highlight=False)
    with Live(_draw(running, console.width), console=console, refresh_per_second=4) as live:
        try:
            for one in running:
                _send(one, api, faults)
                live.update(_draw(running, console.width))
            while not all(one.state in DONE for one in running):
                if time.monotonic() - began > LONGEST_SECONDS:
                    break
                time.sleep(LOOK_EVERY_SECONDS)
                look_once(running, api)
                live.update(_draw(running, console.width))
        except (DemoError, requests.RequestException) as e:
            refused = str(e)
    if not console.is_terminal:
        console.print()  # there the live table ends without a line break
    return _report(running, refused, time.monotonic() - began, console)


def look_once(running: list[Running], api: Api) -> int:
    """Read every payment that is under way and act where it waits for a person; return how many changed."""
    changed = 0
    for one in running:
        if not one.payment_id or one.state in DONE:
            continue
        payment = api.show(one.payment_id)
        if payment["state"] != one.state:
            one.trail.append(payment["state"])
            changed += 1
        if not one.acted and payment["state"] == "requires_action" and one.story.press and payment["next_action"]:
            press_button(payment["next_action"]["redirect_url"], one.story.press)
            one.acted = True
        if not one.acted and payment["state"] == "authorized":
            one.acted = _decide(one, api)
    return changed


def _decide(one: Running, api: Api) -> bool:
    if one.story.cancel:
        api.cancel(one.payment_id)
    elif one.story.capture:
        api.capture(one.payment_id, one.story.capture)
    return True


def _send(one: Running, api: Api, faults: Faults) -> None:
    story = one.story
    rule = faults.strike_next_confirmation(story.fault, story.fault_seconds) if story.fault else None
    payment = api.create(story.request())
    one.payment_id = payment["id"]
    one.trail.append(payment["state"])
    deadline = time.monotonic() + STRIKE_SECONDS
    while rule and not faults.has_struck(rule):
        if time.monotonic() > deadline:
            raise DemoError(f"the worker did not confirm {one.payment_id} within {STRIKE_SECONDS:g} s")
        time.sleep(0.05)


def _draw(running: list[Running], width: int) -> Table:
    """One line per payment, so that twenty fit on a terminal of 24 lines."""
    arrived = sum(one.arrived for one in running)
    table = Table(title=f"{arrived} of {len(running)} demo payments have arrived", box=None, title_justify="left")
    for column in ("#", "payment", "amount", "on its way"):
        table.add_column(column, justify="right" if column in ("#", "amount") else "left", no_wrap=True)
    for number, one in enumerate(running, 1):
        trail = _shorten(one.trail, width - TRAIL_STARTS_AT)
        shown = " > ".join(f"[{COLOURS[state]}]{state}[/]" if state in COLOURS else state for state in trail)
        table.add_row(str(number), one.story.title, f"{one.story.amount} {one.story.currency}", shown)
    return table


def _shorten(trail: list[str], width: int) -> list[str]:
    """Leave out the oldest states where the line is too narrow; the newest always shows."""
    shown = trail
    while len(shown) > 2 and len(" > ".join(shown)) > width:
        shown = ["..", *shown[2:]]
    return shown


def _report(running: list[Running], refused: str, seconds: float, console: Console) -> bool:
    if refused:
        console.print(f"the demo stopped: {refused}", style="red", markup=False)
    late = [(number, one) for number, one in enumerate(running, 1) if not one.arrived]
    for number, one in late:
        where = f"is {one.state}" if one.state else "was not sent"
        console.print(f"#{number} {one.story.title}: {where}, should be {one.story.end}", style="red")
        if one.payment_id:
            console.print(f"   postbox trace {one.payment_id}", style="dim")
    if not late:
        console.print(f"all {len(running)} demo payments ended where they must, in {seconds:.0f} s", style="green")
        console.print(
            f"   postbox trace {running[0].payment_id} tells the story of the first", style="dim", soft_wrap=True
        )
    return not late
