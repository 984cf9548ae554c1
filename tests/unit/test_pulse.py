"""A pulse distinguishes a hung thread and a dead one from a thread that works or waits."""

from dataclasses import dataclass, field

import pytest

from snapmanage import pulse
from snapmanage.pulse import Pulse

HUNG_SECONDS = 300.0


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    clock: Clock = field(default_factory=Clock)

    def pulse(self, longest_turn_seconds: float = 0.0) -> Pulse:
        return Pulse("relay", longest_turn_seconds, self.clock)


@pytest.fixture
def world() -> World:
    return World()


def test_loop_that_waits_for_work_is_alive_however_long_it_waits(world: World) -> None:
    relay = world.pulse()
    with relay:
        pass

    world.clock.now += 10 * HUNG_SECONDS

    assert relay.problem(HUNG_SECONDS) is None


def test_turn_that_takes_too_long_is_named_with_its_age(world: World) -> None:
    relay = world.pulse()
    relay.begin_turn()

    world.clock.now += HUNG_SECONDS
    assert relay.problem(HUNG_SECONDS) is None
    world.clock.now += 1

    assert relay.problem(HUNG_SECONDS) == "the thread relay has been hung for 301 s"


def test_each_turn_starts_the_time_again(world: World) -> None:
    relay = world.pulse()
    for _ in range(3):
        relay.begin_turn()
        world.clock.now += HUNG_SECONDS

    assert relay.problem(HUNG_SECONDS) is None


def test_loop_with_long_waits_of_its_own_has_a_longer_limit(world: World) -> None:
    reporter = world.pulse(longest_turn_seconds=2 * HUNG_SECONDS)
    reporter.begin_turn()

    world.clock.now += 2 * HUNG_SECONDS
    assert reporter.problem(HUNG_SECONDS) is None
    world.clock.now += 1

    assert reporter.problem(HUNG_SECONDS) is not None


def test_turn_that_fails_has_ended(world: World) -> None:
    relay = world.pulse()
    with pytest.raises(OSError, match="away"), relay:
        raise OSError("away")

    world.clock.now += 2 * HUNG_SECONDS

    assert relay.problem(HUNG_SECONDS) is None


def test_thread_that_an_error_has_ended_is_named(world: World) -> None:
    relay = world.pulse()

    def run() -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError):
        relay.watched(run)()

    assert relay.problem(HUNG_SECONDS) == "the thread relay has ended unexpectedly"


def test_thread_that_was_stopped_is_no_problem(world: World) -> None:
    relay = world.pulse()

    relay.watched(relay.begin_turn)()
    world.clock.now += 2 * HUNG_SECONDS

    assert relay.problem(HUNG_SECONDS) is None


def test_every_stopped_pulse_is_named(world: World) -> None:
    hung, idle = world.pulse(), world.pulse()
    hung.begin_turn()
    world.clock.now += 2 * HUNG_SECONDS

    assert pulse.problems([hung, idle, hung], HUNG_SECONDS) == 2 * ["the thread relay has been hung for 600 s"]
