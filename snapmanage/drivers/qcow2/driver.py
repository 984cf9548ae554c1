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

**Renames.** A managed external snapshot gets its new file name, and its overlays record that name. `renamer` lists
the steps and how the driver recovers from a crash between them. An internal snapshot keeps its name, because
`qemu-img` can't rename it; only snapmanage's database shows that it is managed.

**Late renames.** The lookup and the renames of a batch run under one lock of the directory. The driver checks the
identity of the opened file to which it gives a new name. Right before it changes the overlays of a file, it checks that
no process has opened that file. It looks for new overlays before it removes an old name, and again after that. If a
worker is frozen in between, other workers fail with an error that a retry can cure. A host that has lost the lock of a
network file system may still run its next steps; `renamer` explains why they do no harm.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, TypeVar

from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import BackendObject, BackendSnapshot, BackendVolume, Binding
from snapmanage.core.reference import Reference
from snapmanage.core.values.logfields import fields
from snapmanage.drivers import renaming
from snapmanage.drivers.batch import Asked, raise_or_return, try_one
from snapmanage.drivers.qcow2 import lock, qemu_img
from snapmanage.drivers.qcow2.directory import Directory
from snapmanage.drivers.qcow2.image import MAX_NAME_BYTES
from snapmanage.drivers.qcow2.lookup import ImageName, Lookup
from snapmanage.drivers.qcow2.paths import Resolvers
from snapmanage.drivers.qcow2.renamer import DirectoryRenamer
from snapmanage.drivers.renaming import Move
from snapmanage.drivers.system import files, permissions

LOG = logging.getLogger(__name__)

# A longer suffix of a file name is no file type. It would leave too little room for the managed name.
_MAX_EXTENSION_BYTES = 16

# Renames under one lock of the directory, which take seconds. Everyone else who looks or renames waits for the lock.
MOST_RENAMES = 200

T = TypeVar("T")


class Qcow2Driver:
    """Driver for the qcow2 images of one directory; the module docstring defines its volumes and snapshots."""

    # The lock of the directory lets one batch work at a time.
    batch_calls: ClassVar[int] = 1
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
        self._threads = lock.ThreadQueue()

    def check(self) -> None:
        if not os.path.isabs(self._path):
            raise errors.ConfigurationError(
                f"the option directory is {self._path!r}: set it to the absolute path of the directory with the images"
            )
        with self._open_directory() as directory:
            permissions.require_use(self._path)
            lock.check(directory)
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
        [found] = self.find_snapshots([Asked(reference, volume)])
        return raise_or_return(found)

    def find_snapshots(self, asked: Sequence[Asked]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return self._look_up(asked, lambda lookup, name, each: lookup.snapshot(name, each.volume))

    def find_volume(self, reference: Reference) -> BackendVolume:
        [found] = self.find_volumes([reference])
        return raise_or_return(found)

    def find_volumes(self, references: Sequence[Reference]) -> list[BackendVolume | errors.SnapmanageError]:
        return self._look_up([Asked(each) for each in references], lambda lookup, name, _: lookup.volume(name))

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
        [managed] = self.manage_snapshots([binding])
        return raise_or_return(managed)

    def manage_snapshots(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        return [result for part in _parts(bindings) for result in self._manage_part(part)]

    def unmanage_snapshot(self, binding: Binding) -> None:
        [failure] = self.unmanage_snapshots([binding])
        raise_or_return(failure)

    def unmanage_snapshots(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        return [result for part in _parts(bindings) for result in self._unmanage_part(part)]

    def _manage_part(self, bindings: Sequence[Binding]) -> list[BackendSnapshot | errors.SnapmanageError]:
        moves = [Move(each, each.original_name, each.managed_name) for each in bindings if "/" not in each.managed_name]
        with self._lock_directory() as locked:
            renamed = iter(locked.carry_out(moves, renaming.manage_many))
            # An internal snapshot keeps its name, so its file may have a new one by now.
            lookup = Lookup(locked.directory, locked.chains())
            return [try_one(lookup.internal, each) if "/" in each.managed_name else next(renamed) for each in bindings]

    def _unmanage_part(self, bindings: Sequence[Binding]) -> list[errors.SnapmanageError | None]:
        moves = [Move(each, each.managed_name, each.original_name) for each in bindings]
        with self._lock_directory() as locked:
            results = locked.carry_out(moves, renaming.unmanage_many)
        return [each if isinstance(each, errors.SnapmanageError) else None for each in results]

    def _look_up(
        self, asked: Sequence[Asked], find: Callable[[Lookup, ImageName, Asked], T]
    ) -> list[T | errors.SnapmanageError]:
        """Find what each entry asks for, in one scan; an impossible name costs none."""
        names = [try_one(ImageName.of, each.reference) for each in asked]
        impossible = [each for each in names if isinstance(each, errors.SnapmanageError)]
        if len(impossible) == len(names):
            return [*impossible]
        with self._lock_directory() as locked:
            lookup = Lookup(locked.directory, locked.chains())
            return [
                name if isinstance(name, errors.SnapmanageError) else try_one(find, lookup, name, each)
                for name, each in zip(names, asked, strict=True)
            ]

    @contextmanager
    def _open_directory(self) -> Iterator[Directory]:
        with files.opened_directory(self._path) as fd:
            yield Directory(fd, self._path, self._patterns, self._resolvers)

    @contextmanager
    def _lock_directory(self) -> Iterator[DirectoryRenamer]:
        """Lock the directory against renames by other workers: during one, images seem to be in use or broken."""
        deadline = lock.Deadline(self._timeout_seconds)
        with (
            self._threads.awaited(deadline),
            self._open_directory() as directory,
            lock.locked(directory, deadline) as fd,
        ):
            yield DirectoryRenamer(directory, fd, self._timeout_seconds)


def _parts(bindings: Sequence[Binding]) -> Iterator[Sequence[Binding]]:
    for start in range(0, len(bindings), MOST_RENAMES):
        yield bindings[start : start + MOST_RENAMES]
