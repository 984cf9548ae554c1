"""A directory of qcow2 images, local or on a network file system: external chains and internal snapshots.

**External.** The image on top of a chain, which no other image records as its backing file, is the volume.
Each backing file below it, qcow2 or raw, is a snapshot of it, `{"source-name": "FILE"}`. Managed, it gets
its new name, and its overlays record it; `renames` tells how, and what a crash or a late worker leaves.

**Internal.** A snapshot inside an image is `{"source-name": "FILE/ID"}`, ID being what `qemu-img snapshot -l`
shows first: names aren't unique, and qemu-img can't rename. So nothing is changed when it is managed: its
managed name is its name, and that it is managed stands in our record alone. Its identity is the file's with
the id and the moment of its birth, by which it is found again when its file is called otherwise.

**Never trusted.** No format is probed: an image is read as qcow2 where its name says so (`image_patterns`)
or its overlay does, and `qemu-img` is told each format. What an image records is followed only to a regular
file of this directory, of a recorded format; anything else makes the snapshot unusable, with the reason. A record
in another form that may mean a file of the directory keeps that file from being renamed (`references`).

**In use.** A running QEMU has locks on its image and on all backing files below. A snapshot is in use where
it or an overlay that would have to be changed has a lock. Who opens an image with locking switched off, or
beyond a mount without locks (`nolock`), isn't seen.

**Late renames.** The look and the rename are under one lock of the directory: while a worker is frozen in between,
the attempts of others fail with an error that may pass. One whose host has lost the lock may still take its next
steps: `renames` tells why they do no harm.

A volume is registered as the file on top. A new external snapshot puts another file there, which is another
volume to us: register that one too, before managing what is below it.
"""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers import renaming
from snapmanage.drivers.qcow2 import qemu_img, renames
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.format import InternalSnapshot
from snapmanage.drivers.qcow2.image import MAX_NAME_BYTES, Image
from snapmanage.drivers.qcow2.paths import PathResolver
from snapmanage.drivers.system import files

LOG = logging.getLogger(__name__)


