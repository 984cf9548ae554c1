"""The bus within one process: cases that the functional tests do not reach."""

import threading
from collections.abc import Sequence

from snapmanage.bus import Delivery, Publication
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names


def test_joining_a_consumer_waits_for_its_current_batch() -> None:
    bus, begun, released, joined = InProcessBus(Names()), threading.Event(), threading.Event(), threading.Event()

    def handle(batch: Sequence[Delivery]) -> None:
        begun.set()
        released.wait(20)

    def join() -> None:
        consumer.join(20)
        joined.set()

    consumer = bus.consume(["queue"], handle)
    threading.Thread(target=bus.send, args=[[Publication("1", "queue", b"", True)]]).start()
    assert begun.wait(20)
    consumer.stop()
    threading.Thread(target=join).start()

    assert not joined.wait(0.2)  # a `join` that doesn't wait would have returned by now
    released.set()
    assert joined.wait(20)


def test_failed_batch_does_not_delay_joining_the_consumer() -> None:
    bus = InProcessBus(Names())

    def handle(batch: Sequence[Delivery]) -> None:
        raise ValueError("odd")

    consumer = bus.consume(["queue"], handle)
    assert bus.send([Publication("1", "queue", b"", True)]) == set()

    joining = threading.Thread(target=consumer.join, args=[60], daemon=True)
    joining.start()

    joining.join(20)
    assert not joining.is_alive()
