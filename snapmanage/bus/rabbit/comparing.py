"""Compare the exchange and the queues on the broker with their declarations, and change nothing.

A queue that does not exist is no problem: its process declares it. The broker compares the arguments of an existing
queue when it is declared again, which needs the right to configure it.
"""

from collections.abc import Iterator, Sequence

import kombu
from amqp.exceptions import AccessRefused, ChannelError, NotFound, PreconditionFailed

from snapmanage.bus.rabbit.declaring import QueueProblem, different, exchange_exists, refused
from snapmanage.bus.rabbit.topology import Topology, version_of


def problems(connection: kombu.Connection, topology: Topology, keys: Sequence[str]) -> list[QueueProblem]:
    """Return the differences of the exchange, and of the queues of routing keys with their dead-letter queues."""
    exchange = topology.declared_exchange()
    if not exchange_exists(connection, exchange):
        return []
    return [*_of_exchange(connection, exchange), *_of_queues(connection, topology, keys)]


def _of_exchange(connection: kombu.Connection, exchange: kombu.Exchange) -> Iterator[QueueProblem]:
    try:
        with connection.channel() as channel:
            exchange(channel).declare()
    except PreconditionFailed as error:
        text = (
            f"Exchange {exchange.name} was declared with other arguments, so no process can use it ({error}). Remedy: "
            "give all services the same [oslo_messaging_rabbit] options, or another control_exchange"
        )
        yield QueueProblem(text, severe=True)


def _of_queues(connection: kombu.Connection, topology: Topology, keys: Sequence[str]) -> Iterator[QueueProblem]:
    version = version_of(connection)
    for key in keys:
        dead_letters = topology.dead_letter_queue(key)
        for variants, plain in (
            (topology.variants(key, version), topology.plain_queue(key)),
            ([dead_letters], dead_letters),
        ):
            if problem := _of_queue(connection, variants, plain):
                yield problem


def _of_queue(connection: kombu.Connection, variants: Sequence[kombu.Queue], plain: kombu.Queue) -> QueueProblem | None:
    """Return the problem of an existing queue that equals none of its possible declarations.

    The broker names only the first difference; the plain declaration shows a difference of the type.
    """
    try:
        _declare(connection, plain, passive=True)
        differences = [_difference(connection, variant) for variant in variants]
        if None in differences:
            return None
        return different(plain.name, _difference(connection, plain) or differences[-1])
    except (NotFound, AccessRefused):
        return None
    except ChannelError as error:
        return refused(plain.name, error)


def _difference(connection: kombu.Connection, queue: kombu.Queue) -> PreconditionFailed | None:
    try:
        _declare(connection, queue)
    except PreconditionFailed as error:
        return error
    return None


def _declare(connection: kombu.Connection, queue: kombu.Queue, passive: bool = False) -> None:
    with connection.channel() as channel:
        queue(channel).queue_declare(passive=passive)
