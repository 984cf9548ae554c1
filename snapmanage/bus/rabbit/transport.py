"""kombu's transport for RabbitMQ, with connections that no message's properties stop, and no header inflates.

`register` replaces kombu's own transport, so that the connections of oslo.messaging's client use this one too.
"""

from collections.abc import Callable
from typing import Any

import kombu.transport
from amqp.method_framing import frame_handler
from kombu.transport import pyamqp

from snapmanage.bus.envelope import CONTENT_ENCODING, CONTENT_TYPE
from snapmanage.bus.rabbit import frames


class Message(pyamqp.Message):
    """A message whose body is read as it was sent: as JSON, and not compressed, whatever its properties say.

    kombu decompresses a body if a header says so, and 15 MiB may then fill 15 GiB. The encoding of another content type
    may name any codec of Python: `bz2` fills memory in the same way, and `punycode` takes hours for one message.
    """

    def __init__(self, msg: Any, channel: Any = None, **options: Any) -> None:
        (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, channel, **options)  # type: ignore[no-untyped-call]
        self.content_type, self.content_encoding = CONTENT_TYPE, CONTENT_ENCODING


class Channel(pyamqp.Channel):
    """kombu's own channel, with messages of the class above, whose bodies py-amqp does not decode either."""

    Message = Message

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"auto_decode": False})


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
