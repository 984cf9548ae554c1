"""Renames of backing files: every chain stays valid, even if the worker crashes between two steps.

The steps: a hard link adds the new name to the file; each overlay that records the old name gets the new one; the old
name is removed. Between these steps both names lead to the file, so every chain is complete. `finish_interrupted`
recognizes a rename that a crash interrupted: the file has both names, or an overlay still records the old name. It
then finishes the rename, or undoes it if the next operation needs the other name.

All steps run under a lock on a hidden file of the directory, which excludes every host that has mounted the directory.
`qemu-img` inherits the lock: if it outlives its worker, the next worker waits until it ends. A frozen worker keeps the
lock, and other workers fail with an error that a retry can cure.

A host that is cut off from a network file system loses its lock. The steps that it takes late do no harm:

* It adds a name only if that name is free.
* It records a backing file name only after it has seen the file under that name, and the next `finish_interrupted`
  corrects the name.
* It never removes the last name of a file, because it restores a name if the other one is gone (`_remove_name`).
"""

import errno
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import LOCK, Directory
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX, Overlay
from snapmanage.drivers.system import files, permissions, syscalls
from snapmanage.drivers.system.files import translated_errors

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_POLL_SECONDS = 0.02


class LockedDirectory:
    """A directory whose lock this process holds; a `Renamer`."""

    def __init__(self, directory: Directory, lock: int, timeout_seconds: float) -> None:
        self.directory = directory
        self._lock = lock
        self._timeout_seconds = timeout_seconds

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        chains = self.directory.scan()
        described = {name: _describe(self.directory, chains, name) for name in names}
        return {name: found for name, found in described.items() if found}

    def rename(self, old: str, new: str) -> None:
        """Rename in steps; if a step fails, undo the finished ones as far as possible."""
        if reason := self.directory.scan().rename_obstacle(old, self.directory.identity(old) or ""):
            raise errors.Unusable(f"renaming {old!r} might break the chain of another image: {reason}")
        self._add_name(old, new)
        try:
            self._complete(old, new)
        except errors.SnapmanageError:
            with suppress(errors.SnapmanageError):
                self._complete(new, old)
            raise

    def finish_interrupted(self, identity: str, old: str, new: str) -> None:
        """If a rename between the two names was interrupted, in either direction, give the file the name `new`."""
        self._recover_hidden_names(old, new)
        if old == new or self.directory.identity(new) != identity:
            return
        if self.directory.identity(old) == identity or _overlays_to_rebase(self.directory, old, identity):
            self._complete(old, new)

    def _add_name(self, old: str, new: str) -> None:
        with self.directory.opened(old) as fd, translated_errors(new):
            if fd is None:
                raise errors.BackendPermission(
                    f"snapmanage has no permission to open {old!r}: let its user read the file"
                )
            try:
                # Link the open file, not the name: another file may have the name `old` by now.
                os.link(f"/proc/self/fd/{fd}", new, dst_dir_fd=self.directory.fd, follow_symlinks=True)
            except PermissionError as failure:
                if failure.errno == errno.EACCES:
                    raise permissions.refused_rename(self.directory.path, old, failure) from failure
                raise errors.BackendPermission(
                    f"{old!r} can't get a second name: let snapmanage's user own the file, or read and write it, and "
                    "use a file system with hard links"
                ) from failure
        self._sync()

    def _complete(self, old: str, new: str) -> None:
        """Move all overlays from the old name of the file to the new one, then remove the old name."""
        if (identity := self.directory.identity(new)) is None:
            raise errors.SourceNotFound(f"{new!r} was removed during the rename: list the snapshots again")
        self._rebase_overlays(old, new, identity)
        if self.directory.identity(old) == identity:
            self._remove_name(old, new, identity)
        try:
            # Another program may have made an overlay on the old name before it was removed.
            self._rebase_overlays(old, new, identity)
            # A file may also use the old name in a form that can't be rewritten.
            if reason := self.directory.scan().name_obstacle(old):
                raise errors.Unusable(f"renaming {old!r} would break the chain of another image: {reason}")
        except errors.SnapmanageError:
            self._add_name(new, old)
            raise

    def _rebase_overlays(self, old: str, new: str, identity: str) -> None:
        for overlay in _overlays_to_rebase(self.directory, old, identity):
            # Keep the folder as the overlay spells it. A name with a colon needs `./`, or QEMU would read a protocol.
            folder, slash, _ = overlay.backing_file_name.rpartition("/")
            self._rebase(overlay, f"{folder}{slash}{new}" if slash or ":" not in new else f"./{new}")

    def _rebase(self, overlay: Overlay, backing_file_name: str) -> None:
        if overlay.rebase_refusal:
            raise errors.Unusable(f"{overlay.name!r} can't record another backing file name: {overlay.rebase_refusal}")
        with self.directory.opened(overlay.name, files.PROBE_FLAGS | os.O_RDWR) as fd:
            if fd is None or syscalls.opened_status(fd).identity != overlay.image.identity:
                raise errors.BackendBusy(
                    f"the overlay {overlay.name!r} was replaced during the rename, or snapmanage has no "
                    "permission to write it: let its user read and write the file"
                )
            outcome = qemu_img.rebase(fd, backing_file_name, overlay.format, self._lock, self._timeout_seconds)
            with translated_errors(overlay.name):
                os.fsync(fd)
        # The name in the overlay decides, not the exit code of the command.
        image = self.directory.read_image(overlay.name)
        if image and image.header and image.header.backing_file_name == backing_file_name:
            return
        if image and image.locked:
            raise errors.InUse(f"a process has opened the overlay {overlay.name!r}: close it, then repeat the request")
        raise errors.BackendError(f"qemu-img couldn't change the backing file name of {overlay.name!r}: {outcome}")

    def _remove_name(self, name: str, other: str, identity: str) -> None:
        """Remove one of two names of a file, but never the last one; raise `BackendBusy` if another process interferes.

        The file is first moved to a hidden name, so that the check and the removal concern the same file.
        """
        hidden = f"{HIDDEN_PREFIX}{name}"
        if self.directory.identity(hidden) is not None:
            raise errors.BackendBusy(
                f"the hidden file {hidden!r} is in the way of the rename: find out whose data it has, then move it away"
            )
        with translated_errors(name):
            os.rename(name, hidden, src_dir_fd=self.directory.fd, dst_dir_fd=self.directory.fd)
            if self.directory.identity(hidden) != identity or self.directory.identity(other) != identity:
                self._restore_name(hidden)
                raise errors.BackendBusy(f"another process changed {other!r} while {name!r} was renamed to it")
            os.unlink(hidden, dir_fd=self.directory.fd)
        self._sync()

    def _recover_hidden_names(self, *own: str) -> None:
        """Clean up after a crash in `_remove_name`: remove a hidden name, or restore it if it is the last one.

        Only a failure for one of the names `own` is raised: a hidden directory that another program has made, for
        example, must not stop the renames of all images.
        """
        names = self.directory.names()
        for hidden in [name for name in names if name.startswith(HIDDEN_PREFIX)]:
            try:
                self._recover_hidden_name(hidden, names)
            except errors.SnapmanageError:
                if hidden.removeprefix(HIDDEN_PREFIX) in own:
                    raise

    def _recover_hidden_name(self, hidden: str, names: Collection[str]) -> None:
        identity = self.directory.identity(hidden)
        with translated_errors(hidden):
            if any(self.directory.identity(name) == identity for name in filter(files.is_valid_name, names)):
                os.unlink(hidden, dir_fd=self.directory.fd)
            else:
                self._restore_name(hidden)

    def _restore_name(self, hidden: str) -> None:
        fd = self.directory.fd
        with suppress(FileExistsError):
            os.link(hidden, hidden.removeprefix(HIDDEN_PREFIX), src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            os.unlink(hidden, dir_fd=fd)

    def _sync(self) -> None:
        """Write the directory to disk, so that a power failure can't undo a step that later steps rely on."""
        with translated_errors(self.directory.path):
            os.fsync(self.directory.fd)


@contextmanager
def locked(directory: Directory, timeout_seconds: float) -> Iterator[LockedDirectory]:
    """Lock the directory against all other workers; raise `BackendBusy` after `timeout_seconds`."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        with _lock_file(directory) as fd:
            with translated_errors(LOCK):
                # The lock counts only if the opened file is still the lock file of the directory.
                acquired = syscalls.try_lock(fd) and (syscalls.opened_status(fd).identity == directory.identity(LOCK))
            if acquired:
                yield LockedDirectory(directory, fd, timeout_seconds)
                return
        if time.monotonic() > deadline:
            raise errors.BackendBusy(
                f"another process has held the lock of the file {LOCK!r} for {timeout_seconds:g} s: retry later, or "
                "look for a frozen worker or qemu-img"
            )
        time.sleep(_POLL_SECONDS)


def check(directory: Directory) -> None:
    """Return if the directory can be locked; raise `BackendError` otherwise."""
    with _lock_file(directory) as fd, translated_errors(LOCK):
        syscalls.locked(fd)


@contextmanager
def _lock_file(directory: Directory) -> Iterator[int]:
    """Open the hidden lock file, and create it if it doesn't exist."""
    with translated_errors(LOCK):
        fd = os.open(LOCK, _LOCK_FLAGS, 0o600, dir_fd=directory.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _describe(directory: Directory, chains: Chains, name: str) -> BackendSnapshot | None:
    """Describe the object named `FILE` or `FILE/ID`; None if there is none."""
    file, slash, id = name.partition("/")
    image = chains.image(file)
    if slash:
        snapshots = image.header.internal_snapshots if image and image.header else ()
        return next((chains.internal(image, file, each) for each in snapshots if image and each.id == id), None)
    if image is None and (found := directory.read_image(file)):
        # No overlay records the file any more, so its format is unknown.
        image = found.as_raw()
    return chains.external(image, file) if image else None


def _overlays_to_rebase(directory: Directory, old: str, identity: str) -> list[Overlay]:
    """Return the overlays that record the old name of the file; none if another file has that name by now."""
    return directory.scan().overlays_recording(old) if directory.identity(old) in (None, identity) else []
