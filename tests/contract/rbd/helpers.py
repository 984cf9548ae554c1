"""Helpers for the tests of the RBD driver, whose laboratory has one snapshot, `image-1@daily`."""

from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot, Binding, refuse_unsafe
from snapmanage.core.reference import Reference
from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab

DAILY = "image-1@daily"
MANAGED = "image-1@snapshot-1"


def find(driver: RbdDriver, name: str = DAILY, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.named(name), volume)


def find_by_id(driver: RbdDriver, text: str, volume: str | None = None) -> BackendSnapshot:
    return driver.find_snapshot(Reference.of({"source-id": text}), volume)


def bind(driver: RbdDriver, name: str = DAILY) -> Binding:
    return Binding(find(driver, name).identity, name, MANAGED)


def is_protected(lab: RbdLab, name: str) -> bool:
    with lab.image() as image:
        return bool(image.is_protected_snap(name.partition("@")[2]))


def protection_keys(lab: RbdLab) -> list[Any]:
    """Return snapmanage's keys in the image's metadata."""
    with lab.image() as image:
        return list(image.metadata_list())


def clone(lab: RbdLab, snapshot: str, version: int) -> None:
    """Clone a snapshot: version 1 needs a protected snapshot; version 2 doesn't, and the snapshot stays removable."""
    lab.cluster.conf_set("rbd_default_clone_format", str(version))
    lab.rbd.RBD().clone(lab.ioctx, "image-1", snapshot, lab.ioctx, "clone")


def list_by_name(driver: RbdDriver) -> dict[str, BackendSnapshot]:
    return {each.name: each for each in driver.list_snapshots()}


def refusal_text(driver: RbdDriver, snapshot: BackendSnapshot) -> str:
    """Return the text of the final refusal to manage the snapshot."""
    with pytest.raises(errors.Unusable) as caught:
        refuse_unsafe(find(driver, snapshot.name, snapshot.parent))
    return str(caught.value)
