"""Requests that wait for a thread: clients are served round robin."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from snapmanage.api.serving.threads import Threads
from snapmanage.testing.waiting import until

MANY, FEW, LATE = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@dataclass(eq=False)
class Request:
    """A request of a client; its number is added to `handled` when a thread handles it."""

    client: str
    number: int
    handled: list[tuple[str, int]]
    running: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def service(self) -> None:
        self.running.set()
        self.release.wait(20)
        self.handled.append((self.client, self.number))


class Waiting:
    """Requests that wait for the only thread, which handles another one."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, int]] = []
        self.threads = Threads()
        self.threads.set_thread_count(1)
        self.first = self.add("", 0)
        assert self.first.running.wait(20)

    def add(self, client: str, number: int) -> Request:
        request = Request(client, number, self.handled)
        if client:
            request.release.set()
        self.threads.add_task(request)
        return request

    def finish(self, count: int) -> list[tuple[str, int]]:
        """Let the thread continue, and return the `count` requests in the order in which it handles them."""
        self.first.release.set()
        until(lambda: len(self.handled) == 1 + count, "the requests to be handled")
        return self.handled[1:]


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    made = Waiting()
    yield made
    made.first.release.set()
    made.threads.shutdown()


def test_client_with_many_requests_delays_each_other_client_by_one(waiting: Waiting) -> None:
    for number in range(4):
        waiting.add(MANY, number)
    for number in range(2):
        waiting.add(FEW, number)
    waiting.add(LATE, 0)

    assert waiting.finish(7) == [(MANY, 0), (FEW, 0), (LATE, 0), (MANY, 1), (FEW, 1), (MANY, 2), (MANY, 3)]


def test_withdrawn_request_is_never_handled(waiting: Waiting) -> None:
    requests = [waiting.add(MANY, number) for number in range(3)]

    assert waiting.threads.withdraw(requests[1])
    assert not waiting.threads.withdraw(requests[1])
    assert not waiting.threads.withdraw(waiting.first)

    assert waiting.finish(2) == [(MANY, 0), (MANY, 2)]


def test_requests_that_no_thread_takes_are_a_hung_turn(waiting: Waiting) -> None:
    assert waiting.threads.pulse.problem(-1) is None

    waiting.add(MANY, 0)

    assert waiting.threads.pulse.problem(-1)
    waiting.finish(1)
    assert waiting.threads.pulse.problem(-1) is None
