"""Events follow the published schema, and repeats have the same id."""

import json
import uuid
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import core, errors
from snapmanage.core import events, lifecycle, outbox
from snapmanage.core.events import PAYLOAD_FIELDS, Event, Step
from snapmanage.core.records import Operation, Requester, Snapshot, Status
from snapmanage.core.reference import Reference
from tests import examples
from tests.examples import NOW, REQUESTER, RETRY, SNAPSHOT_ID

SCHEMA = json.loads(resources.files(core).joinpath("event.schema.json").read_text())
FORMATS = jsonschema.FormatChecker(["uuid"])
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=FORMATS)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TIMES = st.datetimes(timezones=st.just(NOW.tzinfo))


@FORMATS.checks("date-time", raises=ValueError)
def is_utc(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() == timedelta(0)


def assert_published(event: Event) -> None:
    """Check a payload that was sent over the wire against the schema."""
    payload = json.loads(json.dumps(event.payload))
    VALIDATOR.validate(payload)
    assert set(payload) == set(PAYLOAD_FIELDS)


def make_event(step: Step = Step.END, **fields: Any) -> Event:
    return events.announce(examples.snapshot(**fields), step, NOW)


SNAPSHOTS: st.SearchStrategy[Snapshot] = st.builds(
    Snapshot,
    id=st.uuids().map(str),
    volume_id=st.uuids().map(str),
    requester=st.builds(Requester, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS),
    location=st.just(examples.LOCATION),
    reference=TEXTS.map(Reference.named),
    name=st.none() | TEXTS,
    metadata=st.dictionaries(TEXTS, TEXTS),
    size_gb=st.none() | st.integers(0, 2**40),
    status=st.sampled_from(Status),
    operation=st.sampled_from(Operation),
    generation=st.integers(1, 2**31),
    attempt=st.integers(0, 2**31),
    reason=st.none() | TEXTS,
    reason_code=st.none() | st.just("in_use"),
    backend_name=st.none() | TEXTS,
    original_name=st.none() | TEXTS,
    backend_created_at=st.none() | TIMES,
    created_at=TIMES,
    deleted_at=st.none() | TIMES,
)


def test_schema_is_itself_valid_and_requires_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert SCHEMA["required"] == list(PAYLOAD_FIELDS)
    assert set(SCHEMA["properties"]) == set(PAYLOAD_FIELDS)


@given(snapshot=SNAPSHOTS, step=st.sampled_from(Step), now=TIMES)
def test_each_event_of_a_snapshot_follows_the_published_schema(snapshot: Snapshot, step: Step, now: datetime) -> None:
    assert_published(events.announce(snapshot, step, now))


@given(
    key=st.uuids().map(str),
    arguments=st.dictionaries(
        st.sampled_from(["volume_id", "project_id", "user_id", "name", "ref"]), TEXTS | st.integers()
    ),
    reason=TEXTS,
)
def test_event_of_a_rejected_request_follows_the_published_schema(
    key: str, arguments: dict[str, Any], reason: str
) -> None:
    event = events.rejected(
        key, "manage_snapshot", {"snapshot_id": SNAPSHOT_ID} | arguments, reason, NOW, examples.HOST
    )

    assert event is not None
    assert_published(event)


@pytest.mark.parametrize("broken", [{"event_id": "7"}, {"occurred_at": "today"}, {"reason": "x"}, {"surplus": 1}])
def test_schema_refuses_other_payloads(broken: dict[str, Any]) -> None:
    event = make_event()
    event.payload.update(broken)

    with pytest.raises(jsonschema.ValidationError):
        assert_published(event)


def test_every_deliberate_error_has_a_code_that_the_schema_allows() -> None:
    for error in examples.deliberate_errors():
        assert_published(make_event(reason="because", reason_code=error.code))


@pytest.mark.parametrize(
    ("operation", "step", "event_type", "priority"),
    [
        (Operation.MANAGE, Step.START, "snapshot.manage.start", "INFO"),
        (Operation.MANAGE, Step.END, "snapshot.manage.end", "INFO"),
        (Operation.MANAGE, Step.ERROR, "snapshot.manage.error", "ERROR"),
        (Operation.UNMANAGE, Step.START, "snapshot.unmanage.start", "INFO"),
        (Operation.UNMANAGE, Step.END, "snapshot.unmanage.end", "INFO"),
        (Operation.UNMANAGE, Step.ERROR, "snapshot.unmanage.error", "ERROR"),
    ],
)
def test_event_type_names_the_operation_and_the_step(
    operation: Operation, step: Step, event_type: str, priority: str
) -> None:
    event = make_event(step, operation=operation)

    assert (event.event_type, event.priority) == (event_type, priority)


def test_payload_contains_every_field() -> None:
    event = make_event(
        name="for users",
        metadata={"k": "v"},
        size_gb=3,
        status=Status.AVAILABLE,
        generation=3,
        attempt=1,
        backend_name="snapshot-2",
        original_name="daily",
        backend_created_at=NOW - timedelta(days=1),
    )

    assert event.payload == {
        "event_id": event.payload["event_id"],
        "generation": 3,
        "occurred_at": "2026-03-01T12:30:15.123456+00:00",
        "snapshot_id": SNAPSHOT_ID,
        "volume_id": examples.VOLUME_ID,
        "project_id": REQUESTER.project_id,
        "tenant_id": REQUESTER.project_id,
        "user_id": REQUESTER.user_id,
        "request_id": REQUESTER.request_id,
        "global_request_id": REQUESTER.global_request_id,
        "host": examples.HOST,
        "reference": {"source-name": "daily"},
        "backend_name": "snapshot-2",
        "name": "for users",
        "display_name": "for users",
        "metadata": {"k": "v"},
        "size_gb": 3,
        "volume_size": 3,
        "status": "available",
        "attempt": 1,
        "reason": None,
        "created_at": "2026-03-01T12:30:15.123456+00:00",
        "backend_created_at": "2026-02-28T12:30:15.123456+00:00",
        "deleted": False,
    }


def test_event_id_is_the_same_in_every_repeat() -> None:
    assert (
        make_event(generation=4).payload["event_id"]
        == events.announce(examples.snapshot(generation=4), Step.START, NOW + timedelta(days=1)).payload["event_id"]
    )


def test_event_id_differs_for_each_generation_and_each_snapshot() -> None:
    distinct = {
        make_event(id=str(uuid.UUID(int=who)), generation=at).payload["event_id"] for who in range(5) for at in range(5)
    }

    assert len(distinct) == 25


def test_event_id_does_not_change_between_versions() -> None:
    assert make_event(id=SNAPSHOT_ID, generation=3).payload["event_id"] == "925dbda4-68f4-55ae-9c0e-74f2ec07f0e4"


@pytest.mark.parametrize(
    ("status", "operation", "name"),
    [
        (Status.CREATING, Operation.MANAGE, "daily"),
        (Status.AVAILABLE, Operation.MANAGE, "snapshot-2"),
        (Status.ERROR, Operation.MANAGE, "daily"),
        (Status.UNMANAGING, Operation.UNMANAGE, "snapshot-2"),
        (Status.ERROR, Operation.UNMANAGE, "snapshot-2"),
        (Status.DELETED, Operation.UNMANAGE, "daily"),
    ],
)
def test_event_has_the_name_of_the_object_after_the_step(status: Status, operation: Operation, name: str) -> None:
    event = make_event(status=status, operation=operation, backend_name="snapshot-2", original_name="daily")

    assert event.payload["backend_name"] == name


def test_failure_leaves_a_user_message_with_operation_and_reason() -> None:
    change = lifecycle.fail(examples.snapshot(), errors.SourceNotFound("there is no 'daily'"), NOW, RETRY)

    message = change.message
    assert message is not None
    assert message.text == "manage snapshot: there is no 'daily'"
    assert (message.event_id, message.level) == ("SNAPSHOT_MANAGE_SOURCE_NOT_FOUND", "ERROR")
    assert (message.resource_type, message.resource_id) == ("VOLUME_SNAPSHOT", SNAPSHOT_ID)
    assert (message.project_id, message.request_id) == (REQUESTER.project_id, REQUESTER.request_id)
    assert message.guaranteed_until == NOW + timedelta(days=30)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"snapshot_id": None}, {"snapshot_id": "seven"}, {"snapshot": {}}, {"snapshot": {"versioned_object.data": 7}}],
)
def test_request_that_names_no_snapshot_has_no_event(arguments: dict[str, Any]) -> None:
    assert events.rejected(SNAPSHOT_ID, "manage_snapshot", arguments, "odd", NOW, examples.HOST) is None


