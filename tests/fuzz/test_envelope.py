"""Messages of the bus: envelope, requests in both dialects, replies and events."""

import json
from typing import Any

import oslo_messaging
import pytest
from hypothesis import strategies as st
from oslo_messaging import RPCDispatcher

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.core import events
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.volume.cinder_dialect import CinderEndpoint
from snapmanage.volume.endpoint import Endpoint, ManageableLists
from snapmanage.volume.intake import INVALID_MESSAGE
from tests import examples
from tests.fuzz.hostile import ANY_TEXT, FINITE_JSON, JSON, bounded, damaged, fuzz, reshaped
from tests.unit.core.test_events import VALIDATOR

SERVER = "storage-1@fast"
BODIES = [json.loads(file.read_text())["body"] for file in sorted(examples.MESSAGES.iterdir())]
CONTENTS = [json.loads(body["oslo.message"]) for body in BODIES]
OWN = (
    {
        "method": "manage_snapshot",
        "args": {
            "snapshot_id": examples.SNAPSHOT_ID,
            "volume_id": examples.VOLUME_ID,
            "ref": {"source-name": "daily"},
            "name": "n",
            "metadata": {"a": "b"},
            "project_id": "p",
        },
        "version": "1.2",
    },
    {"method": "unmanage_snapshot", "args": {"snapshot_id": examples.SNAPSHOT_ID, "generation": 3}, "version": "1.2"},
    {"method": "manage_volume", "args": {"volume_id": examples.VOLUME_ID}, "version": "1.0"},
    {
        "method": "get_manageable_snapshots",
        "args": {
            "marker": {"source-name": "a"},
            "limit": 1,
            "offset": 0,
            "sort_keys": ["reference"],
            "sort_dirs": ["asc"],
            "filters": {"name_part": "a", "created_before": "2026-01-31T12:00:00Z", "safe_to_manage": True},
        },
        "version": "1.1",
        "_msg_id": "m",
        "_reply_q": "r",
    },
    {
        "method": "get_manageable_volumes",
        "args": {"marker": None, "limit": 1, "filters": {"min_size": 1, "max_size": 2}},
        "version": "1.3",
        "_msg_id": "m",
        "_reply_q": "r",
    },
)
EMPTY = ManageableLists(lambda page: [], lambda page: [])
DISPATCHER = RPCDispatcher(
    [Endpoint(SERVER, EMPTY), CinderEndpoint(SERVER, EMPTY, "volume-%s")],
    None,
    oslo_messaging.DefaultRPCAccessPolicy,
)


def enclosed(content: object) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()


@fuzz(damaged(*(json.dumps(body).encode() for body in BODIES)) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_an_envelope_or_an_invalid_request(body: bytes) -> None:
    with bounded(body, errors.InvalidRequest):
        envelope.open_request(body)


@fuzz(reshaped(*CONTENTS, *OWN), examples=100)
def test_request_is_dispatched_or_refused_as_invalid(content: object) -> None:
    with bounded(content, *INVALID_MESSAGE):
        result = DISPATCHER.dispatch(envelope.open_request(enclosed(content)))
        assert isinstance(result, OperationRequest | list)


@fuzz(reshaped(*CONTENTS, *OWN))
def test_rejected_request_has_an_event_of_the_published_schema_that_every_database_stores(content: Any) -> None:
    with bounded(content, errors.InvalidRequest):
        message = envelope.open_request(enclosed(content)).message
        arguments = message.get("args", {})
        event = events.rejected(
            examples.SNAPSHOT_ID, message["method"], arguments, "why \ud83d\0", examples.NOW, SERVER
        )
        if event:
            VALIDATOR.validate(event.payload)
            json.dumps(event.payload, ensure_ascii=False).encode()


@fuzz(ANY_TEXT, st.dictionaries(ANY_TEXT, FINITE_JSON, max_size=3), st.dictionaries(ANY_TEXT, FINITE_JSON, max_size=2))
def test_request_survives_the_envelope(method: str, arguments: dict[str, Any], context: dict[str, Any]) -> None:
    body = envelope.request(method, arguments, context, "id")

    with bounded(body):
        opened = envelope.open_request(body)
        assert repr(opened.message["args"]) == repr(arguments)
        assert repr(opened.ctxt) == repr(context)
        assert opened.message["method"] == method


@fuzz(st.none() | FINITE_JSON, ANY_TEXT)
def test_reply_survives_the_envelope(result: Any, text: str) -> None:
    incoming = envelope.open_request(enclosed(OWN[3]))

    with bounded(result):
        assert repr(envelope.open_reply(envelope.reply(incoming, result))) == repr(result)
    with bounded(text), pytest.raises(errors.InvalidState) as raised:
        envelope.open_reply(envelope.reply(incoming, failure=errors.InvalidState(text)))
    assert str(raised.value) == text