class Qcow2Driver:
    """Snapshots in and among the qcow2 images of one directory; the module tells what counts as one."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "directory",
            help="The directory of the images, required, an absolute path. Nothing outside of it is changed; what "
            "images record is looked up, and images that symbolic links of the directory lead to are read.",
        ),
        cfg.ListOpt(
            "image_patterns",
            default=["*.qcow2"],
            help="What images on top of their chains are called, with * and ?. More patterns show more volumes and "
            "what is below them; a raw image that fits would be taken for what its data claim.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="How long one qemu-img may take, and how long to wait while another renames in the directory. "
            "Raise it for slow storage; lower it to learn of a hanging one sooner.",
        ),
    ]

    def __init__(
        self,
        directory: str | None = None,
        image_patterns: Sequence[str] = ("*.qcow2",),
        command_timeout_seconds: float = 60,
    ) -> None:
        self._path = directory or ""
        self._patterns = image_patterns
        self._deadline_seconds = command_timeout_seconds
        self._paths = PathResolver()

    def check(self) -> None:
        if not os.path.isabs(self._path):
            raise errors.ConfigurationError(f"directory is {self._path!r}: set it to the absolute path of the images")
        with self._opened() as directory:
            if not os.access(self._path, os.R_OK | os.W_OK | os.X_OK):
                raise errors.BackendPermission(f"let snapmanage read, enter and write {self._path!r}")
            renames.check(directory)
        qemu_img.check(self._deadline_seconds)

    def storage_id(self) -> str | None:
        return files.storage_id(self._path)

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._locked() as names:
            chains = names.directory.scan()
        if unreadable := chains.unreadable():
            name, wrong = unreadable[0]
            LOG.error("%d images in %s can't be read whole: %r: %s.", len(unreadable), self._path, name, wrong)
        return list(chains.snapshots())

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        name = reference.name()
        file, slash, id = name.partition("/")
        chains, image = self._find(file)
        if image is None:
            raise errors.NotASnapshot(f"{file!r} {_NOT_AN_IMAGE}")
        if slash:
            found = chains.internal(image, file, _entry(image, file, id))
        elif chains.overlays_of(image):
            found = chains.external(image, file)
        else:
            raise errors.NotASnapshot(f"no image has {file!r} as its backing file, so it is no snapshot")
        return found if found.parent or volume is None else chains.for_volume(volume, found, image)

    def find_volume(self, reference: Reference) -> BackendVolume:
        file, slash, _ = reference.name().partition("/")
        chains, image = self._find(file)
        if image is None:
            raise errors.NotAVolume(f"{file!r} {_NOT_AN_IMAGE}")
        if slash:
            raise errors.NotAVolume(f"{reference.name()!r} is a snapshot inside of {file!r}")
        if above := chains.overlays_of(image):
            raise errors.NotAVolume(f"{file!r} is the backing file of {above[0].name!r}, so it is a snapshot")
        if flaw := chains.unusable_reason(image):
            raise errors.NotAVolume(f"{file!r} can't be used as a volume: {flaw}")
        return BackendVolume(file, image.identity, image.size_bytes)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with self._locked() as there:
            return there.directory.locate(identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        if "/" in found.name:
            return found.name
        ending = os.path.splitext(found.name)[1]
        wanted = f"{name}{ending if len(ending.encode()) <= _MAX_EXTENSION_BYTES else ''}"
        if not files.is_valid_name(wanted) or len(wanted.encode()) > MAX_NAME_BYTES:
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {wanted!r}, which is no file name of at most "
                f"{MAX_NAME_BYTES} bytes: change snapshot_name_template"
            )
        if len(found.name.encode()) > MAX_NAME_BYTES:
            raise errors.InvalidReference(
                f"{found.name!r} couldn't be given back: rename it to at most {MAX_NAME_BYTES} bytes first"
            )
        return wanted

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        with self._locked() as names:
            if "/" in binding.managed_name:
                # Its file may have been renamed since it was found.
                for found in names.directory.scan().snapshots():
                    if found.identity == binding.identity:
                        return found
                raise errors.SourceNotFound(
                    f"{binding.original_name!r} is gone, or is another snapshot by now; list it again"
                )
            names.finish_interrupted(binding.identity, binding.original_name, binding.managed_name)
            return renaming.manage(names, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        with self._locked() as names:
            names.finish_interrupted(binding.identity, binding.managed_name, binding.original_name)
            renaming.unmanage(names, binding)

    @contextmanager
    def _opened(self) -> Iterator[Directory]:
        with files.opened_directory(self._path) as fd:
            yield Directory(fd, self._path, self._patterns, self._paths)

    @contextmanager
    def _locked(self) -> Iterator[renames.LockedDirectory]:
        """Nobody renames meanwhile: in the middle of it, images look as if they were in use, or broken."""
        with self._opened() as directory, renames.locked(directory, self._deadline_seconds) as names:
            yield names

    def _find(self, file: str) -> tuple[Chains, Image | None]:
        if not files.is_valid_name(file):
            raise errors.InvalidReference(
                f"{file!r} is no image in the directory: give FILE, or FILE/ID for a snapshot inside of an image; "
                "the file's name has no NUL and doesn't begin with a dot"
            )
        with self._locked() as names:
            if names.directory.identity(file) is None:
                raise errors.SourceNotFound(f"there is no file {file!r} in {self._path!r}")
            chains = names.directory.scan()
        return chains, chains.image(file)


# A longer one is no kind of file, and would leave no room for the name.
_MAX_EXTENSION_BYTES = 16

_NOT_AN_IMAGE = (
    "is no image: it is no regular file, or neither does its name fit image_patterns nor has an image recorded it "
    "as its backing file"
)


def _entry(image: Image, file: str, id: str) -> InternalSnapshot:
    if image.header is None or image.header.internal_error:
        wrong = image.header.internal_error if image.header else image.error or "it is raw"
        raise errors.NotASnapshot(f"the snapshots inside of {file!r} can't be read: {wrong}")
    for entry in image.header.internal_snapshots:
        if entry.id == id:
            return entry
    raise errors.SourceNotFound(f"{file!r} has no snapshot of the id {id!r}; see qemu-img snapshot -l {file}")
