"""Messages as kombu's readers receive them, such as the replies to calls."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from snapmanage.bus import envelope
from snapmanage.bus.envelope import LARGEST_REPLY, LONGEST_CALL_ID, MOST_BRACKETS, Incoming
from snapmanage.bus.rabbit.transport import Message

REPLY = envelope.reply(Incoming({}, {}, "1"), ["a"])


def payload(body: bytes, **properties: Any) -> Any:
    """Return what a reader gets of a message."""
    return Message(SimpleNamespace(properties=properties, body=body, delivery_tag=1, delivery_info={})).payload


def test_payload_is_the_content_of_the_envelope_whatever_the_properties_say() -> None:
    kinds = {"content_type": "application/x-python-serialize", "content_encoding": "zlib_codec"}

    assert payload(REPLY, **kinds) == payload(REPLY) == envelope.unwrap(REPLY)
    assert payload(REPLY)["result"] == ["a"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        envelope.reply(Incoming({}, {}, "1"), [[]] * MOST_BRACKETS),
        json.dumps({"oslo.version": "2.0", "oslo.message": REPLY.decode()}).encode(),
        envelope.reply(Incoming({}, {}, ["1"])),  # type: ignore[arg-type]
        envelope.reply(Incoming({}, {}, "1" * (LONGEST_CALL_ID + 1))),
        REPLY.ljust(LARGEST_REPLY + 1),
    ],
    ids=[
        "empty",
        "no envelope",
        "no text",
        "many lists",
        "envelope in an envelope",
        "id that is no text",
        "long id",
        "large",
    ],
)
def test_payload_of_a_message_that_a_reader_would_fail_at_is_empty(body: bytes) -> None:
    assert payload(body) == {}


def test_reply_at_the_limits_is_read() -> None:
    reply = envelope.reply(Incoming({}, {}, "1" * LONGEST_CALL_ID), ["a"]).ljust(LARGEST_REPLY)

    assert payload(envelope.limit_reply(reply))["result"] == ["a"]