@pytest.mark.parametrize(
    ("method", "event_type"),
    [
        ("manage_snapshot", "snapshot.manage.error"),
        ("manage_existing_snapshot", "snapshot.manage.error"),
        ("no such method", "snapshot.manage.error"),
        ("unmanage_snapshot", "snapshot.unmanage.error"),
        ("delete_snapshot", "snapshot.unmanage.error"),
    ],
)
def test_rejected_request_is_an_error_event_of_its_operation(method: str, event_type: str) -> None:
    arguments = {"snapshot": {"versioned_object.data": {"id": SNAPSHOT_ID}}}

    event = events.rejected(examples.VOLUME_ID, method, arguments, "odd", NOW, examples.HOST)

    assert event is not None
    assert event.event_type == event_type
    assert event.payload["snapshot_id"] == SNAPSHOT_ID
    assert event.payload["generation"] == 0
    assert event.payload["reason"] == {"code": "invalid_request", "text": "odd"}


def test_cast_carries_an_identifier_and_no_secret() -> None:
    cast = outbox.cast(examples.snapshot())

    assert cast.name == "manage_snapshot"
    assert cast.target == examples.SERVER
    assert cast.body == {"snapshot_id": SNAPSHOT_ID}
    assert set(cast.context) == {"user_id", "project_id", "request_id", "global_request_id"}


