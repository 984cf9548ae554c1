"""kombu's transport for RabbitMQ, with connections that no message stops or inflates.

`register` replaces kombu's own transport, so that the connections of oslo.messaging's client use this one too.
"""

import logging
from collections.abc import Callable
from typing import Any

import kombu.transport
from amqp.exceptions import AccessRefused
from amqp.method_framing import frame_handler
from kombu.transport import pyamqp

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.bus.rabbit import frames
from snapmanage.core.values.logfields import fields

LOG = logging.getLogger(__name__)


class Message(pyamqp.Message):
    """A message whose body is read as JSON in an envelope, whatever its properties say.

    The sender chooses the properties. kombu decompresses a body if a header or the content encoding says so, and 15 MiB
    may then fill 15 GiB.
    """

    def __init__(self, msg: Any, channel: Any = None, **options: Any) -> None:
        (msg.properties.get("application_headers") or {}).pop("compression", None)
        super().__init__(msg, channel, **options)  # type: ignore[no-untyped-call]

    def _decode(self) -> dict[str, Any]:
        """Return the content of the envelope, which oslo.messaging reads too.

        Return {}, which its client ignores, for a message that it would fail at.
        """
        try:
            envelope.limit_size(self.body, envelope.LARGEST_REPLY)
            content = envelope.unwrap(self.body)
        except errors.InvalidRequest as error:
            LOG.warning("Ignored a message that can't be understood: %s", fields(reason=error))
            return {}
        # oslo.messaging would open a second envelope inside of the first, look up an id of any type, and log it whole.
        return {} if "oslo.message" in content or not envelope.is_call_id(content.get("_msg_id", "")) else content


class Channel(pyamqp.Channel):
    """kombu's own channel, with messages of the class above, whose bodies stay bytes.

    By default, the content encoding names a codec that decodes each body: `punycode` takes hours for some megabytes.
    """

    Message = Message

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.auto_decode = False

    def exchange_declare(self, exchange: str, type: str, passive: bool = False, *rest: Any, **options: Any) -> Any:
        """Declare an exchange; a user without the right to do so uses the one that another process declared.

        oslo.messaging's client declares the exchange of its calls. A refusal closes the channel, so the declaration has
        one of its own.
        """
        if not passive:
            try:
                with self.connection.channel() as own:
                    return pyamqp.Channel.exchange_declare(own, exchange, type, passive, *rest, **options)
            except AccessRefused:
                passive = True
        return super().exchange_declare(exchange, type, passive, *rest, **options)


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
