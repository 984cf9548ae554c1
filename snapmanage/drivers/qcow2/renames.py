"""How a backing file gets another name while every overlay's chain stays valid, through a crash at any step.

The steps: the file gets the new name beside the old one; each overlay that records the old name is told
the new one; the old name goes. Between any two of them both names lead to the file, so that every chain
is whole. What a crash left is known by that, or by an overlay that still records the old name, and
`finish_interrupted` brings it to the name that is wanted, whichever of the two that is.

All this happens under a lock on a hidden file of the directory, on every host that has mounted it. The
lock is handed to `qemu-img` too: whoever takes over waits for one that outlives its worker. A worker that
is frozen keeps the lock, and others fail with an error that may pass.

A host that is cut off from a network file system loses its lock. Its late steps do no harm: a name is
only given where it is free; an overlay is told a name only after the file was seen to bear it, and the
next `finish_interrupted` tells it the right one; and of two names the last one is put back (`_remove_name`).
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from snapmanage import errors
from snapmanage.core.backend import BackendSnapshot
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.directory import LOCK, Directory
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX, Overlay
from snapmanage.drivers.system import files, syscalls
from snapmanage.drivers.system.files import translated_errors

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_POLL_SECONDS = 0.02


class LockedDirectory:
    """The names in a directory that is locked for us, as `renaming` wants them."""

    def __init__(self, directory: Directory, lock: int, deadline_seconds: float) -> None:
        self.directory = directory
        self._lock = lock
        self._deadline_seconds = deadline_seconds

    def look(self, *names: str) -> dict[str, BackendSnapshot]:
        chains = self.directory.scan()
        seen = {name: described(self.directory, chains, name) for name in names}
        return {name: found for name, found in seen.items() if found}

    def rename(self, old: str, new: str) -> None:
        """Rename in steps; where one fails, the old name is brought back as far as that can be done."""
        if reason := self.directory.scan().rename_obstacle(old, self.directory.identity(old) or ""):
            raise errors.Unusable(f"renaming {old!r} might break another image's chain: {reason}")
        self._add_name(old, new)
        try:
            self._complete(old, new)
        except errors.SnapmanageError:
            with suppress(errors.SnapmanageError):
                self._complete(new, old)
            raise

    def finish_interrupted(self, identity: str, old: str, new: str) -> None:
        """Where a rename between the two was begun, be it in this direction or back, bring it to `new`."""
        self._recover_hidden_names()
        if old == new or self.directory.identity(new) != identity:
            return
        if self.directory.identity(old) == identity or _overlays_to_rebase(self.directory, old, identity):
            self._complete(old, new)

    def _add_name(self, old: str, new: str) -> None:
        with self.directory.opened(old) as fd, translated_errors(new):
            if fd is None:
                raise errors.BackendPermission(f"snapmanage may not open {old!r}; give it the right to")
            try:
                # What is open gets the name, whatever is called `old` by now.
                os.link(f"/proc/self/fd/{fd}", new, dst_dir_fd=self.directory.fd, follow_symlinks=True)
            except PermissionError as failure:
                raise errors.BackendPermission(
                    f"{old!r} can't be given a second name: it must be snapmanage's own, or readable and writable, "
                    "and the file system must have hard links"
                ) from failure
        self._keep()

    def _complete(self, old: str, new: str) -> None:
        """Leave nothing on the old name of the file that bears the new one, and no old name."""
        if (identity := self.directory.identity(new)) is None:
            raise errors.SourceNotFound(f"{new!r} is gone")
        self._rebase_overlays(old, new, identity)
        if self.directory.identity(old) == identity:
            self._remove_name(old, new, identity)
        try:
            # An overlay may have been made on the old name while it was still there.
            self._rebase_overlays(old, new, identity)
            # By now, what still leads to the old name is a record that can't be changed.
            if reason := self.directory.scan().name_obstacle(old):
                raise errors.Unusable(f"renaming {old!r} would break another image's chain: {reason}")
        except errors.SnapmanageError:
            self._add_name(new, old)
            raise

    def _rebase_overlays(self, old: str, new: str, identity: str) -> None:
        for overlay in _overlays_to_rebase(self.directory, old, identity):
            self._rebase(overlay, _same_spelling(overlay.recorded, new))

    def _rebase(self, overlay: Overlay, backing: str) -> None:
        if overlay.rebase_refusal:
            raise errors.Unusable(
                f"{overlay.name!r} can't be told another name of its backing file: {overlay.rebase_refusal}"
            )
        with self.directory.opened(overlay.name, files.PROBE_FLAGS | os.O_RDWR) as fd:
            if fd is None or files.identity(syscalls.opened_status(fd)) != overlay.image.identity:
                raise errors.BackendBusy(f"{overlay.name!r} has changed meanwhile, or snapmanage may not write it")
            ended = qemu_img.rebase(fd, backing, overlay.format, self._lock, self._deadline_seconds)
            with translated_errors(overlay.name):
                os.fsync(fd)
        # Believe what the overlay records by now, rather than how the command ended.
        now = self.directory.read_image(overlay.name)
        if now and now.header and now.header.backing == backing:
            return
        if now and now.locked:
            raise errors.InUse(f"a process has opened {overlay.name!r}; close it, then ask again")
        raise errors.BackendError(f"qemu-img couldn't change the backing file of {overlay.name!r}: {ended}")

    def _remove_name(self, name: str, other: str, identity: str) -> None:
        """Take one of its two names from the file, never the last one, whoever else is at work; `BackendBusy`."""
        aside = f"{HIDDEN_PREFIX}{name}"
        if self.directory.identity(aside) is not None:
            raise errors.BackendBusy(f"the hidden file {aside!r} is in the way; see whose data it has, and move it")
        with translated_errors(name):
            os.rename(name, aside, src_dir_fd=self.directory.fd, dst_dir_fd=self.directory.fd)
            if self.directory.identity(aside) != identity or self.directory.identity(other) != identity:
                self._put_back(aside)
                raise errors.BackendBusy(f"{other!r} has changed while it was renamed from {name!r}")
            os.unlink(aside, dir_fd=self.directory.fd)
        self._keep()

    def _recover_hidden_names(self) -> None:
        """Undo what a crash within `_remove_name` left."""
        names = self.directory.names()
        for aside in [name for name in names if name.startswith(HIDDEN_PREFIX)]:
            identity = self.directory.identity(aside)
            with translated_errors(aside):
                if any(self.directory.identity(name) == identity for name in filter(files.is_valid_name, names)):
                    os.unlink(aside, dir_fd=self.directory.fd)
                else:
                    self._put_back(aside)

    def _put_back(self, aside: str) -> None:
        fd = self.directory.fd
        with suppress(FileExistsError):
            os.link(aside, aside.removeprefix(HIDDEN_PREFIX), src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
            os.unlink(aside, dir_fd=fd)

    def _keep(self) -> None:
        """Make the names outlive a power failure before the next step builds on them."""
        with translated_errors(self.directory.path):
            os.fsync(self.directory.fd)


@contextmanager
def locked(directory: Directory, deadline_seconds: float) -> Iterator[LockedDirectory]:
    """Lock the directory against every other mover; `BackendBusy` where that takes longer than the deadline."""
    give_up_at = time.monotonic() + deadline_seconds
    while True:
        with _opened_lock(directory) as fd:
            with translated_errors(LOCK):
                # Whoever tidies up may have removed the file that we have opened.
                got = syscalls.try_lock(fd) and files.identity(syscalls.opened_status(fd)) == directory.identity(LOCK)
            if got:
                yield LockedDirectory(directory, fd, deadline_seconds)
                return
        if time.monotonic() > give_up_at:
            raise errors.BackendBusy(f"another process has held the lock {LOCK!r} for {deadline_seconds:g} s")
        time.sleep(_POLL_SECONDS)


def check(directory: Directory) -> None:
    """Return where the directory can be locked; `BackendError`."""
    with _opened_lock(directory) as fd, translated_errors(LOCK):
        syscalls.locked(fd)


@contextmanager
def _opened_lock(directory: Directory) -> Iterator[int]:
    """Open the file whose lock is the directory's, made where it isn't there."""
    with translated_errors(LOCK):
        fd = os.open(LOCK, _LOCK_FLAGS, 0o600, dir_fd=directory.fd)
    try:
        yield fd
    finally:
        os.close(fd)


def described(directory: Directory, chains: Chains, name: str) -> BackendSnapshot | None:
    """What bears the name, `FILE` or `FILE/ID`; None where nothing does."""
    file, slash, id = name.partition("/")
    image = chains.image(file)
    if slash:
        entries = image.header.internal_snapshots if image and image.header else ()
        return next((chains.internal(image, file, each) for each in entries if image and each.id == id), None)
    if image is None and (found := directory.read_image(file)):
        # No overlay records it any more, so nothing says what its data are.
        image = found.as_raw()
    return chains.external(image, file) if image else None


def _overlays_to_rebase(directory: Directory, old: str, identity: str) -> list[Overlay]:
    """The overlays that record the old name of the file, unless that is another file's by now."""
    return directory.scan().overlays_recording(old) if directory.identity(old) in (None, identity) else []


def _same_spelling(recorded: str, name: str) -> str:
    """Another file of the same directory, written as the overlay has written this one."""
    folder, slash, _ = recorded.rpartition("/")
    if not slash and ":" in name:
        # QEMU would take what is before the colon for a protocol.
        return f"./{name}"
    return f"{folder}{slash}{name}"
