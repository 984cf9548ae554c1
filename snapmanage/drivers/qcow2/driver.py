"""Snapshots in a directory of qcow2 images, local or on a network file system: backing files and internal snapshots.

Terms, as QEMU uses them. An *image* is a file that this driver reads as qcow2 or raw. An *overlay* is an image that
shows the data of another file, its *backing file*, wherever it has no data of its own. A *chain* is an overlay with
all backing files below it. The *backing file name* is the text in an overlay that names its backing file: a plain
name, a path, a URL or JSON. The *data file name* is the text in an image that keeps its data in another file.

**Names.** The image on top of a chain, which is no backing file of another image, is the volume. Each backing file
below it, qcow2 or raw, is an external snapshot of that volume: `{"source-name": "FILE"}`. A snapshot inside an image
is an internal snapshot: `{"source-name": "FILE/ID"}`. ID is the first column of `qemu-img snapshot -l`, because the
names in the second column aren't unique. When an operator takes a new external snapshot, another file becomes the
volume. Register that file too before managing the snapshots below it.

**Identity.** A file is identified by its inode number and its birth time (`snapmanage.drivers.system.files`). An
internal snapshot is identified by its file, its ID and its creation time, so it is found again after its file was
renamed.

**Sizes.** A size is the virtual size: the one in the qcow2 header, the one that an internal snapshot was taken with,
or the file size of a raw image.

**Refusals.** The driver never probes a format. A file is read as qcow2 only if its name matches `image_patterns` or
its overlay records the format qcow2, and `qemu-img` gets each format as an argument. A backing file name is followed
only to a regular file of this directory whose format the overlay records. Any other backing file name makes the
snapshot unusable, and the listing reports the reason. If a name in any file may mean an image of this directory and
can't be rewritten, that image isn't renamed (`obstacles`).

**In use.** A running QEMU holds locks on its image and on all backing files below it. An external snapshot is in use
if its file or one of its overlays is locked, because a rename changes both. An internal snapshot is in use if its
file is locked. The driver can't see a program that opens an image with locking turned off or through a mount without
locks (`nolock`).

**Renames.** A managed external snapshot gets its new file name, and its overlays record that name. `renames` lists
the steps and how the driver recovers from a crash between them. An internal snapshot keeps its name, because
`qemu-img` can't rename it; only snapmanage's database shows that it is managed.

**Late renames.** The lookup and the rename run under one lock of the directory. If a worker is frozen in between,
other workers fail with an error that a retry can cure. A host that has lost the lock of a network file system may
still run its next steps; `renames` explains why they do no harm.
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
from snapmanage.core.values.logfields import fields
from snapmanage.drivers import renaming
from snapmanage.drivers.qcow2 import qemu_img, renames
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.format import InternalSnapshot
from snapmanage.drivers.qcow2.image import MAX_NAME_BYTES, Image
from snapmanage.drivers.qcow2.paths import Resolvers
from snapmanage.drivers.system import files, permissions

LOG = logging.getLogger(__name__)

# A longer suffix of a file name is no file type. It would leave too little room for the managed name.
_MAX_EXTENSION_BYTES = 16

_NOT_AN_IMAGE = (
    "is not an image: give a regular file whose name matches image_patterns, or one that an image records as its "
    "backing file"
)


class Qcow2Driver:
    """Driver for the qcow2 images of one directory; the module docstring defines its volumes and snapshots."""

    options: ClassVar[Sequence[cfg.Opt]] = [
        cfg.StrOpt(
            "directory",
            help="Absolute path of the directory with the images; required. snapmanage changes nothing outside of it, "
            "but reads images that symbolic links in the directory lead to, and looks up the files that images name.",
        ),
        cfg.ListOpt(
            "image_patterns",
            default=["*.qcow2"],
            help="Patterns, with * and ?, for the names of the images on top of their chains. More patterns add "
            "volumes and the snapshots below them. Match no raw image: its data, which a guest may have written, would "
            "be read as qcow2.",
        ),
        cfg.FloatOpt(
            "command_timeout_seconds",
            default=60,
            min=1,
            help="Time limit of one qemu-img command, and of waiting for another process that renames in the "
            "directory. Raise it for slow storage; lower it to get an error sooner if the storage hangs.",
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
        self._timeout_seconds = command_timeout_seconds
        self._resolvers = Resolvers()

    def check(self) -> None:
        if not os.path.isabs(self._path):
            raise errors.ConfigurationError(
                f"the option directory is {self._path!r}: set it to the absolute path of the directory with the images"
            )
        with self._open_directory() as directory:
            permissions.require_use(self._path)
            renames.check(directory)
        qemu_img.check(self._timeout_seconds)

    def storage_id(self) -> str | None:
        return files.storage_id(self._path)

    def list_snapshots(self) -> list[BackendSnapshot]:
        with self._lock_directory() as locked:
            chains = locked.directory.scan()
        if unreadable := chains.unreadable():
            name, reason = unreadable[0]
            LOG.error(
                "Images can't be read completely, so their internal snapshots are not listed: %s",
                fields(directory=self._path, images=len(unreadable), first=name, reason=reason),
            )
        return list(chains.snapshots())

    def list_volumes(self) -> list[BackendVolume]:
        with self._lock_directory() as locked:
            return list(locked.directory.scan().volumes())

    def find_snapshot(self, reference: Reference, volume: str | None = None) -> BackendSnapshot:
        file, slash, id = reference.name().partition("/")
        chains, image = self._find(file)
        if image is None:
            raise errors.NotASnapshot(f"{file!r} {_NOT_AN_IMAGE}")
        if slash:
            found = chains.internal(image, file, _internal_snapshot(image, file, id))
        elif chains.overlays_of(image):
            found = chains.external(image, file)
        else:
            raise errors.NotASnapshot(f"{file!r} is not a snapshot: no image has it as its backing file")
        return found if found.parent or volume is None else chains.for_volume(volume, found, image)

    def find_volume(self, reference: Reference) -> BackendVolume:
        file, slash, _ = reference.name().partition("/")
        chains, image = self._find(file)
        if image is None:
            raise errors.NotAVolume(f"{file!r} {_NOT_AN_IMAGE}")
        if slash:
            raise errors.NotAVolume(f"{reference.name()!r} is a snapshot inside {file!r}: name the image as the volume")
        if overlays := chains.overlays_of(image):
            raise errors.NotAVolume(
                f"{file!r} is the backing file of {overlays[0].name!r}, so it is a snapshot: name the image on top of "
                "the chain as the volume"
            )
        if reason := chains.unusable_reason(image):
            raise errors.NotAVolume(f"{file!r} can't be used as a volume: {reason}")
        return chains.volume(image, file)

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        with self._lock_directory() as locked:
            return locked.directory.locate(identities, names)

    def managed_name(self, found: BackendSnapshot, name: str) -> str:
        if "/" in found.name:
            return found.name
        extension = os.path.splitext(found.name)[1]
        managed = f"{name}{extension if len(extension.encode()) <= _MAX_EXTENSION_BYTES else ''}"
        if not files.is_valid_name(managed) or len(managed.encode()) > MAX_NAME_BYTES:
            raise errors.ConfigurationError(
                f"{found.name!r} can't be renamed to {managed!r}, which is not a file name of at most "
                f"{MAX_NAME_BYTES} bytes: change snapshot_name_template"
            )
        if len(found.name.encode()) > MAX_NAME_BYTES:
            raise errors.InvalidReference(
                f"{found.name!r} couldn't be unmanaged, because its name is too long: rename it to at most "
                f"{MAX_NAME_BYTES} bytes first"
            )
        return managed

    def manage_snapshot(self, binding: Binding) -> BackendSnapshot:
        with self._lock_directory() as locked:
            if "/" in binding.managed_name:
                # Look for the identity: the file of an internal snapshot may have been renamed.
                wanted = binding.identity.partition("/")[0]
                for found in locked.directory.scan(wanted).snapshots():
                    if found.identity == binding.identity:
                        return found
                raise errors.SourceNotFound(
                    f"{binding.original_name!r} is gone, or is another snapshot now: list the snapshots again"
                )
            locked.finish_interrupted(binding.identity, binding.original_name, binding.managed_name)
            return renaming.manage(locked, binding)

    def unmanage_snapshot(self, binding: Binding) -> None:
        with self._lock_directory() as locked:
            locked.finish_interrupted(binding.identity, binding.managed_name, binding.original_name)
            renaming.unmanage(locked, binding)

    @contextmanager
    def _open_directory(self) -> Iterator[Directory]:
        with files.opened_directory(self._path) as fd:
            yield Directory(fd, self._path, self._patterns, self._resolvers)

    @contextmanager
    def _lock_directory(self) -> Iterator[renames.LockedDirectory]:
        """Lock the directory against renames by other workers: during one, images seem to be in use or broken."""
        with self._open_directory() as directory, renames.locked(directory, self._timeout_seconds) as locked:
            yield locked

    def _find(self, file: str) -> tuple[Chains, Image | None]:
        if not files.is_valid_name(file):
            raise errors.InvalidReference(
                f"{file!r} can't be the name of an image: give FILE, or FILE/ID for a snapshot inside an image; "
                "FILE has no NUL and doesn't begin with a dot"
            )
        with self._lock_directory() as locked:
            if (identity := locked.directory.identity(file)) is None:
                raise errors.SourceNotFound(f"there is no file {file!r} in the directory {self._path!r}")
            chains = locked.directory.scan(identity)
        return chains, chains.image(file)


def _internal_snapshot(image: Image, file: str, id: str) -> InternalSnapshot:
    if image.header is None or image.header.internal_error:
        reason = image.header.internal_error if image.header else image.error or "it is raw"
        raise errors.NotASnapshot(f"the snapshots inside {file!r} can't be read: {reason}")
    for snapshot in image.header.internal_snapshots:
        if snapshot.id == id:
            return snapshot
    raise errors.SourceNotFound(f"{file!r} has no snapshot with the ID {id!r}: qemu-img snapshot -l {file} lists them")
