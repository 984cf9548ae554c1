"""The endpoints turn messages into requests, in snapmanage's own dialect and in Cinder's."""

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import oslo_messaging
import pytest
from oslo_messaging import RPCDispatcher

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.bus.envelope import Incoming
from snapmanage.core.backend import Unsafe
from snapmanage.core.lists import filters, manageable
from snapmanage.core.lists.filters import Page
from snapmanage.core.lists.inventory import Inventory, L
from snapmanage.core.lists.manageable import Assessment, Owned
from snapmanage.core.records import Operation, Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.volume.cinder_dialect import CinderEndpoint
from snapmanage.volume.endpoint import Endpoint, ManageableLists
from snapmanage.volume.intake import INVALID_MESSAGE
from tests import examples
from tests.examples import SERVER, SNAPSHOT_ID, VOLUME_ID, sample_body

CONTEXT = {"project_id": "a" * 32, "user_id": "b" * 32, "request_id": "req-1", "global_request_id": "req-2"}
WHOLE: dict[str, Any] = {"snapshot_id": SNAPSHOT_ID, "volume_id": VOLUME_ID, "ref": {"source-name": "daily"}}
REQUESTER = Requester("a" * 32, "b" * 32, "req-1", "req-2")
LISTED = [examples.found(), examples.found("weekly", unsafe=Unsafe.IN_USE, unsafe_reason="mounted")]
LISTED_VOLUMES = [examples.found_volume(), examples.found_volume("other", extra={"pool_lv": "pool"})]


class Server:
    """Both endpoints of a server, called by the dispatcher of oslo.messaging."""

    def __init__(self) -> None:
        self.requests: list[OperationRequest] = []
        self.pages: list[Page] = []
        lists = ManageableLists(partial(self.list, LISTED), partial(self.list, LISTED_VOLUMES))
        endpoints = [Endpoint(SERVER, lists), CinderEndpoint(SERVER, lists, "volume-%s")]
        self._dispatcher = RPCDispatcher(endpoints, None, oslo_messaging.DefaultRPCAccessPolicy)

    def list(self, listed: Sequence[L], page: Page) -> list[Assessment]:
        self.pages.append(page)
        return manageable.assess(list(filters.on_page(Inventory(listed).candidates(page), page)), Owned())

    def receive(self, incoming: Incoming) -> Any:
        result = self._dispatcher.dispatch(incoming)
        if isinstance(result, OperationRequest):
            self.requests.append(result)
        return result

    def dispatch(
        self, method: str, arguments: Mapping[str, Any], version: str = "1.0", context: Mapping[str, Any] = CONTEXT
    ) -> Any:
        message = {"method": method, "args": dict(arguments), "version": version}
        return self.receive(Incoming(message, dict(context)))

    @property
    def record(self) -> Snapshot:
        """Return the snapshot that the only request describes."""
        (request,) = self.requests
        assert isinstance(request.record, Snapshot)
        return request.record


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize(
    ("method", "arguments", "request_"),
    [
        ("manage_snapshot", {"snapshot_id": SNAPSHOT_ID}, OperationRequest(Snapshot, SNAPSHOT_ID, Operation.MANAGE)),
        (
            "unmanage_snapshot",
            {"snapshot_id": SNAPSHOT_ID},
            OperationRequest(Snapshot, SNAPSHOT_ID, Operation.UNMANAGE, requester=REQUESTER),
        ),
        (
            "unmanage_snapshot",
            {"snapshot_id": SNAPSHOT_ID, "generation": 7},
            OperationRequest(Snapshot, SNAPSHOT_ID, Operation.UNMANAGE, requester=REQUESTER, generation=7),
        ),
        ("manage_volume", {"volume_id": VOLUME_ID}, OperationRequest(Volume, VOLUME_ID, Operation.MANAGE)),
    ],
)
def test_cast_becomes_a_request(
    server: Server, method: str, arguments: dict[str, Any], request_: OperationRequest
) -> None:
    server.dispatch(method, arguments)

    assert server.requests == [request_]


