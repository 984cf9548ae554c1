"""Declare queues on a broker that may have them already, with other arguments.

An existing queue is used as it is, because it may hold confirmed messages; the log names it and the remedy.
"""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import kombu
from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed

from snapmanage.bus.rabbit.topology import Topology, version_of

LOG = logging.getLogger(__name__)

_DIFFERENCE = re.compile(r"inequivalent arg '([^']*)' for queue")
_EMPTY_AND_DELETE = (
    "Remedy: stop its senders, wait until it is empty, stop its consumers, "
    "run `rabbitmqctl delete_queue {name}`, and start all of them again"
)
_NO_EXCHANGE = (
    "exchange {name} does not exist, and the user of transport_url may not configure it. "
    "Remedy: start snapmanage-volume or snapmanage-api, which declare it if their users may configure it"
)
_NO_QUEUE = (
    "Queue {name} does not exist, and the user of transport_url may not declare it. "
    "Remedy: start the process that consumes it, with the right to configure it"
)


@dataclass(frozen=True)
class QueueProblem:
    """A problem of a queue, as a sentence with its remedy; a `severe` one needs a person."""

    text: str
    severe: bool


@dataclass(frozen=True)
class DeclaredQueue:
    """A queue on the broker; `key` is the routing key of its messages.

    With `dead_letters` it holds messages that the broker dropped from another queue.
    """

    name: str
    key: str
    dead_letters: bool = False
    problem: QueueProblem | None = None
    usable: bool = True


# Declares one queue over a connection.
Declaration = Callable[[kombu.Connection], DeclaredQueue]


class _NotPermitted(Exception):
    """The user of the connection may not declare a queue."""


class QueueProblemLog:
    """Logs the problem of each queue once, and again when it changes or ends."""

    def __init__(self) -> None:
        self._logged: dict[str, str] = {}

    def log(self, declared: DeclaredQueue) -> None:
        text = declared.problem.text if declared.problem else ""
        if self._logged.get(declared.name, "") != text:
            if declared.problem:
                LOG.log(logging.ERROR if declared.problem.severe else logging.WARNING, "%s.", text)
            else:
                LOG.info("Queue %s has no problem any more.", declared.name)
        self._logged[declared.name] = text


def declare_exchange(connection: kombu.Connection, exchange: kombu.Exchange) -> None:
    """Declare the exchange; a user without the right to do so uses the exchange that another process declared.

    `transport.Channel` does this. Raise `NotFound`, which names the remedy, if there is no such exchange. Raise
    `ChannelError` if the exchange differs.
    """
    try:
        with connection.channel() as channel:
            exchange(channel).declare()
    except NotFound:
        raise NotFound(_NO_EXCHANGE.format(name=exchange.name)) from None


def exchange_exists(connection: kombu.Connection, exchange: kombu.Exchange) -> bool:
    try:
        with connection.channel() as channel:
            exchange(channel).declare(passive=True)
    except NotFound:
        return False
    return True


def declare(connection: kombu.Connection, topology: Topology, key: str) -> DeclaredQueue:
    """Declare the exchange and the queue of a routing key, and bind the queue."""
    plain = topology.plain_queue(key)
    expected = DeclaredQueue(plain.name, key)
    try:
        declare_exchange(connection, plain.exchange)
    except NotFound as error:
        problem = QueueProblem(f"Queue {plain.name} is declared later: {error}", severe=False)
        return replace(expected, problem=problem, usable=False)
    except ChannelError as error:
        return replace(expected, problem=refused(plain.name, error), usable=False)
    return _declared(connection, topology.variants(key, version_of(connection)), plain, expected)


def bind_again(connection: kombu.Connection, topology: Topology, key: str) -> None:
    """Bind the queue of a routing key again, in case that its binding or its exchange was deleted.

    A queue that does not exist is left to its consumer. Raise `ChannelError` if the broker refuses.
    """
    queue = topology.plain_queue(key)
    with suppress(NotFound):
        if not exchange_exists(connection, queue.exchange):
            declare_exchange(connection, queue.exchange)
            LOG.warning("Exchange %s was missing; it is declared and bound again.", queue.exchange.name)
        with connection.channel() as channel:
            queue(channel).queue_bind()


def declare_dead_letters(connection: kombu.Connection, topology: Topology, key: str) -> DeclaredQueue:
    """Declare the dead-letter queue of a routing key's queue.

    While the node of the dead-letter queue is down, RabbitMQ 4.0 answers after a minute, or the connection times out.
    """
    queue = topology.dead_letter_queue(key)
    return _declared(connection, [queue], queue, DeclaredQueue(queue.name, key, dead_letters=True))


