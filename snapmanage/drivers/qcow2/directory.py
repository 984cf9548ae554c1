"""One open directory of images, read by one scan.

A scan opens every regular file, and every file that a symbolic link leads to, and reads its beginning. An image is a
file whose name matches `image_patterns`, or the backing file of such an image. Other files matter only if they keep an
image from being renamed (`obstacles`). A scan takes no lock on an image, so it neither disturbs a guest nor waits for
one.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.qcow2.chains import Chains, consolidate
from snapmanage.drivers.qcow2.image import Image, overlay, read_image, unopened_image
from snapmanage.drivers.qcow2.obstacles import DirectoryEntries, Obstacles, obstacles
from snapmanage.drivers.qcow2.paths import Resolvers
from snapmanage.drivers.system import files
from snapmanage.drivers.system.files import translated_errors

# The hidden file whose lock is the lock of the directory.
LOCK = ".snapmanage.lock"

# No regular file has the name: the file is gone, or it is a symbolic link or a special file that can't be opened.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ESTALE, errno.ENXIO)
# A file server may hold a lease for its client, and the owner of a file for as long as the owner likes.
_REFUSED = {
    errno.EACCES: "snapmanage has no permission to read it",
    errno.EPERM: "snapmanage has no permission to read it",
    errno.EWOULDBLOCK: "a process holds a lease on it; end the process (`lslocks` shows it), then repeat the request",
}
# The most internal snapshots that one scan keeps; an image has at most `format.MAX_SNAPSHOTS`. Each takes about 2 kB at
# most in the memory of a scan.
MOST_INTERNAL_SNAPSHOTS = 100_000
# The reason why a scan left out the internal snapshots of an image; a scan for that file finds them.
TOO_MANY_INTERNAL = (
    f"the images of the directory have more than {MOST_INTERNAL_SNAPSHOTS} internal snapshots: move some images to "
    "another directory"
)
_FOLLOW_FLAGS = files.PROBE_FLAGS & ~os.O_NOFOLLOW


class _InternalBudget:
    """The internal snapshots that a scan may still keep; those of the file with the identity `wanted` don't count."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._left = MOST_INTERNAL_SNAPSHOTS

    def within(self, image: Image) -> Image:
        """Return the image, without its internal snapshots if they are too many for the rest of the budget."""
        if image.header is None or image.identity == self._wanted:
            return image
        count = len(image.header.internal_snapshots)
        if count <= self._left:
            self._left -= count
            return image
        return replace(image, header=replace(image.header, internal_snapshots=(), internal_error=TOO_MANY_INTERNAL))


