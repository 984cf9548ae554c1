"""The form of messages on the wire, compared with messages that Cinder and its clients exchanged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.bus.envelope import Incoming
from snapmanage.bus.names import VERSION, Names
from snapmanage.core import events, outbox
from snapmanage.core.events import Step
from snapmanage.core.outbox import Message
from snapmanage.core.records import Status
from tests import examples
from tests.examples import NOW, REQUESTER, SNAPSHOT_ID, sample, sample_body, sample_content

NAMES = Names(notification_topics=("notifications", "billing"))
CAST = outbox.cast(examples.snapshot())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
# The ids of the requester, as oslo.context flattens them; a context of snapmanage has no other keys, and no token.
OUR_CONTEXT = {"_context_user_id", "_context_project_id", "_context_request_id", "_context_global_request_id"}


def make_notification() -> Message:
    event = events.announce(examples.snapshot(status=Status.AVAILABLE), Step.END, NOW)
    return outbox.notifications(event, REQUESTER, both_dialects=False)[0]


def outer_envelope(body: bytes) -> dict[str, Any]:
    outer: dict[str, Any] = json.loads(body)
    return outer


def content_keys(content: dict[str, Any]) -> set[str]:
    """Return the keys that are not part of the context."""
    return {key for key in content if not key.startswith("_context_")}


def wrap(content: Any) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(content)}).encode()


@pytest.mark.parametrize(
    ("name", "method", "version", "arguments"),
    [
        ("cast_manage_existing_snapshot", "manage_existing_snapshot", "3.0", {"snapshot", "ref"}),
        ("cast_manage_existing_snapshot_bad_ref", "manage_existing_snapshot", "3.0", {"snapshot", "ref"}),
        ("cast_delete_snapshot_unmanage_only", "delete_snapshot", "3.0", {"snapshot", "unmanage_only"}),
        (
            "call_get_manageable_snapshots",
            "get_manageable_snapshots",
            "3.10",
            {"marker", "limit", "offset", "sort_keys", "sort_dirs", "want_objects"},
        ),
    ],
)
def test_request_of_cinder_is_parsed(name: str, method: str, version: str, arguments: set[str]) -> None:
    incoming = envelope.open_request(sample_body(name))

    assert incoming.message["method"] == method
    assert incoming.message["version"] == version
    assert set(incoming.message["args"]) == arguments
    assert incoming.ctxt["project_id"] == "a" * 32
    assert incoming.ctxt["request_id"].startswith("req-")
    assert not any(key.startswith("_context_") for key in incoming.message)


def test_call_names_its_reply_queue_and_a_cast_does_not() -> None:
    call = envelope.open_request(sample_body("call_get_manageable_snapshots"))
    cast = envelope.open_request(sample_body("cast_manage_existing_snapshot"))

    assert (call.msg_id, call.reply_q) == (
        "5daa70806a1d48bca975e221cc9adff9",
        "reply_f50ee24692c646d288243c1b86b05f6f",
    )
    assert (cast.msg_id, cast.reply_q) == (None, None)


def test_cast_has_the_wire_format_of_cinder() -> None:
    (publication,) = envelope.publications(CAST, NAMES, NOW)

    assert content_keys(outer_envelope(publication.body)) == content_keys(
        sample("cast_manage_existing_snapshot")["body"]
    )
    content = envelope.unwrap(publication.body)
    assert content_keys(content) == content_keys(sample_content("cast_manage_existing_snapshot"))
    assert content.keys() - content_keys(content) == OUR_CONTEXT


def test_call_has_the_wire_format_of_cinder() -> None:
    body = envelope.request("get_manageable_snapshots", {}, {}, "1", _msg_id="2", _reply_q="3")

    assert content_keys(envelope.unwrap(body)) == content_keys(sample_content("call_get_manageable_snapshots")) - {
        "_timeout"
    }


def test_notification_has_the_wire_format_of_cinder() -> None:
    theirs = sample_content("notification_manage_existing_snapshot_end")

    ours = envelope.unwrap(envelope.publications(make_notification(), NAMES, NOW)[0].body)

    assert content_keys(ours) == content_keys(theirs)
    assert {key: type(ours[key]) for key in content_keys(ours)} == {
        key: type(theirs[key]) for key in content_keys(theirs)
    }
    assert ours["publisher_id"] == "snapshot.storage-1@fast"
    assert ours["timestamp"] == "2026-03-01 12:30:15.123456"
    assert len(ours["timestamp"]) == len(theirs["timestamp"])
    assert ours.keys() - content_keys(ours) == OUR_CONTEXT


@pytest.mark.parametrize(
    ("name", "result", "failure"),
    [("reply_get_manageable_snapshots", [], None), ("reply_failure", None, errors.InvalidRequest("bad marker"))],
)
def test_reply_has_the_wire_format_of_cinder(name: str, result: Any, failure: Exception | None) -> None:
    theirs = sample_content(name)

    ours = envelope.unwrap(envelope.reply(Incoming({}, {}, "7", "reply_7"), result, failure))

    assert content_keys(ours) == content_keys(theirs)
    assert {key: type(ours[key]) for key in ours} == {key: type(theirs[key]) for key in theirs}
    if failure is not None:
        assert json.loads(ours["failure"]).keys() == json.loads(theirs["failure"]).keys()


def test_cast_is_published_to_the_queue_of_its_server_without_declaring_it() -> None:
    (publication,) = envelope.publications(CAST, NAMES, NOW)

    assert publication.routing_key == "snapmanage-volume.storage-1@fast"
    assert publication.queue_must_exist
    assert publication.message_id == CAST.id


def test_notification_is_published_to_every_topic_with_its_priority_in_the_key() -> None:
    sent = envelope.publications(make_notification(), NAMES, NOW)

    assert [publication.routing_key for publication in sent] == ["notifications.info", "billing.info"]
    assert not any(publication.queue_must_exist for publication in sent)
    assert {publication.message_id for publication in sent} == {make_notification().id}


def test_server_consumes_the_queues_of_both_dialects() -> None:
    names = Names(volume_topic="cinder-volume")

    assert names.server_queues("labhost@null") == [
        "cinder-volume",
        "cinder-volume.labhost@null",
        sample("cast_manage_existing_snapshot")["routing_key"],
    ]
    assert Names(notification_topics=("a", "b")).event_keys() == ["a.info", "a.error", "b.info", "b.error"]


@given(method=st.text(), arguments=st.dictionaries(st.text(), JSON), unique_id=st.text())
def test_request_survives_the_envelope_unchanged(method: str, arguments: dict[str, Any], unique_id: str) -> None:
    incoming = envelope.open_request(envelope.request(method, arguments, vars(REQUESTER), unique_id))

    assert incoming.message == {"method": method, "args": arguments, "version": VERSION, "_unique_id": unique_id}
    assert incoming.ctxt == vars(REQUESTER)


@given(JSON)
def test_result_survives_the_envelope_unchanged(result: Any) -> None:
    assert envelope.open_reply(envelope.reply(Incoming({}, {}, "7", "q"), result)) == result


@pytest.mark.parametrize("kind", examples.deliberate_errors(), ids=lambda kind: kind.__name__)
def test_deliberate_error_keeps_its_class_and_text_in_a_reply(kind: type[errors.SnapmanageError]) -> None:
    error = kind.__new__(kind, "of seven kinds")  # some constructors take other values than the text
    body = envelope.reply(Incoming({}, {}, "7", "q"), failure=error)

    with pytest.raises(errors.SnapmanageError) as arrived:
        envelope.open_reply(body)

    assert type(arrived.value) is kind
    assert str(arrived.value) == str(error)


def test_unexpected_error_reveals_no_internals_in_a_reply() -> None:
    body = envelope.reply(Incoming({}, {}, "7", "q"), failure=KeyError("password"))

    with pytest.raises(errors.Unavailable, match="see its log"):
        envelope.open_reply(body)
    assert b"password" not in body
    assert b"KeyError" not in body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"oslo.version": "2.0"}',
        b'{"oslo.version": 2, "oslo.message": "{}"}',
        b'{"oslo.version": "3.0", "oslo.message": "{}"}',
        b'{"oslo.version": "2.0", "oslo.message": {}}',
        b'{"oslo.version": "2.0", "oslo.message": "{"}',
        b'{"oslo.version": "2.0", "oslo.message": "[]"}',
        b'{"oslo.version": "2.0", "oslo.message": ' + b"[" * 100_000,
        wrap({}),
        wrap({"method": 7}),
        wrap({"method": "manage_snapshot", "args": []}),
        wrap({"method": "manage_snapshot", "args": None}),
        wrap({"method": "manage_snapshot", "version": 1.0}),
        wrap({"method": "manage_snapshot", "version": None}),
    ],
    ids=lambda body: body[:60].decode(errors="replace"),
)
def test_message_without_a_valid_envelope_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        envelope.open_request(body)


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        envelope.open_request(body)


@given(JSON)
def test_any_content_is_parsed_or_refused(content: Any) -> None:
    try:
        envelope.open_request(wrap(content))
    except errors.InvalidRequest:
        assert not (isinstance(content, dict) and isinstance(content.get("method"), str) and len(content) == 1)


@pytest.mark.parametrize("queue", ["x" * 256, "é" * 128, "\ud800", 5, ["reply_1"], {}])
def test_call_whose_reply_has_no_possible_queue_is_refused(queue: Any) -> None:
    body = envelope.request("list", {}, {}, "1", _msg_id="1", _reply_q=queue)

    with pytest.raises(errors.InvalidRequest, match="_reply_q"):
        envelope.open_request(body)


@pytest.mark.parametrize(
    "msg_id", [5, ["1"], {}, json.loads("[" * 900 + "]" * 900), "x" * 256], ids=["5", "list", "{}", "deep", "long"]
)
def test_call_whose_id_is_no_short_text_is_refused(msg_id: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="_msg_id"):
        envelope.open_request(envelope.request("list", {}, {}, "1", _msg_id=msg_id, _reply_q="reply_1"))


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.99"])
def test_newer_minor_envelope_version_is_accepted(version: str) -> None:
    body = json.dumps({"oslo.version": version, "oslo.message": json.dumps({"method": "m"})}).encode()

    assert envelope.open_request(body).message == {"method": "m"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_number_that_is_not_finite_is_refused(number: str) -> None:
    inner = '{"method": "m", "args": {"a": ' + number + "}}"

    with pytest.raises(errors.InvalidRequest, match="not a finite number"):
        envelope.unwrap(json.dumps({"oslo.version": "2.0", "oslo.message": inner}).encode())


def test_skimmed_request_has_its_method_and_its_snapshot() -> None:
    arguments = {"name": '"snapshot_id": "in a text"', "snapshot_id": SNAPSHOT_ID, "ref": {"source-name": "daily"}}

    skimmed = envelope.skim_request(envelope.request("manage_snapshot", arguments, {}, "id"))

    assert skimmed == ("manage_snapshot", {"snapshot_id": SNAPSHOT_ID})


@pytest.mark.parametrize("body", [b"", b"\xff" * 100, b'{"method": "plain", "snapshot_id": "x"}', b'\\"method\\": \\"'])
def test_bytes_without_members_of_a_content_are_skimmed_to_nothing(body: bytes) -> None:
    assert envelope.skim_request(body) == ("", {})
