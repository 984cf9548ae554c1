"""Faults of the vendor drivers for LVM and Ceph on real backends, and how the driver `cinder` corrects them."""

import uuid
from collections.abc import Iterator

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB, Binding, Unsafe, refuse_foreign
from snapmanage.core.reference import Reference
from snapmanage.drivers.cinder.driver import CinderDriver
from snapmanage.testing.services.lvm_metadata import EXTENT_BYTES, POOL, MetadataGroup
from snapmanage.testing.services.storage.ceph import Ceph
from tests.contract.labs.cinder import TEMPLATE, CinderLvmLab, CinderRbdLab, cinder_rbd_lab


@pytest.fixture
def lvm(cinder_of_lvm: tuple[MetadataGroup, CinderDriver]) -> CinderLvmLab:
    return CinderLvmLab(*cinder_of_lvm)


@pytest.fixture
def rbd(cinder_of_rbd: tuple[Ceph, str, CinderDriver]) -> Iterator[CinderRbdLab]:
    with cinder_rbd_lab(*cinder_of_rbd) as lab:
        yield lab


def reference_to(name: str) -> Reference:
    return Reference.named(name)


def bind(lab: CinderLvmLab | CinderRbdLab, name: str) -> Binding:
    snapshot = lab.driver.find_snapshot(reference_to(name))
    return Binding(snapshot.identity, snapshot.name, lab.driver.managed_name(snapshot, TEMPLATE % uuid.uuid4()))


def manage_unchecked(lab: CinderLvmLab, name: str) -> None:
    """Manage as Cinder does: pass the reference to the vendor driver unchecked."""
    reference = {"source-name": name}
    lab.process.call("snapshot_size_gb", volume=lab.volume, reference=reference)
    record_id = str(uuid.uuid4())
    managed_name = TEMPLATE % record_id
    lab.process.call(
        "manage", record_id=record_id, name=managed_name, volume=lab.volume, size_gb=1, reference=reference
    )


# LVM. Each test also shows the fault of the vendor driver, so that a fixed Cinder is noticed.


@pytest.mark.parametrize("name", ["ordinary", POOL, "thin-daily"])
def test_object_listed_as_a_volume_is_refused_though_the_vendor_driver_renames_it(lvm: CinderLvmLab, name: str) -> None:
    lvm.group.add_volumes("ordinary")
    lvm.group.add_pool()
    lvm.group.add_thin_volumes("thin-volume")
    lvm.group.add_thin_snapshots("thin-volume", "thin-daily")
    names_before = lvm.group.names()

    with pytest.raises(errors.NotASnapshot):
        lvm.driver.find_snapshot(reference_to(name))
    assert lvm.group.names() == names_before

    manage_unchecked(lvm, name)
    assert name not in lvm.group.names()


def test_snapshot_of_another_volume_is_refused_though_the_vendor_driver_renames_it(lvm: CinderLvmLab) -> None:
    other = lvm.driver.find_volume(reference_to(lvm.add_volume("other-volume")))
    lvm.add_snapshot("daily")

    with pytest.raises(errors.WrongVolume):
        refuse_foreign(lvm.driver.find_snapshot(reference_to("daily"), other.name), other.name, other.identity)
    assert lvm.names() == {"daily"}

    manage_unchecked(lvm, "daily")
    assert "daily" not in lvm.names()


def test_managed_snapshot_is_known_by_its_identity_though_the_vendor_driver_renames_it_again(lvm: CinderLvmLab) -> None:
    lvm.add_snapshot("daily")
    binding = bind(lvm, "daily")
    lvm.driver.manage_snapshot(binding)

    assert lvm.driver.find_snapshot(reference_to(binding.managed_name)).identity == binding.identity

    manage_unchecked(lvm, binding.managed_name)
    assert binding.managed_name not in lvm.names()


def test_size_is_that_of_the_volume_though_the_vendor_driver_reports_another(lvm: CinderLvmLab) -> None:
    extents = 3 * GIB // EXTENT_BYTES
    lvm.group.add_volumes("large", extents=extents)
    lvm.group.add_thick_snapshots("large", "daily", extents=extents)

    snapshot = lvm.driver.find_snapshot(reference_to("daily"))

    [entry] = lvm.process.call("snapshots", records={})["entries"]
    assert (snapshot.size_bytes, entry["size"]) == (3 * GIB, 0)
    assert [listed.size_bytes for listed in lvm.driver.list_snapshots()] == [3 * GIB]
    assert lvm.driver.manage_snapshot(bind(lvm, "daily")).size_bytes == 3 * GIB


def test_missing_group_is_an_error_though_the_vendor_driver_lists_nothing(lvm: CinderLvmLab) -> None:
    lvm.add_snapshot("daily")
    lvm.go_away()

    with pytest.raises(errors.BackendUnavailable):
        lvm.driver.list_snapshots()
    lvm.come_back()

    assert [snapshot.name for snapshot in lvm.driver.list_snapshots()] == ["daily"]


def test_reference_like_a_command_option_is_just_an_unknown_name(lvm: CinderLvmLab) -> None:
    for name in ("--config=global{}", "-an", "a || b"):
        with pytest.raises(errors.SourceNotFound):
            lvm.driver.find_snapshot(reference_to(name))


# Ceph.


def test_snapshot_name_of_several_images_is_looked_up_on_the_volume(rbd: CinderRbdLab) -> None:
    other = rbd.add_volume("image-2")
    for image in (rbd.volume, other):
        rbd.add_snapshot(f"{image}@daily")

    assert rbd.driver.find_snapshot(reference_to("daily"), other).name == f"{other}@daily"
    with pytest.raises(errors.InvalidReference, match="image-1@daily, image-2@daily"):
        rbd.driver.find_snapshot(reference_to("daily"))


def test_managed_snapshot_is_protected_and_unmanaged_unprotected(rbd: CinderRbdLab) -> None:
    rbd.add_snapshot(rbd.name_of("daily"))
    binding = bind(rbd, rbd.name_of("daily"))

    rbd.driver.manage_snapshot(binding)
    with rbd.image() as image:
        protected = image.is_protected_snap(binding.managed_name.partition("@")[2])
    rbd.driver.unmanage_snapshot(binding)

    with rbd.image() as image:
        assert (protected, image.is_protected_snap("daily")) == (True, False)


def test_snapshots_of_groups_are_unusable_though_the_vendor_driver_lists_them_as_safe(rbd: CinderRbdLab) -> None:
    rbd.add_snapshot(rbd.name_of("daily"))
    name = rbd.add_group_snapshot("group-1")

    found = {snapshot.name: snapshot.unsafe for snapshot in rbd.driver.list_snapshots()}

    assert found == {rbd.name_of("daily"): None, name: Unsafe.UNUSABLE}
    rbd.rbd.Group(rbd.ioctx, "group-1").remove_snap("group-1")


def test_snapshot_that_cinder_keeps_for_clones_is_unusable(rbd: CinderRbdLab) -> None:
    rbd.add_snapshot(rbd.name_of("x.clone_snap"))

    [snapshot] = rbd.driver.list_snapshots()

    assert snapshot.unsafe_reason == "used for clone snap"
