"""The vendor driver for Ceph on a pool with odd images: the driver `cinder` prevents that it fails on the first."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, Unsafe, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.testing.services.storage.ceph import Ceph
from tests.contract.labs.cinder import TEMPLATE, CinderRbdLab, cinder_rbd_lab

DAILY = "image-1@daily"


@pytest.fixture
def lab(cinder_of_rbd: tuple[Ceph, str, CinderDriver]) -> Iterator[CinderRbdLab]:
    with cinder_rbd_lab(*cinder_of_rbd) as made:
        made.add_snapshot(DAILY)
        yield made


def find(lab: CinderRbdLab, name: str, volume: str | None = None) -> BackendSnapshot:
    found: BackendSnapshot = lab.driver.find_snapshot(Reference.named(name), volume)
    return found


def bind(lab: CinderRbdLab, snapshot: BackendSnapshot) -> Binding:
    managed_name = lab.driver.managed_name(snapshot, TEMPLATE % uuid.uuid4())
    return Binding(snapshot.identity, snapshot.name, managed_name)


def assert_refused(lab: CinderRbdLab, snapshot: BackendSnapshot) -> None:
    """Check that a manage request for the snapshot is refused with the listed reason."""
    with pytest.raises(errors.Unusable) as caught:
        refuse_unsafe(find(lab, snapshot.name, snapshot.parent))
    assert snapshot.unsafe_reason in str(caught.value)


def test_unreadable_image_is_an_entry_beside_the_others(lab: CinderRbdLab) -> None:
    lab.odd.corrupt("odd")
    lab.add_volume("a@b")

    found = {each.name: each for each in lab.driver.list_snapshots()}
    volumes = {each.name: each.unsafe_reason for each in lab.driver.list_volumes()}

    assert (found[DAILY].unsafe, found["odd"].unsafe) == (None, Unsafe.UNUSABLE)
    assert volumes.keys() == {lab.volume, "odd", "a@b"}
    assert volumes[lab.volume] == ""
    assert "Input/output error" in volumes["odd"]
    assert "can't address an image with '@'" in volumes["a@b"]
    for name in ("odd", "odd@daily"):
        with pytest.raises(errors.Unusable, match="Input/output error"):
            refuse_unsafe(find(lab, name))
    with pytest.raises(errors.Unusable, match="Input/output error"):
        lab.driver.find_volume(Reference.named("odd"))
    assert lab.driver.find_volume(Reference.named(lab.volume)).name == lab.volume


def test_managed_snapshot_of_an_unreadable_image_does_not_count_as_gone(lab: CinderRbdLab) -> None:
    lab.odd.image("odd")
    binding = bind(lab, find(lab, "odd@daily"))
    lab.driver.manage_snapshot(binding)
    lab.odd.break_header("odd")

    with pytest.raises(errors.Unusable, match="rbd_header"):
        lab.driver.unmanage_snapshot(binding)


def test_snapshot_that_the_vendor_driver_could_not_protect_is_listed_unsafe(lab: CinderRbdLab) -> None:
    lab.odd.image("plain", features=4)

    [plain] = [each for each in lab.driver.list_snapshots() if each.parent == "plain"]

    assert "layering" in plain.unsafe_reason
    assert find(lab, plain.name) == plain


def test_every_odd_snapshot_is_managed_if_listed_safe_and_refused_with_the_listed_reason_otherwise(
    lab: CinderRbdLab,
) -> None:
    lab.odd.make_all()
    assert lab.driver.find_volume(Reference.named("linked-1")).name == "linked-1"
    listed = lab.driver.list_snapshots()

    unsafe = [each for each in listed if each.unsafe]
    safe = [each for each in listed if not each.unsafe]
    assert unsafe
    assert safe

    # A scan opens every image, and simultaneous calls share one.
    with ThreadPoolExecutor(len(unsafe)) as callers:
        list(callers.map(partial(assert_refused, lab), unsafe))
    # In sequence: librbd may abort the process if one thread renames an image while another opens a damaged one.
    for snapshot in safe:
        binding = bind(lab, snapshot)
        assert lab.driver.manage_snapshot(binding).name == binding.managed_name
