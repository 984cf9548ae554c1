"""Parts of a world that a test can control: the time, the bus, the HTTP server and the steps of a driver."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from snapmanage import errors
from snapmanage.bus import Consumer, Delivery, Handle, Probe, Publication, envelope, no_probe
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names
from snapmanage.core.readiness import Check
from snapmanage.pulse import Pulse

NAMES = Names()


@dataclass(frozen=True)
class TrackedConsumer:
    """A consumer that calls `stopped` after its stop."""

    consumer: Consumer
    stopped: Callable[[], None]

    def pulses(self) -> Sequence[Pulse]:
        return self.consumer.pulses()

    def readiness(self) -> Check:
        return self.consumer.readiness()

    def stop(self) -> None:
        self.consumer.stop()
        self.stopped()

    def join(self, timeout_seconds: float) -> None:
        self.consumer.join(timeout_seconds)


class SwitchedBus:
    """The bus within one process, which a test can switch off, record and use directly."""

    def __init__(self, names: Names, call_timeout_seconds: float = 60) -> None:
        self.away = False
        self._bus = InProcessBus(names, call_timeout_seconds)
        self._handlers: dict[str, Handle] = {}
        self._records: dict[str, list[list[str]]] = defaultdict(list)
        self._answered: dict[str, Future[bytes]] = {}

    def send(self, publications: Sequence[Publication]) -> set[str]:
        self._require_on()
        return self._bus.send(publications)

    def consume(self, queues: Sequence[str], handle: Handle, probe: Probe = no_probe) -> Consumer:
        def handle_and_record(batch: Sequence[Delivery]) -> None:
            handle(batch)
            for delivery in batch:
                for event_types in self._records[delivery.queue]:
                    event_types.append(envelope.unwrap(delivery.body)["event_type"])

        def stopped() -> None:
            for queue in queues:
                self._handlers.pop(queue, None)

        self._handlers |= dict.fromkeys(queues, handle_and_record)
        return TrackedConsumer(self._bus.consume(queues, handle_and_record, probe), stopped)

    def call(self, server: str, method: str, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        self._require_on()
        return self._bus.call(server, method, arguments, context)

    def reply(self, queue: str, body: bytes) -> None:
        answered = self._answered.get(queue)
        if answered is None:
            self._bus.reply(queue, body)
        else:
            answered.set_result(body)

    def ping(self) -> None:
        self._require_on()

    def close(self) -> None:
        self._bus.close()

    def deliver(self, server: str, *batch: Delivery) -> None:
        """Pass deliveries to a server unchanged, even while the bus is switched off."""
        self._handlers[NAMES.server_queue(server)](batch)

    def has_consumer(self, server: str) -> bool:
        """Return whether a server consumes its queue."""
        return NAMES.server_queue(server) in self._handlers

    def call_version(self, server: str, version: str, method: str, arguments: Mapping[str, Any]) -> Any:
        """Call a method of a server in any version of the interface."""
        answered = self._answered["call"] = Future[bytes]()
        call = {"version": version, "_msg_id": "call", "_reply_q": "call"}
        body = envelope.request(method, arguments, {}, "call", **call)
        assert self.send([Publication("call", NAMES.server_queue(server), body, True)])
        return envelope.open_reply(answered.result(20))

    def record_event_types(self, queues: Sequence[str]) -> list[str]:
        """Return a list that collects the types of all later notifications on queues; their handlers still get them."""
        event_types: list[str] = []
        for queue in queues:
            self._records[queue].append(event_types)
        return event_types

    def _require_on(self) -> None:
        if self.away:
            raise errors.Unavailable("the bus is away")


class HangingStep:
    """A context in which a driver hangs at a step, the first time that it reaches it, until it is released."""

    def __init__(self, driver: Any, step: str) -> None:
        self._driver = driver
        self._step = step
        self._first = threading.Lock()
        self._reached = threading.Event()
        self._released = threading.Event()

    def reached(self) -> None:
        """Return once the call hangs."""
        assert self._reached.wait(20), f"no call reached the step {self._step!r}"

    def release(self) -> None:
        self._released.set()

    def __enter__(self) -> "HangingStep":
        self._driver.hook = self._hook
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _hook(self, step: str) -> None:
        if step == self._step and self._first.acquire(blocking=False):
            self._reached.set()
            self._released.wait(60)
