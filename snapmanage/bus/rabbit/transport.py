"""kombu's transport for RabbitMQ, with connections that no message's properties stop, and no header inflates.

`register` replaces kombu's own transport, so that the connections of oslo.messaging's client use this one too.
"""

from collections.abc import Callable
from typing import Any

import kombu.transport
from amqp.method_framing import frame_handler
from kombu.transport import pyamqp

from snapmanage.bus.rabbit import frames


class Message(pyamqp.Message):
    """A message whose body is read as it was sent.

    kombu decompresses a body if a header says so, and 15 MiB may then fill 15 GiB. snapmanage sends none compressed.
    """

    def __init__(self, msg: Any, channel: Any = None, **options: Any) -> None:
        (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, channel, **options)  # type: ignore[no-untyped-call]


class Channel(pyamqp.Channel):
    """kombu's own channel, with messages of the class above."""

    Message = Message


class Connection(pyamqp.Connection):
    """A connection that reads a message with unreadable or very large properties without them."""

    Channel = Channel

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"frame_handler": _tolerant_frame_handler} | options)


class Transport(pyamqp.Transport):
    """kombu's own transport, with tolerant connections."""

    Connection = Connection


def register() -> None:
    """Let each URL that begins with `amqp://` use this transport."""
    kombu.transport.TRANSPORT_ALIASES["amqp"] = f"{__name__}:{Transport.__name__}"


def _tolerant_frame_handler(connection: Any, callback: Callable[..., Any]) -> Callable[[frames.Frame], bool]:
    return frames.tolerate_unreadable_properties(frame_handler(connection, callback))
