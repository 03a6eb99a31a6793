"""Puts the steps of a history into every order, or into random ones, and runs each order on the real code.

Per provider change there are four steps, ordered among themselves: the provider moves, its webhook is delivered, the
object is fetched (the payment's observed_version first, then the provider's state at that moment), the snapshot is
applied. With `answers`, a change that is our own operation also has its HTTP answer, which left at the moment of the
move and is applied at any time after it, without a version. With `repeats`, webhooks are delivered again, and so
fetched and applied again. What was outdated is fetched again on the spot and applied at any time after.

With `shares`, an observation that is applied has answered every webhook that was delivered before it began, as the
workers do it: those not fetched yet never are, and an outdated one that was told before an observation that was applied
is over. Without, every webhook observes for itself, as those do that are replayed.

Webhooks of one payment are interchangeable: each leads to the same fetch of the same object (test_interleavings holds
the real handler to that). So worlds that differ only in which webhook was which are one world, and a world that was
seen before, database included, is not explored again; `orders` counts what all of them stand for.
"""

from __future__ import annotations

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

from tests.jobs.provider_history import Change, History

# Our own operations besides the confirm that begins every history, and the state they are asked for in.
OURS = {
    Change.CAPTURE: "authorized",
    Change.VOID: "authorized",
    Change.ABANDON: "requires_action",
    Change.CLOSE: "failed",
}
# Closing is no lifecycle operation: it does not wait for another to have its answer.
WAITS_FOR_ANSWERS = frozenset({Change.CAPTURE, Change.VOID, Change.ABANDON})


@dataclass(frozen=True, order=True)
class Flight:
    """A snapshot on its way: how many changes it has seen, and the version it carries; -1 for an answer of ours.

    `told` is the webhook it is for, by the order of delivery, and `asked` how many were delivered when it began; 0
    where nobody shares an observation, and for our own operations, which answer no webhook.
    """

    seen: int
    version: int
    answer: bool = False
    told: int = 0
    asked: int = 0


ANSWERED = -1


@dataclass(frozen=True)
class World:
    """Everything outside the database."""

    moved: int = 0
    undelivered: int = 0
    unfetched: int = 0
    delivered: int = 0
    repeats: int = 0
    observed: int = 0  # how many webhooks were delivered when the newest observation that was applied began
    seen: int = 0  # how many changes the newest snapshot that was applied had seen, where moves wait for it
    flights: tuple[Flight, ...] = ()


class Payment(Protocol):
    """One payment under test."""

    def version(self) -> int: ...
    def state(self) -> str: ...
    def told(self) -> str:
        """All that matters of it, as text."""
        ...

    def apply(self, seen: int, version: int | None) -> bool:
        """True when the snapshot was outdated."""
        ...

    def undone(self) -> AbstractContextManager[object]:
        """What happens inside is taken back."""
        ...


class Violation(AssertionError):
    """An order of steps that ends otherwise than the others, or breaks."""

    def __init__(self, history: History, path: list[str], found: str, expected: str) -> None:
        super().__init__(f"{history}\n  {' | '.join(path)}\n  ends as  {found}\n  not as   {expected}")


