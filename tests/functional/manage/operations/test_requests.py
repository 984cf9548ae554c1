"""Requests: they are written with their casts, or refused at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.core.lists.filters import Filters, Page
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.selectors import Selectors
from snapmanage.core.origins.patterns import Origins
from snapmanage.core.origins.protection import BackendOrigins
from snapmanage.core.outbox import Kind
from snapmanage.core.quotas import UNLIMITED, Limits
from snapmanage.core.records import Requester, Snapshot, Status
from snapmanage.core.values.location import Location
from snapmanage.manage import manageable as lists
from snapmanage.manage import requests
from tests import examples
from tests.examples import REQUESTER, SERVER, VOLUME_ID, new_id
from tests.functional.manage.operations.bench import DAILY, MONTHLY, WEEKLY, Bench, fields


def test_request_is_written_with_its_cast_and_the_relay_is_nudged(bench: Bench) -> None:
    requested = bench.request(name="n", metadata={"k": "v"})

    assert bench.record(requested) == requested
    assert fields(requested, "status", "location", "size_gb", "generation") == [
        Status.CREATING,
        examples.LOCATION,
        1,
        0,
    ]
    (cast,) = bench.messages()
    assert (cast.name, cast.target, cast.body) == ("manage_snapshot", SERVER, {"snapshot_id": requested.id})
    assert bench.nudged == [cast]


def test_second_request_for_an_object_is_refused_at_once(bench: Bench) -> None:
    first = bench.request()

    with pytest.raises(errors.AlreadyManaged, match=f"it is snapshot {first.id}") as refused:
        bench.request()

    assert (refused.value.owner_id, refused.value.project_id) == (first.id, first.requester.project_id)

    assert bench.message_names(Kind.CAST) == ["manage_snapshot"]


def test_of_two_requests_at_the_same_time_one_is_refused(bench: Bench) -> None:
    def request(_: int) -> Snapshot | None:
        try:
            return bench.request()
        except errors.AlreadyManaged:
            return None

    with ThreadPoolExecutor(2) as pool:
        requested = [snapshot for snapshot in pool.map(request, range(2)) if snapshot]

    assert len(requested) == 1
    assert [cast.record_id for cast in bench.messages()] == [requested[0].id]


@pytest.mark.parametrize(
    "volume_id_and_requester",
    [(new_id(), REQUESTER), (examples.VOLUME_ID, Requester("another project"))],
    ids=["unknown", "another project's"],
)
def test_volume_that_the_project_does_not_have_is_not_found(
    bench: Bench, volume_id_and_requester: tuple[str, Requester]
) -> None:
    volume_id, requester = volume_id_and_requester

    with pytest.raises(errors.VolumeNotFound, match=volume_id):
        bench.request(volume_id=volume_id, requester=requester)


def test_volume_that_is_not_available_yet_is_refused(bench: Bench) -> None:
    coming = requests.register_volume(bench.app, examples.volume("other", id=new_id()))

    with pytest.raises(errors.InvalidState, match="creating"):
        bench.request(volume_id=coming.id)


def test_request_to_a_server_without_heartbeats_is_refused(bench: Bench) -> None:
    bench.clock.advance(hours=1)

    with pytest.raises(errors.ServiceDown):
        bench.request()
    assert bench.messages() == []


def test_request_to_an_unknown_server_is_refused(bench: Bench) -> None:
    with pytest.raises(errors.ServiceNotFound):
        requests.register_volume(bench.app, examples.volume(location=Location("storage-9", "fast")))


@pytest.mark.parametrize("limit", [Limits(2, UNLIMITED), Limits(UNLIMITED, 2)])
def test_quota_limits_owned_snapshots_and_freed_quota_can_be_used_again(bench: Bench, limit: Limits) -> None:
    bench.change_rules(quota=limit)
    bench.manage_snapshot(DAILY)
    failing = bench.request("not there")

    with pytest.raises(errors.QuotaExceeded):
        bench.request(MONTHLY)
    bench.accept(failing)
    bench.carry_out_due()

    assert bench.request(MONTHLY).status is Status.CREATING


def test_concurrent_requests_do_not_exceed_the_quota(bench: Bench) -> None:
    bench.change_rules(quota=Limits(2, UNLIMITED))

    def request(number: int) -> bool:
        try:
            return bool(bench.request(f"snapshot-{number}"))
        except errors.QuotaExceeded:
            return False

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(request, range(6))) == 2


def test_listing_marks_managed_and_requested_snapshots(bench: Bench) -> None:
    managed, requested = bench.manage_snapshot(DAILY), bench.request(WEEKLY)
    page = Page(sort=(("reference", "asc"),))

    assessed = lists.list_snapshots(bench.app, SERVER, Inventory(bench.driver.list_snapshots()), page)

    assert [(each.found.name, each.reason_not_safe) for each in assessed] == [
        (f"snapshot-{managed.id}", "already managed"),
        (WEEKLY, f"snapshot {requested.id} is managed under this reference"),
        (MONTHLY, None),
    ]
    assert assessed[0].record_id == managed.id


class NotingOrigins(Origins):
    """Origins that call `note` for each snapshot that is to be recognised."""

    def __init__(self, note: Callable[[], None]) -> None:
        super().__init__()
        self._note = note

    def recognise(self, *args: Any, **kwargs: Any) -> None:
        self._note()


@pytest.mark.parametrize("filters", [{}, {"volume_id": VOLUME_ID}, {"safe_to_manage": True}])
def test_origins_are_recognised_once_for_all_pages_and_hold_no_connection(
    bench: Bench, filters: dict[str, Any]
) -> None:
    open_connections: set[object] = set()
    noted: list[int] = []
    sa.event.listen(bench.db.engine, "checkout", lambda connection, *_: open_connections.add(id(connection)))
    sa.event.listen(bench.db.engine, "checkin", lambda connection, _: open_connections.discard(id(connection)))
    origins = BackendOrigins(NotingOrigins(lambda: noted.append(len(open_connections))))
    inventory = Inventory(bench.driver.list_snapshots())
    page = Page(filters=Filters(**filters, selectors=Selectors(origin="sanoid")))

    found = [lists.list_snapshots(bench.app, SERVER, inventory, page, origins=origins) for _ in range(3)]

    assert found == [[], [], []]
    assert noted == [0] * len(inventory)
