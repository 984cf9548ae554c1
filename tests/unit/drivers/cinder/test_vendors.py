"""How vendors name snapshots, and what a managed name tells."""

import uuid
from typing import Any

import pytest

from snapmanage.drivers.cinder import objects
from snapmanage.drivers.cinder.vendors import Vendor, record_id, vendor_of

RECORD = str(uuid.UUID(int=7))
NAME = f"snapshot-{RECORD}"


@pytest.mark.parametrize(
    ("volume_driver", "whole", "handed"),
    [
        ("cinder.volume.drivers.lvm.LVMVolumeDriver", f"_{NAME}", f"_{NAME}"),
        ("cinder.volume.drivers.rbd.RBDDriver", f"disk-1@{NAME}", NAME),
        ("cinder.volume.drivers.pure.PureFCDriver", f"disk-1.{NAME}", NAME),
        ("cinder.volume.drivers.infinidat.InfiniboxVolumeDriver", NAME, NAME),
    ],
)
def test_managed_name_is_the_vendors_and_the_record_is_read_from_it(
    volume_driver: str, whole: str, handed: str
) -> None:
    vendor = vendor_of(volume_driver)

    assert vendor.managed_name("disk-1", NAME) == whole
    assert vendor.handed_name("disk-1", whole) == handed
    assert record_id("snapshot-%s", whole) == RECORD


def test_name_that_is_not_reserved_stays() -> None:
    assert vendor_of("cinder.volume.drivers.lvm.LVMVolumeDriver").managed_name("disk-1", "mine-1") == "mine-1"


def test_driver_that_nobody_knows_is_taken_to_choose_names_itself() -> None:
    assert vendor_of("my.package.Driver") == Vendor()


@pytest.mark.parametrize(
    ("template", "name"),
    [("snapshot-%s", "daily"), ("snapshot-%s", f"backup-{RECORD}"), ("snapshot-%s", f"{NAME}-old"), ("", RECORD)],
)
def test_name_of_another_form_is_no_records(template: str, name: str) -> None:
    assert record_id(template, name) is None


def test_snapshot_is_read_by_attribute_and_by_key_as_cinders_are() -> None:
    volume = objects.volume(["id", "name", "host"], "volume-1", 3)
    snapshot: Any = objects.snapshot(["id", "name", "provider_location", "cgsnapshot_id"], RECORD, NAME, volume)

    assert (snapshot.id, snapshot["name"], snapshot.get("volume_size")) == (RECORD, NAME, 3)
    assert (snapshot.volume.name, snapshot.volume_name, snapshot["volume"]["name"]) == ("volume-1",) * 3
    assert snapshot.provider_location is None
    assert "volume_id" in snapshot
    assert "nonsense" not in snapshot
    with pytest.raises(KeyError):
        snapshot["nonsense"]
    with pytest.raises(AttributeError):
        _ = snapshot.nonsense


def test_id_is_the_one_in_the_name_or_always_the_same() -> None:
    assert objects.id_of(f"volume-{RECORD}") == RECORD
    assert objects.id_of("disk-1") == objects.id_of("disk-1") != objects.id_of("disk-2")
