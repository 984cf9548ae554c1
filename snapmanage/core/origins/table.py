"""The table of known tools; `docs/reference/origins.md` shows it.

The first pattern that fits counts, so a pattern with more conditions is before a pattern with fewer.
"""

from collections.abc import Sequence

from snapmanage.core.origins.forms import Form
from snapmanage.core.origins.patterns import Clock, Origins, Pattern, Rename

_PERIODS = ("frequently", "hourly", "daily", "weekly", "monthly", "yearly")
_DATE_TIME = "{year}-{month}-{day}_{hour}:{minute}:{second}"
_ZFS = frozenset(("zfs", "file", "fake"))
_BTRFS = frozenset(("btrfs", "fake"))
_LVM = frozenset(("lvm", "cinder"))
_RBD = frozenset(("rbd", "cinder"))
_IMAGES = frozenset(("qcow2", "file"))
_UUID = "{uuid}"


def _forms(*texts: str, classes: Sequence[str] = ()) -> tuple[Form, ...]:
    return tuple(Form(text, classes) for text in texts)


# Proxmox names the disks of a guest so, and the file of a disk too.
_GUEST_DISKS = ("vm-{number}-disk-{number}", "base-{number}-disk-{number}", "subvol-{number}-disk-{number}")
_GUEST_VOLUMES = _forms(*_GUEST_DISKS, *(f"{each}.*" for each in _GUEST_DISKS))
_VM = "vm-{number}-disk-{number}"
_GUEST_WHY = "the configuration of a guest in Proxmox names it; remove it there first, or keep its name"
_INCUS_WHY = "the database of Incus or LXD names it; delete it there first, or keep its name"
_CSI_WHY = "an object in Kubernetes names it; its CSI driver would not find it any more"
_CINDER_WHY = (
    "Cinder names its snapshots so, and would not find it any more. If no Cinder knows it, as after the restore of an "
    "older database, an administrator may manage it with the metadata snapmanage:force=true"
)
_HOLDS_WHY = "it has holds, so a replication needs it; release them (zfs holds, zfs release), or keep its name"
_RETENTION_WHY = "{} no longer finds it by its name, so it neither counts nor removes it, and may take another"


def _retention(tool: str) -> str:
    return _RETENTION_WHY.format(tool)


