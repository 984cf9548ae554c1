"""What arrives for a process's servers: casts are accepted in one transaction, calls are answered.

A batch is acknowledged when `__call__` returns. What can't be understood goes to the quarantine
with its bytes, and never stops its neighbours.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Any

import oslo_messaging
from oslo_messaging import RPCDispatcher
from sqlalchemy import Connection

from snapmanage import crash, errors
from snapmanage.bus import Bus, Delivery, envelope
from snapmanage.bus.envelope import Incoming
from snapmanage.core import events
from snapmanage.core import outbox as messages
from snapmanage.core.text import readable
from snapmanage.crash import Point
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import Ask
from snapmanage.manage.application import Application
from snapmanage.manage.claims import Taker
from snapmanage.store import outbox, quarantine
from snapmanage.store.engine import database

LOG = logging.getLogger(__name__)

# What a message can make the dispatcher or an endpoint raise.
MISUNDERSTOOD = (
    errors.Invalid,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    oslo_messaging.RPCDispatcherError,
)
Accept = Callable[[Ask], None]


class Intake:
    """The handler of a server's queues.

    `endpoints` makes the endpoints, given where their asks go; `taker` gets what is accepted.
    """

    def __init__(
        self,
        app: Application,
        bus: Bus,
        server: str,
        endpoints: Callable[[Accept], list[Any]],
        taker: Taker,
        callers: Executor,
    ) -> None:
        self._app = app
        self._bus = bus
        self._server = server
        self._taker = taker
        self._callers = callers
        self._sink = threading.local()
        self._dispatcher = RPCDispatcher(endpoints(self._take), None, oslo_messaging.DefaultRPCAccessPolicy)

    def __call__(self, batch: Sequence[Delivery]) -> None:
        crash.at(Point.RECEIVED)
        asks: list[tuple[Ask, Delivery]] = []
        for delivery in batch:
            self._sort(delivery, asks)
        self._accept(asks)

    def _take(self, ask: Ask) -> None:
        """Where endpoints leave what they were asked; a thread's sink is that of the message in its hands."""
        self._sink.take(ask)

    def _sort(self, delivery: Delivery, asks: list[tuple[Ask, Delivery]]) -> None:
        try:
            envelope.limit_size(delivery.body, envelope.LARGEST_REQUEST)
            incoming = envelope.open_request(delivery.body)
            if incoming.expects_reply:
                self._callers.submit(self._answer, delivery, incoming)
            else:
                self._sink.take = lambda ask: asks.append((ask, delivery))
                self._dispatcher.dispatch(incoming)
        except Exception as error:  # noqa: BLE001 - nothing here but the message can be the reason
            self._quarantine(delivery, error)

    def _answer(self, delivery: Delivery, incoming: Incoming) -> None:
        """Answer a call, with its result or with what went wrong."""
        self._sink.take = lambda ask: self._accept([(ask, delivery)])
        try:
            body = envelope.reply(incoming, self._dispatcher.dispatch(incoming))
        except errors.SnapmanageError as error:
            body = envelope.reply(incoming, failure=error)
        except MISUNDERSTOOD as error:
            body = envelope.reply(incoming, failure=errors.InvalidRequest(f"the call can't be understood: {error}"))
        except Exception as error:
            LOG.exception("The call %s failed.", incoming.message["method"])
            body = envelope.reply(incoming, failure=error)
        self._reply(incoming, body)

    def _reply(self, incoming: Incoming, body: bytes) -> None:
        try:
            self._bus.reply(str(incoming.reply_q), body)
        except Exception:
            LOG.exception("A reply was not sent, its caller will time out.")

    def _accept(self, asks: Sequence[tuple[Ask, Delivery]]) -> None:
        if not asks:
            return
        try:
            refused = acceptance.accept(self._app, [ask for ask, _ in asks], self._taker)
        except database.UNKEEPABLE as error:
            if database.passes(error):
                raise  # the database is away, or somebody was quicker: the batch comes again
            self._accept_apart(asks, error)
            return
        for refusal in refused:
            self._quarantine(next(delivery for ask, delivery in asks if ask is refusal.ask), refusal.error)

    def _accept_apart(self, asks: Sequence[tuple[Ask, Delivery]], error: Exception) -> None:
        """Find the one whose values the database refuses, and spare its neighbours."""
        if len(asks) == 1:
            self._quarantine(asks[0][1], error)
            return
        for each in asks:
            self._accept([each])

    def _quarantine(self, delivery: Delivery, error: Exception) -> None:
        text = str(error).partition("\n")[0]
        self.put_aside(
            delivery, text if isinstance(error, errors.SnapmanageError) else f"{type(error).__name__}: {text}"
        )

    def put_aside(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Keep a message apart, for people to look at; without `read` nobody is told what it was about."""
        LOG.error("A message on %s goes to the quarantine: %s", delivery.queue, readable(reason))
        write = partial(_put_aside, self._app, delivery, self._server, reason, read)
        owed = self._app.db.write(write)
        crash.at(Point.QUARANTINED)
        self._app.outbox_writer.nudge(owed)


def _put_aside(
    app: Application, delivery: Delivery, host: str, reason: str, read: bool, conn: Connection, now: datetime
) -> list[messages.Message]:
    """Keep the message, and tell auditors where it was about a snapshot; a repeat is known by its bytes."""
    key = quarantine.add(conn, delivery.queue, delivery.body, delivery.headers, reason, now)
    if key is None or not read:
        return []
    event = events.rejected(key, *_said(delivery), reason, now, host)
    owed = [] if event is None else messages.notifications(event, events.NOBODY, both_dialects=False)
    outbox.add(conn, owed, now, now + app.outbox_writer.hold)
    return owed


def _said(delivery: Delivery) -> tuple[str, Mapping[str, Any]]:
    """The method and the arguments, as far as they can be made out."""
    try:
        message = envelope.open_request(delivery.body).message
    except errors.Invalid:
        return "", {}
    return message["method"], message.get("args", {})
