"""Read and write oslo.messaging's envelope 2.0 and its content: bytes to values and back, without a connection."""

import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from snapmanage import errors
from snapmanage.bus import Publication
from snapmanage.bus.names import VERSION, Names
from snapmanage.core.outbox import Kind, Message
from snapmanage.json_text import compact

CONTENT_TYPE = "application/json"
CONTENT_ENCODING = "utf-8"
# Bytes. Far more than any request needs; small enough not to delay the rest of a batch.
LARGEST_REQUEST = 1024**2
# An event repeats the fields of its request and may escape their characters, which makes them up to 3.5 times as long.
LARGEST_EVENT = 4 * LARGEST_REQUEST
# Bytes. RabbitMQ 4 transports no larger message by default. A list of numbers takes eight times its bytes when read.
LARGEST_REPLY = 16 * LARGEST_REQUEST
# Characters. oslo.messaging uses 32, and logs each id that it doesn't know.
LONGEST_CALL_ID = 255
# Opening brackets and braces outside of texts. A list or an object of a few bytes takes a hundred times as long to
# parse as a text of its size, and lets Python's garbage collector search all memory again and again.
MOST_BRACKETS = 50_000
# Bytes, a limit of AMQP.
LONGEST_QUEUE_NAME = 255
_CONTEXT = "_context_"
# A member of the content, whose quotes the envelope escapes once; those of a text inside it are escaped again.
_WRITTEN = re.compile(rb'(?<!\\)\\"(method|snapshot_id)\\": ?\\"([ !#-\[\]-~]{1,64})\\"')
# A text whose escapes were removed before. A text without an end reaches to the end of the message.
_ESCAPE = re.compile(r"\\.", re.DOTALL)
_TEXT = re.compile(r'"[^"]*"?')
NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Incoming:
    """A request without its envelope, with the attributes that oslo.messaging's dispatcher reads."""

    message: dict[str, Any]
    ctxt: dict[str, Any]
    msg_id: str | None = None
    reply_q: str | None = None
    client_timeout: None = None


def publications(message: Message, names: Names, now: datetime) -> list[Publication]:
    """Return the publications of a message: one for a cast, one for each notification topic for an event."""
    if message.kind is Kind.CAST:
        key = names.server_queue(message.target)
        return [Publication(message.id, key, request(message.name, message.body, message.context, message.id), True)]
    content = {
        "message_id": message.id,
        "publisher_id": message.target,
        "event_type": message.name,
        "priority": message.priority,
        "payload": message.body,
        "timestamp": now.replace(tzinfo=None).isoformat(" ", "microseconds"),
        "_unique_id": message.id,
    }
    body = _enclose(content, message.context, compact)
    level = (message.priority or "INFO").lower()
    return [Publication(message.id, f"{topic}.{level}", body) for topic in names.notification_topics]


def request(
    method: str, arguments: Mapping[str, Any], context: Mapping[str, Any], unique_id: str, **call: Any
) -> bytes:
    """Return the body of a cast, or of a call if `_msg_id` and `_reply_q` are given."""
    content = {"method": method, "args": dict(arguments), "version": VERSION, "_unique_id": unique_id, **call}
    return _enclose(content, context)


def reply(incoming: Incoming, result: Any = None, failure: Exception | None = None) -> bytes:
    """Return the body of the reply to a call; a failure is sent as its class and text, without a traceback."""
    content = {
        "result": result,
        "failure": None if failure is None else json.dumps(_failure(failure)),
        "ending": True,
        "_msg_id": incoming.msg_id,
        "_unique_id": uuid.uuid4().hex,
    }
    return _enclose(content)


def unwrap(body: bytes, finite: bool = True) -> dict[str, Any]:
    """Return the content of an envelope; raise `InvalidRequest` if `body` is not an envelope 2.x.

    NaN and infinite numbers are refused, since they are not JSON and equal no other value. Without `finite` they become
    None, for a message that was refused and whose other values are needed.
    """
    number = _finite if finite else _finite_or_none
    parse = partial(json.loads, parse_constant=number, parse_float=number)
    try:
        outer = parse(_quick(body))
        if outer["oslo.version"].partition(".")[0] != "2":
            raise errors.InvalidRequest(f"envelope version {outer['oslo.version']!r} is not supported; send 2.x")
        content = parse(_quick(outer["oslo.message"]))  # its brackets may be escaped in the envelope
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise errors.InvalidRequest(f"the message is not an oslo.messaging 2.0 envelope: {error!r}") from error
    if not isinstance(content, dict):
        raise errors.InvalidRequest("the content of the envelope must be a JSON object")
    return content


