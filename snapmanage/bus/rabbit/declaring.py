"""Declaring queues on a broker that may have them already, declared by somebody else or in another way.

A queue that is there is used as it is, since what was confirmed is in it; the log names it and the remedy.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import kombu
from amqp.exceptions import ChannelError, PreconditionFailed

from snapmanage.bus.rabbit.topology import Topology, version_of

LOG = logging.getLogger(__name__)

_DIFFERENCE = re.compile(r"inequivalent arg '([^']*)' for queue")
_EMPTY_AND_DELETE = (
    "Remedy: let nobody send to it, wait until it is empty, stop its consumers, "
    "run `rabbitmqctl delete_queue {name}`, and start them again"
)


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a queue, in a sentence with the remedy; `severe` needs a person."""

    text: str
    severe: bool


@dataclass(frozen=True)
class Declared:
    """A queue on the broker: `key` is what its messages were sent under, and `dead_letters` says that it holds
    what the broker dropped from another queue.
    """

    name: str
    key: str
    dead_letters: bool = False
    trouble: Trouble | None = None
    usable: bool = True


# Declares one queue over a connection.
Declaration = Callable[[kombu.Connection], Declared]


class Troubles:
    """Logs each queue's trouble once, until it is another one or over."""

    def __init__(self) -> None:
        self._logged: dict[str, str] = {}

    def log(self, declared: Declared) -> None:
        text = declared.trouble.text if declared.trouble else ""
        if self._logged.get(declared.name, "") != text:
            if declared.trouble:
                LOG.log(logging.ERROR if declared.trouble.severe else logging.WARNING, "%s.", text)
            else:
                LOG.info("Queue %s is as it should be.", declared.name)
        self._logged[declared.name] = text


def declare(connection: kombu.Connection, topology: Topology, key: str) -> Declared:
    """Declare the queue of a routing key."""
    plain = topology.plain_queue(key)
    return _declared(connection, topology.variants(key, version_of(connection)), plain, Declared(plain.name, key))


def declare_dead_letters(connection: kombu.Connection, topology: Topology, key: str) -> Declared:
    """Declare the dead-letter queue of a routing key's queue.

    While the node of the dead-letter queue is down, RabbitMQ 4.0 answers after a minute, or the connection times out.
    """
    queue = topology.dead_letter_queue(key)
    return _declared(connection, [queue], queue, Declared(queue.name, key, dead_letters=True))


def _declared(
    connection: kombu.Connection, variants: Sequence[kombu.Queue], plain: kombu.Queue, wanted: Declared
) -> Declared:
    """Declare the first variant that the broker accepts; if it accepts none, use the existing queue.

    Raise `OSError` that names the queue if the broker does not answer.
    """
    try:
        for queue in variants:
            difference = _tried(connection, queue)
            if difference is None:
                return wanted
        _use(connection, plain)
        # The broker names one difference; which it is of the type, the plain declaration shows.
        difference = _tried(connection, plain) or difference
    except ChannelError as error:
        return replace(wanted, trouble=_refused(wanted.name, error), usable=False)
    except OSError as error:
        cause = str(error) or "time-out"
        raise OSError(f"no answer about queue {wanted.name}, whose node may be down: {cause}") from error
    return replace(wanted, trouble=_different(wanted.name, difference))


def _tried(connection: kombu.Connection, queue: kombu.Queue) -> PreconditionFailed | None:
    """Declare a queue, on a channel that an error closes; return how the one that is there differs."""
    try:
        with connection.channel() as channel:
            queue(channel).declare()
    except PreconditionFailed as error:
        return error
    return None


def _use(connection: kombu.Connection, queue: kombu.Queue) -> None:
    """Make sure that a queue is there, and that it is bound."""
    with connection.channel() as channel:
        bound = queue(channel)
        bound.queue_declare(passive=True)
        if bound.exchange:
            bound.exchange.declare()
            bound.queue_bind()


def _different(name: str, error: PreconditionFailed | None) -> Trouble:
    """Say how a queue differs from what it should be."""
    known = _DIFFERENCE.search(str(error))
    what = known.group(1) if known else ""
    remedy = _EMPTY_AND_DELETE.format(name=name)
    if what == "x-queue-type":
        return Trouble(
            f"Queue {name} is of another type than snapmanage declares ({_said(error)}). "
            f"It is used as it is, but may lose messages with its node. {remedy}",
            severe=True,
        )
    if what in ("durable", "auto_delete", "exclusive"):
        return Trouble(
            f"Queue {name} was declared with another {what} than snapmanage declares ({_said(error)}). "
            f"It is used as it is, but may lose messages at a restart. {remedy}",
            severe=True,
        )
    return Trouble(
        f"Queue {name} was declared otherwise before ({_said(error)}). It is used as it is; a policy with a "
        f"limit could drop its messages for good. {remedy}",
        severe=False,
    )


def _refused(name: str, error: ChannelError) -> Trouble:
    remedy = {
        403: "Remedy: grant the user of transport_url configure, write and read on it, and on its dead-letters queue",
        404: "Remedy: start the broker's node that holds it, or delete the queue",
        405: "Remedy: end the connection that holds it exclusively",
        406: "Remedy: give both sides the same control_exchange and [oslo_messaging_rabbit] options",
    }.get(error.code, "Remedy: see the broker's log")
    return Trouble(
        f"Queue {name} can't be used, and is tried again: the broker refuses it ({_said(error)}). {remedy}", severe=True
    )


def _said(error: ChannelError | None) -> str:
    return str(error).partition(") ")[2] or str(error)
