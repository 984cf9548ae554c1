"""The quota counts real sizes: it is checked again when the driver has found a snapshot, before the backend changes."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB
from snapmanage.core.quotas import UNLIMITED, Limits, Usage
from snapmanage.core.records import Operation, Record, Requester, Snapshot, Status
from snapmanage.core.values.location import Location
from snapmanage.manage import acceptance, requests, settling
from snapmanage.manage.acceptance import OperationRequest
from snapmanage.manage.claims import WorkerId
from snapmanage.manage.settling import Resolution
from snapmanage.store import quotas
from snapmanage.store.engine import database as transactions
from tests import examples
from tests.examples import PROJECT, SERVER, new_id
from tests.functional.databases import ON_SERVERS
from tests.functional.manage.operations.bench import DAILY, DISK, WEEKLY, Bench, fields

OTHERS = Requester("another project")


def limit(bench: Bench, snapshots: int = UNLIMITED, gigabytes: int = UNLIMITED) -> None:
    bench.change_rules(quota=Limits(snapshots, gigabytes))


def plant(bench: Bench, size_gb: int, *names: str) -> None:
    """Add sparse snapshots, which are larger than their volume of 1 GiB."""
    for name in names:
        bench.driver.add_snapshot(DISK, name, size_gb * GIB)


def used(bench: Bench, project: str = PROJECT) -> Usage:
    with bench.db.read() as conn:
        return quotas.usage(conn, project)


def resolutions(bench: Bench, *requested: Snapshot) -> list[Resolution]:
    """Accept and claim requests, and return the driver's unwritten answers in the order of the requests."""
    bench.accept(*requested)
    steps = [bench.carry_out_step(claimed) for claimed in bench.claim(limit=100)]
    found = {step.record.id: step for step in steps if isinstance(step, Resolution)}
    return [found[each.id] for each in requested]


def continuing(written: Sequence[Record]) -> list[str]:
    """Return the ids of the snapshots that the driver may rename now."""
    return [record.id for record in written if record.claimed_by]


def names(bench: Bench) -> set[str]:
    return {found.name for found in bench.driver.list_snapshots()}


def test_snapshots_that_are_larger_than_the_quota_end_in_error_and_are_not_renamed(bench: Bench) -> None:
    limit(bench, gigabytes=3)
    plant(bench, 500, "sparse-1", "sparse-2", "sparse-3")
    before = names(bench)

    managed = [bench.manage_snapshot(f"sparse-{number}") for number in (1, 2, 3)]

    assert {(each.status, each.reason_code) for each in managed} == {(Status.ERROR, "quota_exceeded")}
    assert used(bench) == Usage(failed_records=3)
    assert names(bench) == before


def test_refusal_is_announced_and_explained(bench: Bench) -> None:
    limit(bench, gigabytes=3)
    plant(bench, 500, "sparse")
    bench.manage_snapshot(DAILY)

    refused = bench.manage_snapshot("sparse")

    [event] = [message for message in bench.messages() if message.name == "snapshot.manage.error"]
    [told] = bench.user_messages()
    assert event.body["reason"]["code"] == "quota_exceeded"
    assert (event.body["generation"], event.record_id) == (2, refused.id)
    assert "Quota exceeded for gigabytes: 1 of 3 are in use and 500 more requested; unmanage" in told.text


def test_refused_snapshot_can_be_managed_once_the_quota_allows_it(bench: Bench) -> None:
    limit(bench, gigabytes=3)
    plant(bench, 500, "sparse")
    bench.manage_snapshot("sparse")
    limit(bench, gigabytes=500)

    again = bench.manage_snapshot("sparse")

    assert again.status is Status.AVAILABLE
    assert used(bench) == Usage(1, 500, failed_records=1)


def test_snapshot_that_is_larger_than_its_volume_and_fits_is_managed(bench: Bench) -> None:
    limit(bench, gigabytes=5)
    plant(bench, 5, "larger")

    managed = bench.manage_snapshot("larger")

    assert managed.status is Status.AVAILABLE
    assert used(bench) == Usage(1, 5)


def test_one_that_does_not_fit_leaves_its_share_to_the_others_of_its_batch(bench: Bench) -> None:
    limit(bench, gigabytes=4)
    plant(bench, 500, "sparse")
    plant(bench, 3, "larger")
    sparse, larger, daily = [bench.request(name) for name in ("sparse", "larger", DAILY)]

    written = settling.resolve(bench.app, resolutions(bench, sparse, larger, daily))

    assert continuing(written) == [larger.id, daily.id]
    assert [record.id for record in written if not record.claimed_by] == [sparse.id]
    assert used(bench) == Usage(2, 4, failed_records=1)


def test_lowered_limit_does_not_stop_a_snapshot_that_is_not_larger_than_its_volume(bench: Bench) -> None:
    resolution = resolutions(bench, bench.request(DAILY))
    limit(bench, snapshots=0, gigabytes=0)

    assert len(continuing(settling.resolve(bench.app, resolution))) == 1


