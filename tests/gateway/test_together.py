"""What many requests wait for is done together; none waits for ever, none hears another's answer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.errors import DatabaseDown, NotFound
from app.gateway import together
from app.gateway.together import Together
from tests.gateway.waiting import until


class Slow:
    """Doubles numbers, once it may; a negative one cannot be doubled, and zero is where the database goes away."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.groups: list[list[int]] = []
        self.together = Together(self._double)

    def _double(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        self.may.wait()
        if 0 in numbers:
            raise DatabaseDown()
        if any(number < 0 for number in numbers):
            raise ValueError(min(numbers))
        return [2 * number for number in numbers]

    def all_at_once(self, pool: ThreadPoolExecutor, numbers: Sequence[int]) -> list[object]:
        """The first is done while the others come; what each heard, a result or an error."""
        heard = [pool.submit(self.together.do, numbers[0])]
        until(lambda: self.groups, "the first to begin")
        for place, number in enumerate(numbers[1:], 1):
            heard.append(pool.submit(self.together.do, number))
            until(lambda place=place: len(self.together._waiting) == place, "it to wait")
        self.may.set()
        return [one.exception() or one.result() for one in heard]


def test_each_hears_its_own_and_those_that_wait_are_done_at_once() -> None:
    slow = Slow()
    with ThreadPoolExecutor(5) as pool:
        assert slow.all_at_once(pool, [1, 2, 3, 4, 5]) == [2, 4, 6, 8, 10]
    assert slow.groups == [[1], [2, 3, 4, 5]]


def test_one_that_fails_does_so_alone_whatever_it_raises() -> None:
    slow = Slow()
    with ThreadPoolExecutor(4) as pool:
        one, two, failed, four = slow.all_at_once(pool, [1, 2, -3, 4])
    assert (one, two, four) == (2, 4, 8)
    assert isinstance(failed, ValueError) and failed.args == (-3,)
    assert slow.groups == [[1], [2, -3, 4], [2], [-3], [4]]


def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    slow = Slow()
    with ThreadPoolExecutor(3) as pool:
        one, *others = slow.all_at_once(pool, [1, 0, 2])
    assert one == 2 and all(isinstance(other, DatabaseDown) for other in others)
    assert slow.groups == [[1], [0, 2]]


def test_nobody_waits_for_ever_for_one_that_is_stuck_and_the_turn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 0.1)
    with ThreadPoolExecutor(3) as pool:
        stuck = pool.submit(slow.together.do, 1)
        until(lambda: slow.groups, "the first to begin")
        with pytest.raises(DatabaseDown):
            slow.together.do(2)
        slow.may.set()
        assert stuck.result() == 2
    assert slow.together.do(3) == 6
    assert slow.groups == [[1], [3]], "who gave up is not done"


def test_what_is_refused_for_one_alone_is_refused_as_it_is() -> None:
    def refuse(items: Sequence[int]) -> list[int]:
        raise NotFound()

    with pytest.raises(NotFound):
        Together(refuse).do(1)