@dataclass
class Orders:
    """The orders of one history's steps on one payment, all held against `expected`."""

    history: History
    payment: Payment
    expected: str
    answers: bool = False
    shares: bool = False
    worlds: dict[tuple[object, ...], int] = field(default_factory=dict)
    applied: int = 0
    path: list[str] = field(default_factory=list)

    def explore(self, world: World) -> int:
        """Run every order from here; returns how many there are. Raises Violation at the first that ends otherwise."""
        key = self._key(world)
        if key not in self.worlds:
            self.worlds[key] = self._explore(world)
        return self.worlds[key]

    def _explore(self, world: World) -> int:
        total = 0
        for step, ways in self.possible(world):
            with self.payment.undone():
                self.path.append(step)
                total += ways * self.explore(self.take(world, step))
                self.path.pop()
        if total == 0:
            self.check(world)
        return total or 1

    def run_random(self, world: World, seed: int) -> None:
        """Run one order, drawn from `seed`. Raises Violation."""
        draw = random.Random(seed)
        self.path = [f"seed {seed}"]
        while steps := [step for step, ways in self.possible(world) for _ in range(ways)]:
            step = draw.choice(steps)
            self.path.append(step)
            world = self.take(world, step)
        self.check(world)

    def check(self, world: World) -> None:
        found = self.payment.told()
        if world.moved < len(self.history.changes):
            found = f"stuck after {world.moved} changes: {found}"
        if found != self.expected:
            raise Violation(self.history, self.path, found, self.expected)

    # -- the steps ----------------------------------------------------------------------------------------------

    def possible(self, world: World) -> list[tuple[str, int]]:
        """The steps that can come next, each with the number of webhooks or flights it may be the step of."""
        steps = [
            ("moves", int(self._can_move(world))),
            ("delivered", world.undelivered),
            ("delivered again", int(world.repeats > 0 and world.delivered > 0)),
            ("fetched", world.unfetched),
        ]
        for index, flight in enumerate(world.flights):
            if index == 0 or world.flights[index - 1] != flight:
                steps.append((_name(flight), world.flights.count(flight)))
        return [(step, ways) for step, ways in steps if ways]

    def take(self, world: World, step: str) -> World:
        match step.split("@"):
            case ["moves"]:
                return self._move(world)
            case ["delivered"]:
                return replace(
                    world,
                    undelivered=world.undelivered - 1,
                    unfetched=world.unfetched + 1,
                    delivered=world.delivered + 1,
                )
            case ["delivered again"]:
                return replace(
                    world,
                    repeats=world.repeats - 1,
                    unfetched=world.unfetched + 1,
                    delivered=world.delivered + self.shares,
                )
            case ["fetched"]:
                # the oldest first
                told = world.delivered - world.unfetched + 1
                return self._fly(replace(world, unfetched=world.unfetched - 1), self._fetch(world, told=told))
            case _:
                flight = next(flight for flight in world.flights if _name(flight) == step)
                return self._apply(world, flight)

    def _can_move(self, world: World) -> bool:
        if world.moved == len(self.history.changes):
            return False
        change = self.history.changes[world.moved]
        unseen = world.moved > 0 and self.history.must_be_seen(world.moved - 1)
        if unseen and self.payment.state() != "requires_action":
            return False
        if not self.answers or change not in OURS:
            return True
        if change in WAITS_FOR_ANSWERS and any(flight.answer for flight in world.flights):
            return False
        return self.payment.state() == OURS[change]

    def _move(self, world: World) -> World:
        change = self.history.changes[world.moved]
        moved = replace(world, moved=world.moved + 1, undelivered=world.undelivered + 1)
        if self.answers and (world.moved == 0 or change in OURS):
            return self._fly(moved, Flight(moved.moved, ANSWERED, answer=True))
        return moved

    def _fetch(self, world: World, *, told: int = 0, answer: bool = False) -> Flight:
        shared = (told, world.delivered) if self.shares and not answer else (0, 0)
        return Flight(world.moved, self.payment.version(), answer, *shared)

    def _fly(self, world: World, flight: Flight) -> World:
        return replace(world, flights=tuple(sorted((*world.flights, flight))))

    def _apply(self, world: World, flight: Flight) -> World:
        flights = list(world.flights)
        flights.remove(flight)
        landed = replace(world, flights=tuple(flights))
        self.applied += 1
        try:
            outdated = self.payment.apply(flight.seen, None if flight.version == ANSWERED else flight.version)
        except Exception as error:
            raise Violation(self.history, self.path, f"{type(error).__name__}: {error}", self.expected) from error
        if outdated and 0 < flight.told <= landed.observed:
            return landed
        if outdated:
            return self._fly(landed, self._fetch(landed, told=flight.told, answer=flight.answer))
        return self._land(landed, flight)

    def _land(self, world: World, flight: Flight) -> World:
        """The world after a snapshot was applied."""
        return self._answer(world, flight) if self.shares else world

    def _answer(self, world: World, flight: Flight) -> World:
        """What was delivered before this observation began is answered; the oldest were fetched first."""
        observed = max(world.observed, flight.asked)
        return replace(world, observed=observed, unfetched=min(world.unfetched, world.delivered - observed))

    def _key(self, world: World) -> tuple[object, ...]:
        """What the future hangs on: of a version only whether it still is the payment's."""
        now = self.payment.version()
        flights = tuple(
            sorted((f.seen, f.version == now, f.version == ANSWERED, f.answer, f.told, f.asked) for f in world.flights)
        )
        return replace(world, flights=()), flights, self.payment.told()


def _name(flight: Flight) -> str:
    kind = "answer applied" if flight.version == ANSWERED else "applied"
    name = f"{kind}@{flight.seen}.{flight.version}" + ("a" if flight.answer and flight.version != ANSWERED else "")
    return name + (f" for {flight.told} of {flight.asked}" if flight.asked else "")