def has_many_brackets(text: bytes | str) -> bool:
    """Return whether a JSON text has more brackets than any request has lists and objects, also inside of texts."""
    brackets = text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")
    return brackets > MOST_BRACKETS


def _quick(text: bytes | str) -> bytes | str:
    """Return a JSON text; raise `InvalidRequest` if it has so many lists and objects that parsing it takes seconds.

    Brackets inside of texts don't count: the event of a request repeats them, and must not be refused.
    """
    if has_many_brackets(text):
        read = text.decode(json.detect_encoding(text)) if isinstance(text, bytes) else text
        if has_many_brackets(_TEXT.sub("", _ESCAPE.sub("", read))):
            raise errors.InvalidRequest(f"the message has more than {MOST_BRACKETS} brackets")
    return text


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _finite_or_none(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None


def is_call_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_CALL_ID


def limit_reply(body: bytes) -> bytes:
    """Return the body of a reply; raise `InvalidRequest` if the caller would ignore it for its size."""
    if len(body) > LARGEST_REPLY:
        raise errors.InvalidRequest(
            f"the answer has {len(body)} bytes, and the limit is {LARGEST_REPLY}; request a shorter list with `limit`"
        )
    return body


def limit_size(body: bytes, largest: int) -> None:
    """Raise `InvalidRequest` if a message has more than `largest` bytes."""
    if len(body) > largest:
        raise errors.InvalidRequest(f"the message has {len(body)} bytes; the limit for its kind is {largest}")


def open_request(body: bytes, finite: bool = True) -> Incoming:
    """Parse a cast or a call, with `unwrap`; raise `InvalidRequest` if the message is neither."""
    content = unwrap(body, finite)
    ctxt = {name.removeprefix(_CONTEXT): content.pop(name) for name in list(content) if name.startswith(_CONTEXT)}
    if not isinstance(content.get("method"), str) or not isinstance(content.get("args", {}), dict):
        raise errors.InvalidRequest("a request must have a string `method` and an object `args`")
    if not isinstance(content.get("version", VERSION), str):
        raise errors.InvalidRequest("the `version` of a request must be a string such as '1.0'")
    reply_q = content.get("_reply_q")
    if reply_q is not None and not _is_queue_name(reply_q):
        raise errors.InvalidRequest("the `_reply_q` of a call must be the name of a queue, of up to 255 bytes")
    msg_id = content.get("_msg_id")
    if msg_id is not None and not is_call_id(msg_id):
        raise errors.InvalidRequest(f"the `_msg_id` of a call must be a text of up to {LONGEST_CALL_ID} characters")
    return Incoming(content, ctxt, msg_id, reply_q)


def skim_request(body: bytes) -> tuple[str, dict[str, str]]:
    """Return the method and the argument `snapshot_id` of a request that is too large to parse; both may be empty.

    Parsing takes many times the bytes of a message. The values are therefore found as they are written in an envelope.
    """
    found: dict[str, str] = {}
    for match in _WRITTEN.finditer(body):
        found.setdefault(match[1].decode(), match[2].decode())
        if len(found) == 2:
            break
    return found.pop("method", ""), found


def _is_queue_name(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value.encode()) <= LONGEST_QUEUE_NAME
    except UnicodeEncodeError:
        return False


def open_reply(body: bytes) -> Any:
    """Return the result of a call; raise the error that the server replied with."""
    content = unwrap(body)
    if content.get("failure") is None:
        return content.get("result")
    failure = json.loads(content["failure"])
    known = getattr(errors, failure["class"], errors.Unavailable)
    # Without the constructor: some constructors take values other than the final text.
    raise known.__new__(known, *failure["args"])


def _enclose(
    content: Mapping[str, Any], context: Mapping[str, Any] = NO_CONTEXT, write: Callable[[Any], str] = json.dumps
) -> bytes:
    """Return the envelope of a content with its context."""
    members = {**content, **{f"{_CONTEXT}{name}": value for name, value in context.items()}}
    return compact({"oslo.version": "2.0", "oslo.message": write(members)}).encode()


def _failure(error: Exception) -> dict[str, Any]:
    deliberate = isinstance(error, errors.SnapmanageError)
    text = str(error) if deliberate else "the server failed; see its log for the reason"
    kind = type(error) if deliberate else errors.Unavailable
    return {"class": kind.__name__, "module": kind.__module__, "message": text, "tb": [], "args": [text], "kwargs": {}}
