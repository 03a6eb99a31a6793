"""What is given to a thread is done, whatever came of what was given before."""

from __future__ import annotations

import threading

from app.gateway.threads import Threads
from tests.gateway.waiting import until


def test_as_many_as_there_are_threads_are_done_at_once_and_the_others_wait():
    threads, gate, done = Threads(2), threading.Barrier(3), []

    def work(name: str) -> None:
        gate.wait(10)
        done.append(name)

    for name in ("first", "second", "third", "fourth"):
        threads.submit(work, name)
    until(lambda: threads.waiting == 2, "two to wait")
    gate.wait(10)
    until(lambda: len(done) == 2 and threads.waiting == 0, "two to be done")
    gate.wait(10)
    until(lambda: sorted(done) == ["first", "fourth", "second", "third"], "all to be done")


def test_what_raises_costs_no_thread():
    threads, done = Threads(1), threading.Event()
    threads.submit(lambda: 1 / 0)
    threads.submit(done.set)
    assert done.wait(10)
