"""Handle the messages of a server's queues: accept casts in one transaction, answer calls.

The consumer acknowledges a batch when `__call__` returns. A message that can't be understood is quarantined as
received, and doesn't stop the other messages of its batch.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import oslo_messaging
from oslo_messaging import RPCDispatcher

from snapmanage import crash, errors
from snapmanage.bus import Bus, Delivery, envelope
from snapmanage.bus.envelope import Incoming
from snapmanage.core import events
from snapmanage.core.outbox import notifications
from snapmanage.core.records import Snapshot
from snapmanage.core.values.logfields import fields
from snapmanage.core.values.text import readable
from snapmanage.crash import Point
from snapmanage.manage import acceptance
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.application import Application
from snapmanage.manage.transaction import Transaction
from snapmanage.store import quarantine, records
from snapmanage.store.audit import log
from snapmanage.store.engine.refusals import raise_refusal, write_in_parts
from snapmanage.volume import cinder_dialect
from snapmanage.volume.callers import Callers
from snapmanage.volume.endpoint import QUERIES
from snapmanage.volume.worker import Worker

LOG = logging.getLogger(__name__)

# The exceptions by which the dispatcher and the endpoints refuse a message.
INVALID_MESSAGE = (
    errors.Invalid,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    oslo_messaging.RPCDispatcherError,
)


class Intake:
    """The handler of a server's queues.

    A method of `endpoints` returns an `OperationRequest`, which is accepted for `worker`, or the answer to a call.
    Calls are answered by the threads of `callers`.
    """

    def __init__(
        self,
        app: Application,
        bus: Bus,
        endpoints: list[Any],
        worker: Worker,
        callers: Callers,
    ) -> None:
        self._app = app
        self._bus = bus
        self._worker = worker
        self._callers = callers
        self._dispatcher = RPCDispatcher(endpoints, None, oslo_messaging.DefaultRPCAccessPolicy)

    def __call__(self, batch: Sequence[Delivery]) -> None:
        crash.at(Point.RECEIVED)
        received: list[tuple[Delivery, OperationRequest]] = []
        refused: list[tuple[Delivery, str]] = []
        for delivery in batch:
            try:
                envelope.limit_size(delivery.body, envelope.LARGEST_REQUEST)
                incoming = envelope.open_request(delivery.body)
                if incoming.msg_id is not None and incoming.reply_q is not None:
                    self._submit(delivery, incoming)
                    continue
                _refuse_query(incoming)
                if isinstance(result := self._dispatcher.dispatch(incoming), OperationRequest):
                    received.append((delivery, result))
            except Exception as error:  # noqa: BLE001 - only the message can be the cause
                refused.append((delivery, _reason(error)))
        self._quarantine(refused)
        if received:
            self._accept(received)

    def _accept(self, received: Sequence[tuple[Delivery, OperationRequest]]) -> None:
        """Accept requests, let the worker begin as many as it has room for, and quarantine the refused ones."""
        requests = [request for _, request in received]
        room = self._worker.await_room(len(requests))
        accepted = acceptance.accept(self._app, requests, self._worker.id, room)
        self._worker.take_claimed(accepted.claimed, accepted.projects_waiting)
        self._quarantine(
            [
                (next(each for each, request in received if request is refusal.request), _reason(refusal.error))
                for refusal in accepted.refused
            ]
        )

    def _submit(self, delivery: Delivery, incoming: Incoming) -> None:
        """Answer a call in a thread of its own, or with the error if too many others wait."""
        try:
            self._callers.submit(partial(self._answer, delivery, incoming))
        except errors.Unavailable as error:
            self._reply(incoming, envelope.reply(incoming, failure=error))

    def _answer(self, delivery: Delivery, incoming: Incoming) -> None:
        """Answer a call with its result or with the error; accept an operation that is requested by a call."""
        try:
            result = self._dispatcher.dispatch(incoming)
            if isinstance(result, OperationRequest):
                self._accept([(delivery, result)])
                result = None
            body = envelope.limit_reply(envelope.reply(incoming, result))
        except errors.SnapmanageError as error:
            body = envelope.reply(incoming, failure=error)
        except INVALID_MESSAGE as error:
            body = envelope.reply(incoming, failure=errors.InvalidRequest(f"the call can't be understood: {error}"))
        except Exception as error:
            LOG.exception(
                "RPC call failed unexpectedly; its caller receives the error: %s",
                fields(method=incoming.message["method"]),
            )
            body = envelope.reply(incoming, failure=error)
        self._reply(incoming, body)

    def _reply(self, incoming: Incoming, body: bytes) -> None:
        try:
            self._bus.reply(str(incoming.reply_q), body)
        except Exception:
            LOG.exception("Reply not sent; the caller of the RPC method times out: %s", fields(queue=incoming.reply_q))

    def quarantine(self, delivery: Delivery, reason: str, read: bool = True) -> None:
        """Quarantine a message; if it may be `read`, also announce that its request was rejected."""
        self._quarantine([(delivery, reason)], read)

    def _quarantine(self, refused: Sequence[tuple[Delivery, str]], read: bool = True) -> None:
        """Quarantine messages with their reasons, in one transaction: a flood of them must not hold the queue."""
        if not refused:
            return
        host = self._worker.id.server
        write_in_parts(refused, lambda part: self._app.run(lambda tx: _quarantine(tx, part, host, read)), raise_refusal)
        for delivery, reason in refused:
            LOG.error(
                "Quarantined a message; see `snapmanage-manage quarantine show`: %s",
                fields(
                    message=quarantine.key(delivery.queue, delivery.body), queue=delivery.queue, reason=readable(reason)
                ),
            )
        crash.at(Point.QUARANTINED)


def _refuse_query(incoming: Incoming) -> None:
    """Raise `InvalidRequest` for a cast of a query: its answer has no reader, and a slow one would stop the queue."""
    if (method := incoming.message["method"]) in QUERIES:
        raise errors.InvalidRequest(
            f"{method} must be a call, with `_msg_id` and `_reply_q`, since a cast has no answer"
        )


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if isinstance(error, errors.SnapmanageError) else f"{type(error).__name__}: {text}"


def _quarantine(tx: Transaction, refused: Sequence[tuple[Delivery, str]], host: str, read: bool) -> None:
    """Write messages to the quarantine, and post error events and reports of those that name a snapshot.

    Repeats are ignored.
    """
    for delivery, reason in refused:
        key = quarantine.add(tx.conn, delivery.queue, delivery.body, delivery.headers, reason, tx.now)
        if key is None or not read:
            continue
        method, args = _method_and_arguments(delivery)
        if (report := cinder_dialect.refusal(key, method, args, tx.now)) and not _is_purged(tx, report.snapshot_id):
            tx.report([report])
        event = events.rejected(key, method, args, reason, tx.now, host)
        if event:
            tx.post(notifications(event, events.UNKNOWN_REQUESTER, both_dialects=False))


def _is_purged(tx: Transaction, snapshot_id: str) -> bool:
    """Return whether a record is purged: a request for it is a late repeat, whose outcome was reported long ago."""
    if records.get(tx.conn, Snapshot, snapshot_id, deleted=True):
        return False
    return bool(log.announced_when_purged(tx.conn, [snapshot_id]))


def _method_and_arguments(delivery: Delivery) -> tuple[str, Mapping[str, Any]]:
    """Return the method and the arguments of a message, both empty if they can't be read.

    Of a request that is larger than an event, or that may be slow to parse, only the method and the id are read.
    """
    if len(delivery.body) > envelope.LARGEST_EVENT or envelope.has_many_brackets(delivery.body):
        return envelope.skim_request(delivery.body)
    try:
        message = envelope.open_request(delivery.body, finite=False).message
    except errors.Invalid:
        return "", {}
    return message["method"], message.get("args", {})