def test_operation_that_is_retried_after_its_resolution_counts_once(bench: Bench) -> None:
    limit(bench, gigabytes=5)
    plant(bench, 5, "larger")
    requested = bench.request("larger")
    settling.resolve(bench.app, resolutions(bench, requested))
    limit(bench, gigabytes=1)
    bench.clock.advance(minutes=5)

    bench.carry_out_due()

    assert fields(bench.record(requested), "status", "attempt") == [Status.AVAILABLE, 2]


def test_resolution_that_is_written_again_counts_once(bench: Bench) -> None:
    """The database may commit, and the connection break before its answer."""
    limit(bench, gigabytes=5)
    plant(bench, 5, "larger")
    answers = resolutions(bench, bench.request("larger"))
    settling.resolve(bench.app, answers)

    assert len(continuing(settling.resolve(bench.app, answers))) == 1
    assert used(bench) == Usage(1, 5)


def test_late_answer_of_a_lost_claim_takes_nothing_from_the_others(bench: Bench) -> None:
    limit(bench, gigabytes=6)
    plant(bench, 5, "one", "other")
    answers = resolutions(bench, bench.request("one"), bench.request("other"))
    bench.clock.advance(minutes=5)
    [taken] = bench.claim("worker 2", limit=1)
    lost, held = sorted(answers, key=lambda each: each.record.id != taken.record.id)

    written = settling.resolve(bench.app, [lost, held])

    assert continuing(written) == [held.record.id]


def cast_upstream(bench: Bench, source: str, requester: Requester = examples.REQUESTER) -> Snapshot:
    """Accept a cast of an upstream API, which describes the whole snapshot."""
    described = examples.snapshot(
        source, id=new_id(), location=Location.parse(SERVER), volume_id=examples.VOLUME_ID, requester=requester
    )
    request = OperationRequest(Snapshot, described.id, Operation.MANAGE, described)
    assert acceptance.accept(bench.app, [request], WorkerId(SERVER, "worker"), room=0).refused == []
    return described


@pytest.mark.parametrize("limits", [Limits(snapshots=1), Limits(gigabytes=1)], ids=["snapshots", "gigabytes"])
def test_cast_of_an_upstream_api_counts_when_its_snapshot_is_found(bench: Bench, limits: Limits) -> None:
    bench.change_rules(quota=limits)
    cast = [cast_upstream(bench, name) for name in (DAILY, WEEKLY)]

    bench.carry_out_due()

    ends = [bench.record(each) for each in cast]
    assert sorted(str(each.reason_code) for each in ends) == ["None", "quota_exceeded"]
    assert used(bench) == Usage(1, 1, failed_records=1)


def test_projects_of_one_batch_have_quotas_of_their_own(bench: Bench) -> None:
    bench.db.write(lambda conn, _: quotas.change(conn, PROJECT, {"gigabytes": 3}))
    plant(bench, 500, "sparse", "their sparse")
    mine = bench.request("sparse")
    theirs = cast_upstream(bench, "their sparse", OTHERS)

    written = settling.resolve(bench.app, resolutions(bench, mine, theirs))

    assert continuing(written) == [theirs.id]


@ON_SERVERS
def test_batches_that_resolve_at_once_stay_within_the_quotas(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # Resolutions and requests wait for each other, so that no transaction is retried.
    monkeypatch.setattr(transactions, "repeatable", lambda error: False)
    limit(bench, gigabytes=20)
    batches = 8
    sources = [[f"{number}-{part}" for part in range(4)] for number in range(batches)]
    plant(bench, 3, *(name for batch in sources for name in batch))
    cast = [
        cast_upstream(bench, name, OTHERS if part % 2 else examples.REQUESTER)
        for batch in sources
        for part, name in enumerate(batch)
    ]
    answers = resolutions(bench, *cast)
    # Every second batch has its snapshots in the opposite order.
    parts = [answers[4 * n : 4 * n + 4][:: 1 if n % 2 else -1] for n in range(batches)]
    together = threading.Barrier(batches + 1, timeout=20)

    def resolve(part: list[Resolution]) -> Sequence[Record]:
        together.wait()
        return settling.resolve(bench.app, part)

    def request() -> list[Any]:
        together.wait()
        return [_request(bench, f"more-{number}") for number in range(4)]

    with ThreadPoolExecutor(batches + 1) as pool:
        requested = pool.submit(request)
        written = [record for part in pool.map(resolve, parts) for record in part]
        requested.result()

    assert len(written) == 4 * batches
    assert used(bench, OTHERS.project_id).gigabytes == 18
    assert 17 <= used(bench).gigabytes <= 20


def _request(bench: Bench, source: str) -> Snapshot | None:
    try:
        return requests.request_snapshot(bench.app, examples.snapshot(source, id=new_id()))
    except errors.QuotaExceeded:
        return None
