"""Odd shapes of RBD images and snapshots on a real pool; each function makes one image with a snapshot `daily`."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from snapmanage.drivers.system import ceph_bindings

MIB = 1024**2
LAYERING, EXCLUSIVE_LOCK, OPERATIONS, JOURNALING = 1, 4, 256, 64
NOT_UTF8 = b"caf\xe9"
SHOWN = "caf\\xe9"
UNKNOWN_FEATURE = 1 << 50
STRANGE_ID = "a@b/c"


class Oddities:
    """Makes odd shapes in the pool and namespace of `ioctx`, a pool of `cluster`."""

    def __init__(self, cluster: Any, ioctx: Any) -> None:
        self.rados, self.rbd = ceph_bindings.load()
        self.cluster = cluster
        self.ioctx = ioctx
        self.images = self.rbd.RBD()

    def make_all(self) -> None:
        """Make each shape, in images named after it."""
        self.format_1("format-1")
        self.headerless("headerless")
        self.corrupt("corrupt")
        self.corrupt_snapshot("corrupt-snapshot")
        self.orphan("parent", "orphan")
        self.without_name_object("without-name-object")
        self.demoted("demoted-journal", 0)
        self.demoted("demoted-snapshot", 1)
        self.without_journal("without-journal")
        self.migrating("migrating")
        self.of_unknown_feature("unknown-feature")
        self.of_unknown_operation("unknown-operation")
        self.in_trash("in-trash")
        self.grouped("grouped")
        self.linked_clones("golden", "linked")
        self.of_strange_id("strange-id")
        self.odd_names()

    def image(self, name: str | bytes, features: int | None = None, snapshot: str | None = "daily") -> str:
        """Make an image with one snapshot, and return its id."""
        self.images.create(self.ioctx, name, MIB, old_format=False, features=features)
        with self.rbd.Image(self.ioctx, name) as image:
            if snapshot is not None:
                image.create_snap(snapshot)
            return str(image.id())

    def format_1(self, name: str) -> None:
        """Make an image of format 1, which librbd refuses unless it is forced."""
        with pytest.MonkeyPatch.context() as patch, self._configured("rbd_default_format", "1", "2"):
            patch.setenv("RBD_FORCE_ALLOW_V1", "1")
            self.images.create(self.ioctx, name, MIB, old_format=True)
        with self.rbd.Image(self.ioctx, name) as image:
            assert image.old_format()
            image.create_snap("daily")

    def headerless(self, name: str) -> None:
        self.ioctx.remove_object(f"rbd_header.{self.image(name)}")

    def break_header(self, name: str) -> None:
        """Remove the header of an existing image."""
        with self.rbd.Image(self.ioctx, name, read_only=True) as image:
            header = f"rbd_header.{image.id()}"
        self.ioctx.remove_object(header)

    def corrupt(self, name: str) -> None:
        """Make an image whose opening fails with EIO, like one with an unreadable header."""
        self._write(self.image(name), {"size": b"\1"})

    def corrupt_snapshot(self, name: str) -> None:
        image_id = self.image(name)
        with self.rbd.Image(self.ioctx, name, read_only=True) as image:
            [snapshot] = image.list_snaps()
        self._write(image_id, {f"snapshot_{snapshot['id']:016x}": b"\xff"})

    def orphan(self, parent: str, name: str) -> None:
        """Make a clone with a snapshot of its own, and remove the header of its parent."""
        parent_id = self.image(parent)
        self._clone(parent, name)
        self.ioctx.remove_object(f"rbd_header.{parent_id}")

    def without_name_object(self, name: str) -> None:
        """Make an image that is in the pool's directory, but that librbd doesn't find by its name."""
        self.image(name)
        self.ioctx.remove_object(f"rbd_id.{name}")

    def demoted(self, name: str, mode: int) -> None:
        """Make a mirror image that isn't primary; `mode` is 0 for journals and 1 for snapshots."""
        self.image(name, LAYERING | EXCLUSIVE_LOCK | (0 if mode else JOURNALING))
        self.demote(name, mode)

    def demote(self, name: str, mode: int) -> None:
        """Mirror an existing image and demote it."""
        self.images.mirror_mode_set(self.ioctx, self.rbd.RBD_MIRROR_MODE_IMAGE)
        with self.rbd.Image(self.ioctx, name) as image:
            image.mirror_image_enable(mode)
        with self.rbd.Image(self.ioctx, name) as image:
            image.mirror_image_demote()

    def without_journal(self, name: str) -> None:
        self.ioctx.remove_object(f"journal.{self.image(name, LAYERING | EXCLUSIVE_LOCK | JOURNALING)}")

    def migrating(self, name: str) -> None:
        """Make the target of a migration; the source is in the trash."""
        self.image(f"{name}-source")
        self.images.migration_prepare(self.ioctx, f"{name}-source", self.ioctx, name)

    def of_unknown_feature(self, name: str) -> None:
        self._write(self.image(name), {"features": struct.pack("<Q", LAYERING | UNKNOWN_FEATURE)})

    def of_unknown_operation(self, name: str) -> None:
        """Make an image with an operation feature of a newer librbd, which is read-only for this one."""
        features = struct.pack("<Q", LAYERING | OPERATIONS)
        self._write(self.image(name), {"features": features, "op_features": struct.pack("<Q", 1 << 40)})

    def of_strange_id(self, name: str) -> None:
        """Give an image an id with other characters than those of RBD, in all of its objects."""
        image_id = self.image(name)
        with self.rados.ReadOpCtx() as read:
            header, _ = self.ioctx.get_omap_vals(read, "", "", 100)
            self.ioctx.operate_read_op(read, f"rbd_header.{image_id}")
            keys = dict(header)
        self._write(STRANGE_ID, keys)
        id_text, name_text = (struct.pack("<I", len(text)) + text.encode() for text in (STRANGE_ID, name))
        self.ioctx.write_full(f"rbd_id.{name}", id_text)
        self._write_object("rbd_directory", {f"name_{name}": id_text, f"id_{STRANGE_ID}": name_text})
        with self.rados.WriteOpCtx() as write:
            self.ioctx.remove_omap_keys(write, (f"id_{image_id}",))
            self.ioctx.operate_write_op(write, "rbd_directory")

    def in_trash(self, name: str) -> str:
        """Move an image to the trash, and return its id."""
        image_id = self.image(name)
        self.images.trash_move(self.ioctx, name, 3600)
        return image_id

    def grouped(self, name: str) -> None:
        self.image(name)
        self.images.group_create(self.ioctx, f"group-of-{name}")
        group = self.rbd.Group(self.ioctx, f"group-of-{name}")
        group.add_image(self.ioctx, name)
        group.create_snap("weekly")

    def linked_clones(self, golden: str, name: str) -> None:
        """Make clones of a snapshot, of a protected snapshot, and of a snapshot that is then removed to the trash."""
        self.image(golden)
        with self.rbd.Image(self.ioctx, golden) as image:
            image.create_snap("removed")
            image.create_snap("protected")
            image.protect_snap("protected")
        self._clone(golden, f"{name}-1", "daily")
        self._clone(golden, f"{name}-2", "protected", "1")
        self._clone(golden, f"{name}-3", "removed")
        with self.rbd.Image(self.ioctx, golden) as image:
            image.remove_snap("removed")

    def odd_names(self) -> None:
        self.image("a@b", snapshot="c@d/e")
        self.image("a/b c", snapshot="")
        self.image("long-" + "n" * 1000, snapshot="m" * 2000)
        self.not_in_utf8()
        self.snapshot_not_in_utf8("odd-snapshot")

    def not_in_utf8(self) -> None:
        self.images.create(self.ioctx, NOT_UTF8, MIB, old_format=False)

    def snapshot_not_in_utf8(self, image_name: str) -> None:
        header = f"rbd_header.{self.image(image_name)}"
        argument = struct.pack(f"<I{len(NOT_UTF8)}sQ", len(NOT_UTF8), NOT_UTF8, 10**6)
        self.ioctx.execute(header, "rbd", "snapshot_add", argument)

    def _clone(self, parent: str, name: str, snapshot: str = "daily", version: str = "2") -> None:
        """Clone a snapshot, and take a snapshot of the clone; version 1 needs a protected snapshot."""
        with self._configured("rbd_default_clone_format", version, "auto"):
            self.images.clone(self.ioctx, parent, snapshot, self.ioctx, name)
        with self.rbd.Image(self.ioctx, name) as image:
            image.create_snap("daily")

    def _write(self, image_id: str, keys: Mapping[str, bytes]) -> None:
        """Overwrite keys of an image's header."""
        self._write_object(f"rbd_header.{image_id}", keys)

    def _write_object(self, name: str, keys: Mapping[str, bytes]) -> None:
        with self.rados.WriteOpCtx() as operation:
            self.ioctx.set_omap(operation, tuple(keys), tuple(keys.values()))
            self.ioctx.operate_write_op(operation, name)

    @contextmanager
    def _configured(self, option: str, value: str, default: str) -> Iterator[None]:
        self.cluster.conf_set(option, value)
        try:
            yield
        finally:
            self.cluster.conf_set(option, default)
