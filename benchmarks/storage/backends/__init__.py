"""Backends with many snapshots, each made for one run by a module of its own."""

from benchmarks.storage.backends import btrfs, file, lvm, qcow2, rbd, zfs
from benchmarks.storage.backends.backend import Backend, Maker

__all__ = ["MAKERS", "Backend"]

MAKERS: dict[str, Maker] = {
    "file": file.made,
    "btrfs": btrfs.made,
    "zfs": zfs.made,
    "rbd": rbd.made,
    "lvm": lvm.made,
    "qcow2": qcow2.made,
}
