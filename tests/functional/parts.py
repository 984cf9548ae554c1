"""Parts of a world that a test can control: the time, the bus, the HTTP server and the steps of a driver."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from snapmanage import errors
from snapmanage.api.serving.server import HttpServer
from snapmanage.bus import Delivery, Handle, Publication, envelope
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names

NAMES = Names()


class Clock:
    """The machine's time, which a test may move forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._stopped: datetime | None = None

    def __call__(self, conn: Connection) -> datetime:
        return (self._stopped or datetime.now(UTC)) + self._ahead

    def stand_still(self) -> None:
        """Stop the time; only `advance` moves it, so no lease expires because the machine is slow."""
        self._stopped = datetime.now(UTC)

    def advance(self, **time: float) -> None:
        self._ahead += timedelta(**time)


class QuickHttpServer(HttpServer):
    """A server that notices a stop at once; the real one checks twice a second."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0, threads=4)
        self._server.expiration_interval = 0.02


class SwitchedBus(InProcessBus):
    """A bus that a test may switch off."""

    away = False

    def send(self, publications: Sequence[Publication]) -> set[str]:
        if self.away:
            raise errors.Unavailable("the bus is away")
        return super().send(publications)

    def deliver(self, server: str, *batch: Delivery) -> None:
        """Pass deliveries to a server unchanged, even while the bus is switched off."""
        self._handlers[NAMES.server_queue(server)](batch)

    def listens(self, server: str) -> bool:
        """Return whether a server consumes its queue."""
        return NAMES.server_queue(server) in self._handlers

    def ask(self, server: str, version: str, method: str, arguments: Mapping[str, Any]) -> Any:
        """Call a method of a server in any version of the interface."""
        answered: Future[bytes] = Future()
        self._calls["asked"] = answered
        call = {"version": version, "_msg_id": "asked", "_reply_q": "asked"}
        body = envelope.request(method, arguments, {}, "asked", **call)
        assert self.send([Publication("asked", NAMES.server_queue(server), body, True)])
        return envelope.open_reply(answered.result(20))

    def overhear(self, queues: Sequence[str]) -> list[str]:
        """Return a list that collects the types of all later notifications on queues; their handlers still get them."""
        event_types: list[str] = []

        def recording(handle: Handle) -> Handle:
            def handle_and_record(batch: Sequence[Delivery]) -> None:
                handle(batch)
                event_types.extend(envelope.unwrap(delivery.body)["event_type"] for delivery in batch)

            return handle_and_record

        for queue in queues:
            self._handlers[queue] = recording(self._handlers[queue])
        return event_types


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
