"""Bindings and listings of the btrfs driver."""

import uuid

from snapmanage.core.backend import BackendSnapshot, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.btrfs.driver import BtrfsDriver


def bind(driver: BtrfsDriver, name: str) -> Binding:
    return binding_of(driver, driver.find_snapshot(Reference.named(name)))


def binding_of(driver: BtrfsDriver, found: BackendSnapshot) -> Binding:
    return Binding(found.identity, found.name, driver.managed_name(found, f"snapshot-{uuid.uuid4()}"))


def parents_by_name(driver: BtrfsDriver) -> dict[str, str | None]:
    """Return the parent of each listed snapshot."""
    return {found.name: found.parent for found in driver.list_snapshots()}
