"""A process is alive while each of its loops turns or waits for work."""

from snapmanage.cmd.process.liveness import Liveness
from snapmanage.pulse import Pulse


def test_process_is_alive_until_one_of_its_loops_hangs() -> None:
    now = [0.0]
    relay, worker = (Pulse(name, clock=lambda: now[0]) for name in ("relay", "worker h@b"))
    liveness = Liveness(lambda: [relay, worker], hung_seconds=300)
    worker.begin_turn()
    assert liveness.alive()

    now[0] = 301

    assert not liveness.alive()
    assert liveness.problems() == ["the thread worker h@b has been hung for 301 s"]


def test_loops_that_start_later_are_watched_too() -> None:
    now = [0.0]
    pulses: list[Pulse] = []
    liveness = Liveness(lambda: pulses, hung_seconds=300)
    assert liveness.alive()

    pulses.append(Pulse("worker h@b", clock=lambda: now[0]))
    pulses[0].begin_turn()
    now[0] = 301

    assert not liveness.alive()