def test_uuid_is_accepted_in_any_spelling(server: Server) -> None:
    server.dispatch("manage_snapshot", {"snapshot_id": uuid.UUID(SNAPSHOT_ID).hex.upper()})

    assert server.requests == [OperationRequest(Snapshot, SNAPSHOT_ID, Operation.MANAGE)]


def test_arguments_of_an_upstream_describe_a_whole_record(server: Server) -> None:
    described = {"name": "s1", "description": "d1", "metadata": {"k": "v"}, "project_id": "p", "user_id": "u"}

    server.dispatch("manage_snapshot", WHOLE | described)

    record = server.record
    assert (record.id, record.volume_id, record.location.server) == (SNAPSHOT_ID, VOLUME_ID, SERVER)
    assert record.reference == Reference.named("daily")
    assert (record.name, record.description, record.metadata) == ("s1", "d1", {"k": "v"})
    assert record.requester == Requester("p", "u", "req-1", "req-2")
    assert record.status is Status.CREATING
    assert record.reference_key is None


def test_project_is_taken_from_the_context(server: Server) -> None:
    server.dispatch("manage_snapshot", WHOLE)

    assert server.record.requester.project_id == "a" * 32


@pytest.mark.parametrize("lacking", ["volume_id", "ref", "project_id"])
def test_incomplete_arguments_describe_no_record(server: Server, lacking: str) -> None:
    arguments = {name: value for name, value in WHOLE.items() if name != lacking}
    context = {name: value for name, value in CONTEXT.items() if name != lacking}

    server.dispatch("manage_snapshot", arguments, context=context)

    assert [request.record for request in server.requests] == [None]


def test_cast_of_cinder_to_manage_becomes_a_request(server: Server) -> None:
    server.receive(envelope.open_request(sample_body("cast_manage_existing_snapshot")))

    record = server.record
    assert record.id == "d6d925e0-eec3-4905-993c-4bba6f7f57c0"
    assert record.reference == Reference.named("backend-snap-0000001")
    assert (record.name, record.description, record.metadata, record.size_gb) == ("s1", "d1", {"k": "v"}, 1)
    assert record.requester == Requester(
        "a" * 32,
        "b" * 32,
        "req-0ff386a5-a97a-4a66-adcd-f3803f169683",
        "req-7755cbf4-984e-4a82-90df-f240017e3fbf",
    )


def test_volume_of_cinder_is_named_by_the_template(server: Server) -> None:
    server.receive(envelope.open_request(sample_body("cast_manage_existing_snapshot")))

    (request,) = server.requests
    assert request.volume is not None
    assert request.volume.id == server.record.volume_id == "916bf7fc-22b0-4089-9528-bec5083ba14e"
    assert request.volume.backend_name == "volume-916bf7fc-22b0-4089-9528-bec5083ba14e"
    assert request.volume.status is Status.AVAILABLE


def test_unresolvable_reference_is_accepted_and_left_to_the_driver(server: Server) -> None:
    server.receive(envelope.open_request(sample_body("cast_manage_existing_snapshot_bad_ref")))

    assert server.record.reference == Reference.named("bad")


def test_cast_of_cinder_to_unmanage_becomes_a_request(server: Server) -> None:
    server.receive(envelope.open_request(sample_body("cast_delete_snapshot_unmanage_only")))

    (request,) = server.requests
    assert (request.record_id, request.operation) == ("d6d925e0-eec3-4905-993c-4bba6f7f57c0", Operation.UNMANAGE)
    assert request.requester is not None
    assert request.requester.request_id == "req-e8076d53-d4c8-439f-a207-4395493a272e"


@pytest.mark.parametrize("flag", [{}, {"unmanage_only": False}, {"unmanage_only": None}, {"unmanage_only": "true"}])
def test_request_to_delete_a_snapshot_is_refused(server: Server, flag: dict[str, Any]) -> None:
    incoming = envelope.open_request(sample_body("cast_delete_snapshot_unmanage_only"))
    del incoming.message["args"]["unmanage_only"]
    incoming.message["args"] |= flag

    with pytest.raises(errors.InvalidRequest, match="never deletes"):
        server.receive(incoming)
    assert server.requests == []