class Directory:
    """An open directory with images."""

    def __init__(self, fd: int, path: str, patterns: Sequence[str], resolvers: Resolvers) -> None:
        """`path` leads to the directory; `patterns` match the names of the images on top of their chains."""
        self.fd = fd
        self.path = path
        # The paths of this directory that a backing file name may begin with. A path with `..` after a symbolic link
        # may lead to another directory, so it is compared with the open one.
        self._own_paths = set()
        for own_path in (os.path.normpath(path), os.path.realpath(path)):
            with suppress(OSError):
                if os.path.samestat(os.stat(own_path), os.fstat(fd)):
                    self._own_paths.add(own_path)
        self._patterns = patterns
        self._resolvers = resolvers

    def names(self) -> list[str]:
        """Return the name of every entry of the directory, including hidden ones."""
        return [entry.name for entry in self._entries()]

    def scan(self, wanted: str = "") -> Chains:
        """Read all files and return the images among them; raise `BackendError`.

        Of all images, at most `MOST_INTERNAL_SNAPSHOTS` internal snapshots are returned, and always those of the file
        with the identity `wanted`.
        """
        budget = _InternalBudget(wanted)
        entries = self._read_entries(budget)
        images = consolidate(self._images(entries.files, budget), self._own_paths)
        found = obstacles(entries, images, self._resolvers.cached(self.fd), self._own_paths)
        return Chains(images, self._own_paths, Obstacles.of(found))

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        """Return files and internal snapshots that have one of the identities or names; raise `BackendError`.

        Every file is found, hidden ones too, and whether or not an overlay records it. If the snapshots inside an image
        can't be read, each snapshot of that image counts as existing. The identity of a file is empty if another user
        has mounted something on it.
        """
        described = {name: files.identity_of_entry(self.fd, name) for name in self.names()}
        files_by_name = {name: identity for name, identity in described.items() if identity is not None}
        found = [BackendObject(name, identity) for name, identity in files_by_name.items()]
        image_names = {name.partition("/")[0] for name in names if "/" in name}
        image_identities = {identity.partition("/")[0] for identity in identities if "/" in identity}
        for name, identity in files_by_name.items():
            if name in image_names or identity in image_identities:
                found += self._locate_internal(name, identity, identities, names)
        return [each for each in found if each.identity in identities or each.name in names]

    def read_image(self, name: str, flags: int = files.PROBE_FLAGS, with_internal: bool = True) -> Image | None:
        """Return the image with this name, or None if no regular file has it; raise `BackendError`.

        Without `with_internal`, leave out its internal snapshots, of which a guest can write thousands into a raw disk.
        """
        try:
            fd = files.open_regular(self.fd, name, flags)
        except OSError as failure:
            return None if failure.errno in _NO_FILE else self._unreadable_image(name, failure)
        if fd is None:
            return None
        try:
            return read_image(fd, name, with_internal)
        except OSError as failure:
            return self._unreadable_image(name, failure)
        finally:
            os.close(fd)

    def identity(self, name: str) -> str | None:
        """Return the identity of the file that has the name now, whether or not it is an image."""
        status = files.status(self.fd, name)
        return status.identity if status else None

    @contextmanager
    def opened(self, name: str, flags: int = files.PROBE_FLAGS) -> Iterator[int | None]:
        """Open a regular file without following a link; None if there is none, or if access is denied."""
        fd = None
        try:
            fd = files.open_regular(self.fd, name, flags)
        except OSError as failure:
            if failure.errno not in (*_NO_FILE, *_REFUSED):
                raise errors.BackendUnavailable(
                    f"can't open {name!r}: {failure.strerror}; check the storage"
                ) from failure
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def _entries(self) -> list[os.DirEntry[str]]:
        with translated_errors(self.path), os.scandir(self.fd) as entries:
            return [entry for entry in entries if entry.name != LOCK]

    def _read_entries(self, budget: _InternalBudget) -> DirectoryEntries:
        found: dict[str, Image] = {}
        links: dict[str, str] = {}
        linked: dict[str, Image] = {}
        unreadable: dict[str, str] = {}
        for entry in self._entries():
            try:
                if entry.is_symlink():
                    links[entry.name] = os.readlink(entry.name, dir_fd=self.fd)
                elif entry.is_file(follow_symlinks=False) and (
                    image := self.read_image(entry.name, with_internal=self._is_on_top(entry.name))
                ):
                    found[entry.name] = budget.within(image)
            except FileNotFoundError:
                continue
            except (OSError, errors.BackendError) as failure:
                unreadable[entry.name] = str(failure)
        failed = [image.unreadable_reason not in ("", *_REFUSED.values()) for image in found.values()]
        if (found or unreadable) and all(failed):
            raise errors.BackendUnavailable(
                f"no file in the directory {self.path!r} can be read: check that its storage responds"
            )
        for name in links:
            try:
                if image := self._read_linked(name):
                    linked[name] = image
            except errors.BackendError as failure:
                unreadable[name] = str(failure)
        return DirectoryEntries(found, links, linked, unreadable)

    def _read_linked(self, name: str) -> Image | None:
        """Return the image at the end of a symbolic link, which may lead to a storage that hangs.

        Return None for a target that is no regular file, or that can't be found. Raise `BackendError`.
        """
        target = self._resolvers.of_images.resolve(self.fd, name).file
        if target is None or not stat.S_ISREG(target.mode):
            return None
        read = partial(self.read_image, name, _FOLLOW_FLAGS, with_internal=False)
        return self._resolvers.of_images.within("reading a linked file", read)

    def _images(self, found: Mapping[str, Image], budget: _InternalBudget) -> list[Image]:
        """Return the files whose names match a pattern, and all backing files below them."""
        pending = [found[name] for name in found if self._is_on_top(name)]
        seen = {name for image in pending for name in image.names}
        images = []
        while pending:
            images.append(image := pending.pop())
            as_overlay = overlay(image, self._own_paths)
            backing_file = as_overlay.backing_file if as_overlay else None
            if as_overlay and backing_file and backing_file in found and backing_file not in seen:
                pending.append(budget.within(self._backing_image(found[backing_file], as_overlay.format)))
                seen.add(backing_file)
        return images

    def _is_on_top(self, name: str) -> bool:
        """Return whether the name is that of an image which need not be the backing file of another one."""
        return files.is_valid_name(name) and any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def _backing_image(self, image: Image, format: str) -> Image:
        """Return the image of a backing file, with its internal snapshots if its format is qcow2."""
        [name] = image.names
        if format != "qcow2" or image.header is None:
            return image
        read = self.read_image(name)
        if read and read.identity == image.identity:
            return read
        return replace(image, header=replace(image.header, internal_error="it was replaced meanwhile"))

    def _locate_internal(
        self, file: str, identity: str, identities: Collection[str], names: Collection[str]
    ) -> Iterator[BackendObject]:
        if not identity:
            yield from (BackendObject(name, "") for name in names if name.startswith(f"{file}/"))
            return
        if (image := self.read_image(file)) is None:
            return
        if image.unreadable_reason or image.backing_unknown or (image.header and image.header.internal_error):
            yield from (BackendObject(name, "") for name in names if name.startswith(f"{file}/"))
            yield from (BackendObject(file, each) for each in identities if each.startswith(f"{identity}/"))
            return
        for internal in image.header.internal_snapshots if image.header else ():
            yield BackendObject(f"{file}/{internal.id}", f"{image.identity}/{internal.mark}")

    def _unreadable_image(self, name: str, failure: OSError) -> Image | None:
        status = files.status(self.fd, name)
        if status is None or not stat.S_ISREG(status.mode):
            return None
        reason = _REFUSED.get(failure.errno or 0) or failure.strerror or str(failure)
        return unopened_image(name, status, unreadable_reason=reason, backing_unknown=True)