def _declared(
    connection: kombu.Connection, variants: Sequence[kombu.Queue], plain: kombu.Queue, expected: DeclaredQueue
) -> DeclaredQueue:
    """Declare the first variant that the broker accepts; if it accepts none, use the existing queue.

    A user without the right to declare it uses the queue that another process declared: a user that may declare a queue
    may also delete it.
    Raise `OSError` that names the queue if the broker does not answer.
    """
    try:
        for queue in variants:
            difference = _tried(connection, queue)
            if difference is None:
                return expected
        _use(connection, plain)
        # The broker names only the first difference; the plain declaration shows a difference of the type.
        difference = _tried(connection, plain) or difference
    except _NotPermitted:
        return _existing(connection, plain, expected)
    except ChannelError as error:
        return replace(expected, problem=refused(expected.name, error), usable=False)
    except OSError as error:
        cause = str(error) or "time-out"
        raise OSError(f"no answer about queue {expected.name}, whose node may be down: {cause}") from error
    return replace(expected, problem=different(expected.name, difference))


def _existing(connection: kombu.Connection, queue: kombu.Queue, expected: DeclaredQueue) -> DeclaredQueue:
    """Use a queue that this user may not declare, and bind it if the user may do that."""
    try:
        with connection.channel() as channel:
            queue(channel).queue_declare(passive=True)
    except NotFound:
        problem = QueueProblem(_NO_QUEUE.format(name=expected.name), severe=True)
        return replace(expected, problem=problem, usable=False)
    with suppress(AccessRefused), connection.channel() as channel:
        _bind(queue(channel))
    return expected


def _tried(connection: kombu.Connection, queue: kombu.Queue) -> PreconditionFailed | None:
    """Declare a queue on a channel of its own; return the broker's error if the existing queue differs.

    Raise `_NotPermitted` if the user may not declare it.
    """
    try:
        with connection.channel() as channel:
            bound = queue(channel)
            try:
                bound.queue_declare()
            except AccessRefused as error:
                raise _NotPermitted from error
            _bind(bound)
    except PreconditionFailed as error:
        return error
    return None


def _use(connection: kombu.Connection, queue: kombu.Queue) -> None:
    """Bind the existing queue; raise `ChannelError` if it does not exist."""
    with connection.channel() as channel:
        bound = queue(channel)
        bound.queue_declare(passive=True)
        _bind(bound)


def _bind(queue: kombu.Queue) -> None:
    """Bind the queue to its exchange; a dead-letter queue has none."""
    if queue.exchange and queue.exchange.name:
        queue.queue_bind()


def different(name: str, error: PreconditionFailed | None) -> QueueProblem:
    """Return the problem of an existing queue that was declared with other arguments."""
    known = _DIFFERENCE.search(str(error))
    argument = known.group(1) if known else ""
    remedy = _EMPTY_AND_DELETE.format(name=name)
    if argument == "x-queue-type":
        return QueueProblem(
            f"Queue {name} has another type than snapmanage declares ({_reason(error)}). "
            f"It is used as it is, but may lose messages with its node. {remedy}",
            severe=True,
        )
    if argument in ("durable", "auto_delete", "exclusive"):
        return QueueProblem(
            f"Queue {name} was declared with another {argument} than snapmanage declares ({_reason(error)}). "
            f"It is used as it is, but may lose messages at a restart. {remedy}",
            severe=True,
        )
    return QueueProblem(
        f"Queue {name} was declared with other arguments ({_reason(error)}). It is used as it is; a policy with a "
        f"limit could drop its messages for good. {remedy}",
        severe=False,
    )


def refused(name: str, error: ChannelError) -> QueueProblem:
    """Return the problem of a queue that the broker refuses."""
    remedy = {
        403: "Remedy: grant the user of transport_url configure, write and read on it, and on its dead-letters queue",
        404: "Remedy: start the broker node that holds it, or delete the queue",
        405: "Remedy: end the connection that holds it exclusively",
        406: "Remedy: give both sides the same control_exchange and [oslo_messaging_rabbit] options",
    }.get(error.code, "Remedy: see the broker's log")
    return QueueProblem(
        f"Queue {name} can't be used: the broker refuses it; it is declared again ({_reason(error)}). {remedy}",
        severe=True,
    )


def _reason(error: ChannelError | None) -> str:
    return str(error).partition(") ")[2] or str(error)