def test_listing_has_the_form_of_the_rest_api(server: Server) -> None:
    entries = server.dispatch("get_manageable_snapshots", {"marker": {"source-name": "weekly"}, "limit": 1})

    assert entries == [manageable.entries(manageable.assess(LISTED, Owned()))[0].as_wire()]


def test_listing_has_own_fields_on_request(server: Server) -> None:
    arguments = {"marker": {"source-name": "weekly"}, "limit": 1, "own_fields": True}

    entries = server.dispatch("get_manageable_snapshots", arguments, "1.3")

    assert entries == [manageable.entries(manageable.assess(LISTED, Owned()))[0].as_wire(own_fields=True)]


def test_listing_for_cinder_contains_objects_in_the_form_of_cinder(server: Server) -> None:
    incoming = envelope.open_request(sample_body("call_get_manageable_snapshots"))

    answered = server.receive(incoming)

    theirs = envelope.open_reply(sample_body("reply_get_manageable_snapshots"))
    assert server.pages == [Page(None, 3, 0, (("reference", "desc"),))]
    assert [entry["versioned_object.data"]["reference"]["source-name"] for entry in answered] == ["weekly", "daily"]
    assert shape(answered[0]) == shape(theirs[0])


def test_list_of_volumes_has_the_form_of_the_rest_api(server: Server) -> None:
    entries = server.dispatch("get_manageable_volumes", {"marker": {"source-name": "other"}, "limit": 1}, "1.3")

    assert entries == [manageable.entries(manageable.assess(LISTED_VOLUMES, Owned()))[0].as_wire()]


def shape(entry: Any) -> Any:
    """Return an entry with the names of its fields instead of their values."""
    data = entry["versioned_object.data"]
    return {key: value for key, value in entry.items() if key != "versioned_object.data"} | {"fields": set(data)}


def test_listing_contains_no_objects_by_default(server: Server) -> None:
    own = server.dispatch("get_manageable_snapshots", {})

    assert server.dispatch("get_manageable_snapshots", {"want_objects": False}, "3.10") == own


@pytest.mark.parametrize(
    ("method", "version", "arguments"),
    [
        ("manage_snapshot", "1.1", {"snapshot_id": SNAPSHOT_ID}),
        ("manage_snapshot", "1.999", {"snapshot_id": SNAPSHOT_ID}),
        ("get_manageable_snapshots", "3.0", {"want_objects": True}),
        ("get_manageable_snapshots", "3.99", {}),
        ("get_manageable_volumes", "1.999", {}),
        ("get_manageable_volumes", "3.10", {"want_objects": True}),
    ],
)
def test_newer_minor_version_is_accepted(server: Server, method: str, version: str, arguments: dict[str, Any]) -> None:
    server.dispatch(method, arguments, version)

    assert len(server.requests) + len(server.pages) == 1


