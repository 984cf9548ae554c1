"""The contract of a driver: listing, finding and identifying snapshots and volumes."""

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe, refuse_foreign, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.testing.contract.helpers import binding_of, by_name, check_raises, new_snapshot
from snapmanage.testing.lab import Lab, SpoilingLab


@pytest.mark.no_kernel
def test_working_backend_passes_the_check(lab: Lab) -> None:
    lab.driver.check()


@pytest.mark.lab_needs("reports_storage_id")
@pytest.mark.no_kernel
def test_storage_id_does_not_depend_on_the_content_of_the_storage(lab: Lab) -> None:
    before = lab.driver.storage_id()
    new_snapshot(lab)

    assert before is not None
    assert 0 < len(before) <= 255
    assert lab.driver.storage_id() == before


def test_listing_returns_every_snapshot_and_no_other_object(lab: Lab) -> None:
    daily, weekly = new_snapshot(lab, "daily"), new_snapshot(lab, "weekly")

    listed = lab.driver.list_snapshots()

    assert sorted(listed, key=by_name) == [daily, weekly]


@pytest.mark.no_kernel
def test_snapshot_is_described_with_its_volume_and_size(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    snapshot = new_snapshot(lab)

    assert (snapshot.parent, snapshot.parent_identity) == (lab.volume, volume.identity)
    assert snapshot.size_bytes == volume.size_bytes == lab.size_bytes
    assert snapshot.unsafe is None


@pytest.mark.lab_needs("reports_creation_time")
@pytest.mark.no_kernel
def test_snapshot_has_its_creation_time_in_utc(lab: Lab) -> None:
    snapshot = new_snapshot(lab)

    assert snapshot.created_at is not None
    assert snapshot.created_at.tzinfo is UTC


@pytest.mark.no_kernel
def test_volume_and_snapshots_have_different_identities(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))

    identities = {volume.identity, new_snapshot(lab, "daily").identity, new_snapshot(lab, "weekly").identity}

    assert len(identities) == 3


@pytest.mark.no_kernel
def test_missing_snapshot_is_not_found(lab: Lab) -> None:
    absent = Reference.named(lab.name_of("absent"))

    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_snapshot(absent)


@pytest.mark.no_kernel
def test_missing_volume_is_not_found(lab: Lab) -> None:
    with check_raises(errors.SourceNotFound, "source_not_found"):
        lab.driver.find_volume(Reference.named("absent"))


@pytest.mark.no_kernel
def test_reference_with_another_key_is_refused(lab: Lab) -> None:
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-nonsense": lab.name_of("daily")}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_snapshot(Reference.of({"source-name": lab.name_of("daily"), "more": "keys"}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-nonsense": lab.volume}))
    with check_raises(errors.InvalidReference, "invalid_reference"):
        lab.driver.find_volume(Reference.of({"source-name": lab.volume, "more": "keys"}))


@pytest.mark.no_kernel
def test_name_that_is_impossible_on_the_backend_is_refused(lab: Lab) -> None:
    for name in lab.impossible_names:
        with check_raises(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_snapshot(Reference.named(name))
        with check_raises(errors.InvalidReference, "invalid_reference"):
            lab.driver.find_volume(Reference.named(name))


@pytest.mark.no_kernel
def test_volume_is_refused_as_a_snapshot(lab: Lab) -> None:
    with check_raises(errors.NotASnapshot, "not_a_snapshot"):
        lab.driver.find_snapshot(Reference.named(lab.volume))


@pytest.mark.no_kernel
def test_snapshot_is_refused_as_a_volume(lab: Lab) -> None:
    snapshot = new_snapshot(lab)

    with check_raises(errors.NotAVolume, "not_a_volume"):
        lab.driver.find_volume(Reference.named(snapshot.name))


@pytest.mark.no_kernel
def test_snapshot_is_refused_for_another_volume_but_not_for_another_name_of_its_volume(lab: Lab) -> None:
    volume = lab.driver.find_volume(Reference.named(lab.volume))
    other = lab.driver.find_volume(Reference.named(lab.add_volume("other-volume")))
    snapshot = new_snapshot(lab)

    with check_raises(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, other.name, other.identity)
    with check_raises(errors.WrongVolume, "wrong_volume"):
        refuse_foreign(snapshot, volume.name, other.identity)
    refuse_foreign(snapshot, other.name, volume.identity)


@pytest.mark.no_kernel
def test_unreachable_backend_is_a_retryable_error_until_it_is_reachable_again(lab: Lab) -> None:
    snapshot = new_snapshot(lab)
    binding = binding_of(lab, snapshot)
    lab.go_away()

    # The calls run at the same time, because each may last until the timeout of the driver.
    with ThreadPoolExecutor(5) as callers:
        calls: list[Future[object]] = [
            callers.submit(lab.driver.list_snapshots),
            callers.submit(lab.driver.find_snapshot, Reference.named(binding.original_name)),
            callers.submit(lab.driver.manage_snapshot, binding),
            callers.submit(lab.driver.unmanage_snapshot, binding),
            callers.submit(lab.driver.check),
        ]
    for call in calls:
        with check_raises(errors.BackendUnavailable, "backend_unavailable"):
            call.result()

    lab.come_back()

    lab.driver.check()
    assert lab.driver.list_snapshots() == [snapshot]
    assert lab.driver.manage_snapshot(binding).name == binding.managed_name


@pytest.mark.lab_needs("add_unusable")
def test_unusable_snapshot_is_found_as_unusable_and_refused(lab: SpoilingLab) -> None:
    name = lab.add_unusable("spoiled")

    snapshot = lab.driver.find_snapshot(Reference.named(name))

    with check_raises(errors.Unusable, "unusable"):
        refuse_unsafe(snapshot)
    assert [seen.unsafe for seen in lab.driver.list_snapshots()] in ([], [Unsafe.UNUSABLE])
