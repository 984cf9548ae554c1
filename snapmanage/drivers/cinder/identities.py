"""Identities of backend objects, for vendors' drivers of Cinder that don't tell them.

Cinder's listings tell names. Where a backend has stable ids as well and its driver gives a way to ask
for them, a function here asks. This runs beside Cinder, in `child`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from snapmanage.drivers.cinder import ceph

Driver = Any


def _lvm(driver: Driver) -> dict[str, str | None]:
    """The UUID of every logical volume by its name, from one `lvs`."""
    command = [*driver.vg.LVM_CMD_PREFIX, "lvs", "--noheadings", "-o", "lv_name,lv_uuid", driver.vg.vg_name]
    output, _ = driver._execute(*command, root_helper=driver.vg._root_helper, run_as_root=True)
    return {line.split()[0]: line.split()[1] for line in output.splitlines() if line.strip()}


# By the module of the driver's class. Names are as `vendors` writes them.
_BY_MODULE: Mapping[str, Callable[[Driver], dict[str, str | None]]] = {
    "cinder.volume.drivers.lvm": _lvm,
}


def objects(driver: Driver, wanted: Collection[str]) -> Mapping[str, str | None] | None:
    """Return identities by name of what is on the backend, of whatever kind, where the driver's backend tells.

    Of what no directory shows, as images in Ceph's trash, there is what has one of the `wanted` identities.
    """
    return ceph.objects(driver, wanted) if _is_ceph(driver) else identities(driver)


def identities(driver: Driver) -> dict[str, str | None] | None:
    """Identities by name, with None for what isn't to be seen; no table where nobody can be asked for any."""
    for kind in type(driver).__mro__:
        if kind.__module__ in _BY_MODULE:
            return _BY_MODULE[kind.__module__](driver)
    return None


def listed(driver: Driver, scan: Callable[[], list[dict[str, Any]]], snapshots: bool) -> Mapping[str, Any]:
    """The entries that the driver's `scan` lists, with identities, and with refusals by name where the driver has none.

    `snapshots` says what is listed: snapshots or volumes.
    """
    if _is_ceph(driver):
        return ceph.listed(driver, scan, snapshots)
    entries = scan()
    return {"entries": entries, "identities": identities(driver), "refusals": {}}


def _is_ceph(driver: Driver) -> bool:
    return any(kind.__module__ == "cinder.volume.drivers.rbd" for kind in type(driver).__mro__)