@pytest.mark.parametrize(
    ("record", "method"),
    [
        (examples.snapshot(operation=Operation.UNMANAGE), "unmanage_snapshot"),
        (examples.volume(), "manage_volume"),
    ],
)
def test_cast_calls_the_method_of_its_operation(record: Any, method: str) -> None:
    assert outbox.cast(record).name == method


def test_casts_of_two_operations_of_a_snapshot_have_different_ids() -> None:
    made = {outbox.cast(examples.snapshot(generation=generation)).id for generation in range(5)}

    assert len(made) == 5


def test_notification_is_published_by_the_server_of_the_snapshot() -> None:
    event = make_event()

    (notification,) = outbox.notifications(event, REQUESTER, both_dialects=False)

    assert notification.target == "snapshot.storage-1@fast"
    assert (notification.id, notification.name) == (event.payload["event_id"], "snapshot.manage.end")
    assert notification.body == event.payload


@pytest.mark.parametrize(
    ("operation", "step", "also"),
    [
        (Operation.MANAGE, Step.START, ["snapshot.manage_existing_snapshot.start"]),
        (Operation.MANAGE, Step.END, ["snapshot.manage_existing_snapshot.end"]),
        (Operation.MANAGE, Step.ERROR, []),
        (Operation.UNMANAGE, Step.START, ["snapshot.delete.start"]),
        (Operation.UNMANAGE, Step.END, ["snapshot.delete.end"]),
        (Operation.UNMANAGE, Step.ERROR, []),
    ],
)
def test_event_is_also_published_under_cinders_name_where_cinder_has_one(
    operation: Operation, step: Step, also: list[str]
) -> None:
    event = make_event(step, operation=operation)

    own, *others = outbox.notifications(event, REQUESTER, both_dialects=True)

    assert own.name == event.event_type
    assert [other.name for other in others] == also
    assert len({own.id, *(other.id for other in others)}) == 1 + len(also)