@pytest.mark.parametrize(
    ("method", "version"),
    [
        ("manage_snapshot", "2.0"),
        ("manage_snapshot", "3.0"),
        ("manage_snapshot", "0.9"),
        ("manage_existing_snapshot", "1.0"),
        ("manage_existing_snapshot", "4.0"),
        ("manage_snapshot", "newest"),
        ("no_such_method", "1.0"),
        ("_ask", "1.0"),
        ("__init__", "1.0"),
        ("target", "1.0"),
    ],
)
def test_other_major_version_or_method_is_refused(server: Server, method: str, version: str) -> None:
    with pytest.raises(INVALID_MESSAGE):
        server.dispatch(method, {"snapshot_id": SNAPSHOT_ID}, version)
    assert server.requests == []


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("manage_snapshot", {}),
        ("unmanage_snapshot", {}),
        ("unmanage_snapshot", {"snapshot_id": SNAPSHOT_ID, "generation": "7"}),
        ("unmanage_snapshot", {"snapshot_id": SNAPSHOT_ID, "generation": True}),
        ("unmanage_snapshot", {"snapshot_id": SNAPSHOT_ID, "generation": 0}),
        ("manage_volume", {"snapshot_id": SNAPSHOT_ID}),
        ("manage_snapshot", {"snapshot_id": SNAPSHOT_ID, "surplus": 1}),
        ("manage_snapshot", {"snapshot_id": "seven"}),
        ("manage_snapshot", {"snapshot_id": 7}),
        ("manage_snapshot", {"snapshot_id": None}),
        ("manage_snapshot", WHOLE | {"volume_id": "seven"}),
        ("manage_snapshot", WHOLE | {"ref": {}}),
        ("manage_snapshot", WHOLE | {"ref": 7}),
        ("manage_snapshot", WHOLE | {"name": 7}),
        ("manage_snapshot", WHOLE | {"name": "n" * 256}),
        ("manage_snapshot", WHOLE | {"description": []}),
        ("manage_snapshot", WHOLE | {"name": "NUL \0"}),
        ("manage_snapshot", WHOLE | {"name": "half a pair \ud83d"}),
        ("manage_snapshot", WHOLE | {"user_id": "u" * 256}),
        ("manage_snapshot", WHOLE | {"metadata": {"k": 7}}),
        ("manage_snapshot", WHOLE | {"metadata": ["k"]}),
        ("manage_snapshot", WHOLE | {"project_id": 7}),
        ("get_manageable_snapshots", {"sort_keys": ["name"], "sort_dirs": ["asc"]}),
        ("get_manageable_snapshots", {"marker": {"source-name": "gone"}}),
        ("get_manageable_snapshots", {"marker": 7}),
    ],
)
def test_arguments_that_are_missing_surplus_or_invalid_are_refused(
    server: Server, method: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(INVALID_MESSAGE):
        server.dispatch(method, arguments)
    assert server.requests == []


Break = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    "damage",
    [
        lambda args: args.pop("ref"),
        lambda args: args.pop("snapshot"),
        lambda args: args.update(snapshot=None),
        lambda args: args.update(snapshot="d6d925e0-eec3-4905-993c-4bba6f7f57c0"),
        lambda args: args["snapshot"].pop("versioned_object.name"),
        lambda args: args["snapshot"].pop("versioned_object.data"),
        lambda args: args["snapshot"].update({"versioned_object.name": "Volume"}),
        lambda args: args["snapshot"].update({"versioned_object.data": []}),
        lambda args: args["snapshot"]["versioned_object.data"].pop("id"),
        lambda args: args["snapshot"]["versioned_object.data"].pop("volume_id"),
        lambda args: args["snapshot"]["versioned_object.data"].update(display_name=7),
        lambda args: args["snapshot"]["versioned_object.data"].update(metadata=[]),
        lambda args: args["snapshot"]["versioned_object.data"].update(volume_size="large"),
        lambda args: args["snapshot"]["versioned_object.data"].update(volume_size=-1),
        lambda args: args["snapshot"]["versioned_object.data"].update(volume_size=2**70),
    ],
)
def test_damaged_cast_of_cinder_is_refused(server: Server, damage: Break) -> None:
    incoming = envelope.open_request(sample_body("cast_manage_existing_snapshot"))
    damage(incoming.message["args"])

    with pytest.raises(INVALID_MESSAGE):
        server.receive(incoming)
    assert server.requests == []


@pytest.mark.parametrize("version", ["1.0", "1.6", "1.99"])
def test_unknown_fields_of_a_newer_object_are_ignored(server: Server, version: str) -> None:
    incoming = envelope.open_request(sample_body("cast_manage_existing_snapshot"))
    incoming.message["args"]["snapshot"]["versioned_object.version"] = version
    incoming.message["args"]["snapshot"]["versioned_object.data"]["mood"] = "sunny"
    incoming.ctxt["weather"] = "rainy"

    server.receive(incoming)

    assert server.record.name == "s1"


def test_project_of_the_object_takes_precedence_over_the_context(server: Server) -> None:
    incoming = envelope.open_request(sample_body("cast_manage_existing_snapshot"))
    context = copy.deepcopy(incoming.ctxt) | {"project_id": "of the administrator"}

    server.receive(Incoming(incoming.message, context))

    assert server.record.requester.project_id == "a" * 32