_ON_ZFS = (
    Pattern(
        "sanoid",
        _forms(f"autosnap_{_DATE_TIME}_{{class}}", classes=_PERIODS),
        Rename.WARN,
        _retention("sanoid"),
        _ZFS,
        clock=Clock.LOCAL,
    ),
    Pattern(
        "syncoid",
        _forms("syncoid_*_{year}-{month}-{day}:{hour}:{minute}:{second}-GMT{offset}")
        + _forms("syncoid_*_{year}-{month}-{day}:{hour}:{minute}:{second}"),
        Rename.REFUSE,
        "syncoid needs this name for its next incremental send",
        _ZFS,
        clock=Clock.LOCAL,
    ),
    Pattern(
        "zfs-auto-snapshot",
        _forms("zfs-auto-snap_{class}-{year}-{month}-{day}-{hour}{minute}"),
        Rename.WARN,
        _retention("zfs-auto-snapshot"),
        _ZFS,
    ),
    *(
        Pattern(
            "zrepl",
            _forms(
                "*{year}{month}{day}_{hour}{minute}{second}_000",
                f"zrepl_*{_DATE_TIME}",
                "zrepl_*{year}-{month}-{day}T{hour}:{minute}:{second}.000{offset}",
            ),
            rename,
            why,
            _ZFS,
            requires=requires,
        )
        for rename, why, requires in (
            (Rename.REFUSE, _HOLDS_WHY, "userrefs"),
            (Rename.WARN, _retention("zrepl"), None),
        )
    ),
    Pattern(
        "pyznap",
        _forms(f"pyznap_{_DATE_TIME}_{{class}}", classes=("frequent", *_PERIODS[1:])),
        Rename.WARN,
        _retention("pyznap"),
        _ZFS,
        clock=Clock.LOCAL,
    ),
    Pattern(
        "zfsnap",
        _forms("*{year}-{month}-{day}_{hour}.{minute}.{second}--{class}"),
        Rename.WARN,
        "zfsnap reads the time to live in its name, and no longer removes it",
        _ZFS,
        clock=Clock.LOCAL,
    ),
    *(
        Pattern(
            "TrueNAS",
            _forms("auto-{year}-{month}-{day}_{hour}-{minute}"),
            rename,
            why,
            _ZFS,
            clock=Clock.LOCAL,
            requires=requires,
        )
        for rename, why, requires in (
            (Rename.REFUSE, _HOLDS_WHY, "userrefs"),
            (
                Rename.WARN,
                "TrueNAS no longer removes it, and a replication task of its dataset goes by names: it may need a "
                "whole send, so look at the tasks first",
                None,
            ),
        )
    ),
)
_PROXMOX = (
    Pattern(
        "Proxmox",
        _forms("__replicate_*__", "__migration__", "__base__"),
        Rename.REFUSE,
        "the replication, a migration or the clones of a guest in Proxmox need this name",
        frozenset(("zfs", "rbd", "cinder", "btrfs")),
    ),
    Pattern(
        "Proxmox",
        _forms(f"snap_{_VM}_*", f"snap_{_VM}.*"),
        Rename.REFUSE,
        _GUEST_WHY,
        frozenset(("lvm", "qcow2", "file", "cinder")),
    ),
    Pattern("Proxmox", _forms(f"snap-*-{_VM}", f"snap-*-{_VM}.*"), Rename.REFUSE, _GUEST_WHY, _IMAGES),
    Pattern(
        "Proxmox",
        _forms(*(f"*{each}@*" for each in _GUEST_DISKS)),
        Rename.REFUSE,
        _GUEST_WHY,
        _BTRFS,
    ),
)
_INCUS = (
    Pattern(
        "Incus",
        _forms("snapshot-*", "deleted-{uuid}", "copy-{uuid}", "migration-{uuid}", "readonly"),
        Rename.REFUSE,
        _INCUS_WHY,
        frozenset(("zfs",)),
        parents=_forms(*(f"*/{each}/*" for each in ("containers", "virtual-machines", "custom", "images", "deleted"))),
    ),
    Pattern(
        "Incus",
        _forms(*(f"*{each}-snapshots/*/*" for each in ("containers", "virtual-machines", "custom"))),
        Rename.REFUSE,
        _INCUS_WHY,
        _BTRFS,
    ),
    Pattern(
        "Incus",
        _forms("snapshot_*", "zombie_snapshot_*", "readonly"),
        Rename.REFUSE,
        _INCUS_WHY,
        _RBD,
        parents=_forms("container_*", "virtual-machine_*", "custom_*", "image_*", "zombie_*"),
    ),
    Pattern(
        "Incus",
        _forms("containers_*", "virtual-machines_*", "custom_*"),
        Rename.REFUSE,
        _INCUS_WHY,
        _LVM,
        parents=_forms("containers_*", "virtual-machines_*", "custom_*"),
        orphans=True,
    ),
)
_ON_BTRFS = (
    Pattern(
        "timeshift",
        _forms(
            "*snapshots/{year}-{month}-{day}_{hour}-{minute}-{second}/@*",
            "{year}-{month}-{day}_{hour}-{minute}-{second}/@*",
        ),
        Rename.WARN,
        _retention("timeshift"),
        _BTRFS,
        clock=Clock.LOCAL,
    ),
    Pattern(
        "snapper",
        _forms("*.snapshots/{number}/snapshot", "{number}/snapshot"),
        Rename.WARN,
        _retention("snapper"),
        _BTRFS,
    ),
    Pattern(
        "btrbk",
        _forms(
            *(
                f"*.{{year}}{{month}}{{day}}{time}{number}"
                for time in ("T{hour}{minute}{second}{offset}", "T{hour}{minute}", "")
                for number in ("", "_{number}")
            )
        ),
        Rename.REFUSE,
        "btrbk finds the parent of its next incremental send by this name",
        _BTRFS,
        clock=Clock.LOCAL,
    ),
)
_ON_LVM = (
    Pattern("snapper", _forms("*-snapshot{number}"), Rename.WARN, _retention("snapper"), frozenset(("lvm",))),
    Pattern(
        "OpenEBS",
        _forms(_UUID),
        Rename.REFUSE,
        _CSI_WHY,
        frozenset(("lvm",)),
        parents=_forms("pvc-{uuid}"),
    ),
)
_ON_RBD = (
    Pattern(
        "Glance",
        _forms("snap"),
        Rename.REFUSE,
        "Glance protects it as an image, and volumes and servers are cloned from it by this name",
        _RBD,
        parents=_forms(_UUID),
    ),
    Pattern(
        "ceph-csi",
        _forms("csi-snap-{uuid}", "csi-vol-{uuid}*"),
        Rename.REFUSE,
        "a journal of ceph-csi names it; delete the VolumeSnapshot in Kubernetes instead",
        _RBD,
    ),
)
_UUID_NAMES = (
    Pattern(
        "OpenEBS",
        _forms("snapshot-{uuid}"),
        Rename.REFUSE,
        _CSI_WHY,
        frozenset(("zfs",)),
        parents=_forms("pvc-{uuid}"),
    ),
    Pattern(
        "Cinder",
        _forms("snapshot-{uuid}", "_snapshot-{uuid}"),
        Rename.REFUSE,
        _CINDER_WHY,
        frozenset(("lvm", "rbd", "zfs", "cinder")),
        parents=_forms("volume-{uuid}", "volume-{uuid}.deleted"),
        orphans=True,
    ),
    Pattern(
        "Cinder",
        _forms("backup.{uuid}.snap.*"),
        Rename.REFUSE,
        "the backup service of Cinder sends its next increment from this name",
        _RBD,
    ),
    Pattern(
        "Cinder",
        _forms("volume-{uuid}", "volume-{uuid}.{uuid}"),
        Rename.REFUSE,
        "the file drivers of Cinder keep this name in a file of their own, and would not find it any more",
        frozenset(("qcow2",)),
    ),
    Pattern(
        "snapmanage",
        _forms("snapshot-{uuid}", "_snapshot-{uuid}"),
        Rename.WARN,
        "snapmanage gave it this name, but no record here has its id: another installation manages it, or its record "
        "was lost. Managing and unmanaging it restores this name, not an earlier one",
    ),
)
# Any snapshot of a guest's disk may be one of Proxmox, so this is the last resort.
_LAST = (
    Pattern(
        "Proxmox",
        _forms("*"),
        Rename.WARN,
        "it belongs to a disk of a guest in Proxmox, whose configuration names its own snapshots; look there first",
        frozenset(("zfs", "rbd", "cinder")),
        parents=_GUEST_VOLUMES,
    ),
)
BUILT_IN: Sequence[Pattern] = (
    *_ON_ZFS,
    *_PROXMOX,
    *_INCUS,
    *_ON_BTRFS,
    *_ON_LVM,
    *_ON_RBD,
    *_UUID_NAMES,
    *_LAST,
)
KNOWN = Origins(BUILT_IN)
