"""Managed names of vendor drivers, and the record ids in them."""

import uuid
from typing import Any

import pytest

from snapmanage.drivers.cinder import objects
from snapmanage.drivers.cinder.vendors import Vendor, parse_record_id, vendor_of

RECORD = str(uuid.UUID(int=7))
NAME = f"snapshot-{RECORD}"


@pytest.mark.parametrize(
    ("volume_driver", "whole", "argument"),
    [
        ("cinder.volume.drivers.lvm.LVMVolumeDriver", f"_{NAME}", f"_{NAME}"),
        ("cinder.volume.drivers.rbd.RBDDriver", f"disk-1@{NAME}", NAME),
        ("cinder.volume.drivers.pure.PureFCDriver", f"disk-1.{NAME}", NAME),
        ("cinder.volume.drivers.infinidat.InfiniboxVolumeDriver", NAME, NAME),
    ],
)
def test_managed_name_has_the_vendors_form_and_contains_the_record_id(
    volume_driver: str, whole: str, argument: str
) -> None:
    vendor = vendor_of(volume_driver)

    assert vendor.managed_name("disk-1", NAME) == whole
    assert vendor.name_argument("disk-1", whole) == argument
    assert parse_record_id("snapshot-%s", whole) == RECORD


def test_name_without_a_reserved_prefix_is_unchanged() -> None:
    assert vendor_of("cinder.volume.drivers.lvm.LVMVolumeDriver").managed_name("disk-1", "mine-1") == "mine-1"


def test_unknown_driver_is_assumed_to_choose_names_itself() -> None:
    assert vendor_of("my.package.Driver") == Vendor()


@pytest.mark.parametrize(
    ("template", "name"),
    [("snapshot-%s", "daily"), ("snapshot-%s", f"backup-{RECORD}"), ("snapshot-%s", f"{NAME}-old"), ("", RECORD)],
)
def test_name_of_another_form_has_no_record_id(template: str, name: str) -> None:
    assert parse_record_id(template, name) is None


def test_stand_in_is_read_by_attribute_and_by_key_like_cinders_objects() -> None:
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


def test_id_is_the_uuid_in_the_name_or_derived_from_it() -> None:
    assert objects.id_of(f"volume-{RECORD}") == RECORD
    assert objects.id_of("disk-1") == objects.id_of("disk-1") != objects.id_of("disk-2")
