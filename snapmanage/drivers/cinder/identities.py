"""Identities of backend objects, for vendor drivers whose listings lack them.

Listings of Cinder have names. Where the backend has stable ids too, and the driver offers a way to read them, a
function here reads them. This module runs beside Cinder, in `child`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from snapmanage.drivers.cinder import ceph

Driver = Any


def _read_lvm(driver: Driver) -> dict[str, str | None]:
    """Return the UUID of every logical volume by its name, from one `lvs`."""
    command = [*driver.vg.LVM_CMD_PREFIX, "lvs", "--noheadings", "-o", "lv_name,lv_uuid", driver.vg.vg_name]
    # Cinder's drivers give no other access to their own command runner.
    output, _ = driver._execute(*command, root_helper=driver.vg._root_helper, run_as_root=True)  # noqa: SLF001
    return {line.split()[0]: line.split()[1] for line in output.splitlines() if line.strip()}


# By the module of the driver's class. Names are whole names, as in `vendors`.
_BY_MODULE: Mapping[str, Callable[[Driver], dict[str, str | None]]] = {
    "cinder.volume.drivers.lvm": _read_lvm,
}


def all_identities(driver: Driver, ids: Collection[str]) -> Mapping[str, str | None] | None:
    """Return the identities of all objects on the backend, by name; None where the driver can't read any.

    The backend doesn't list some objects, such as images in Ceph's trash; those with one of `ids` are included.
    """
    return ceph.all_identities(driver, ids) if _is_ceph(driver) else read_identities(driver)


def read_identities(driver: Driver) -> dict[str, str | None] | None:
    """Return identities by name, as `entries.Identities`; None where the driver can't read any."""
    for kind in type(driver).__mro__:
        if kind.__module__ in _BY_MODULE:
            return _BY_MODULE[kind.__module__](driver)
    return None


def list_entries(driver: Driver, scan: Callable[[], list[dict[str, Any]]], snapshots: bool) -> Mapping[str, Any]:
    """Return the entries of the driver's `scan` with their identities, and refusals that the driver doesn't report.

    `snapshots` is true for a scan of snapshots, false for a scan of volumes.
    """
    if _is_ceph(driver):
        return ceph.list_entries(driver, scan, snapshots)
    entries = scan()
    return {"entries": entries, "identities": read_identities(driver), "refusals": {}}


def _is_ceph(driver: Driver) -> bool:
    return any(kind.__module__ == "cinder.volume.drivers.rbd" for kind in type(driver).__mro__)
