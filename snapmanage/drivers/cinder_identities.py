"""Identities of backend objects, for vendors' drivers of Cinder that don't tell them.

Cinder's listings tell names. Where a backend has stable ids as well and its driver gives a way to ask
for them, a function here asks. This runs beside Cinder, in `cinder_child`.
"""

from collections.abc import Callable, Mapping
from typing import Any

Driver = Any

# librbd's own constant: not a snapshot of a group, and not one in the trash.
SNAP_NAMESPACE_TYPE_USER = 0


def _lvm(driver: Driver) -> dict[str, str | None]:
    """The UUID of every logical volume by its name, from one `lvs`."""
    command = [*driver.vg.LVM_CMD_PREFIX, "lvs", "--noheadings", "-o", "lv_name,lv_uuid", driver.vg.vg_name]
    output, _ = driver._execute(*command, root_helper=driver.vg._root_helper, run_as_root=True)
    return {line.split()[0]: line.split()[1] for line in output.splitlines() if line.strip()}


def _rbd(driver: Driver) -> dict[str, str | None]:
    """Ids of images, and of snapshots within their image, by their names; those of groups can't be renamed."""
    from cinder.volume.drivers.rbd import RADOSClient, RBDVolumeProxy

    found: dict[str, str | None] = {}
    with RADOSClient(driver) as client:
        for name in driver.RBDProxy().list(client.ioctx):
            with RBDVolumeProxy(driver, name, read_only=True, client=client.cluster, ioctx=client.ioctx) as image:
                found[name] = image.id()
                for each in image.list_snaps():
                    own = each["namespace"] == SNAP_NAMESPACE_TYPE_USER
                    found[f"{name}@{each['name']}"] = f"{image.id()}/{each['id']}" if own else None
    return found


def _rbd_trash(driver: Driver) -> dict[str, str | None]:
    """Ids of images in the trash, and of their snapshots, by the names that they had."""
    from cinder.volume.drivers.rbd import RADOSClient

    found: dict[str, str | None] = {}
    with RADOSClient(driver) as client:
        for trashed in driver.RBDProxy().trash_list(client.ioctx):
            with driver.rbd.Image(client.ioctx, read_only=True, image_id=trashed["id"]) as image:
                found[trashed["name"]] = trashed["id"]
                found |= {
                    f"{trashed['name']}@{each['name']}": f"{trashed['id']}/{each['id']}" for each in image.list_snaps()
                }
    return found


# By the module of the driver's class. Names are as `cinder_vendors` writes them.
_BY_MODULE: Mapping[str, Callable[[Driver], dict[str, str | None]]] = {
    "cinder.volume.drivers.lvm": _lvm,
    "cinder.volume.drivers.rbd": _rbd,
}


# What isn't listed, and is on the backend all the same.
_HIDDEN: Mapping[str, Callable[[Driver], dict[str, str | None]]] = {"cinder.volume.drivers.rbd": _rbd_trash}


def objects(driver: Driver) -> dict[str, str | None] | None:
    """Return the table of `identities` with what is hidden in addition."""
    if (known := identities(driver)) is None:
        return None
    hidden = (_HIDDEN[kind.__module__](driver) for kind in type(driver).__mro__ if kind.__module__ in _HIDDEN)
    return {**next(hidden, {}), **known}


def identities(driver: Driver) -> dict[str, str | None] | None:
    """Identities by name, with None for what isn't to be seen; no table where nobody can be asked for any."""
    for kind in type(driver).__mro__:
        if kind.__module__ in _BY_MODULE:
            return _BY_MODULE[kind.__module__](driver)
    return None
