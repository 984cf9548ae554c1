"""One open directory of images: what is in it, by one scan.

A scan opens every regular file, and what symbolic links lead to, for a look at its beginning. Images are files
whose names fit the patterns, and what those record as their backing files; other files count only where they
keep an image from being renamed (`references`). Looking takes no lock, so that it disturbs nobody and
waits for nobody.
"""

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase

from snapmanage import errors
from snapmanage.core.backend import BackendObject
from snapmanage.drivers.qcow2.chains import Chains, consolidate
from snapmanage.drivers.qcow2.image import Image, overlay, read_image, unopened_image
from snapmanage.drivers.qcow2.obstacles import DirectoryEntries, Obstacles, obstacles
from snapmanage.drivers.qcow2.paths import DirectoryPaths, PathResolver
from snapmanage.drivers.system import files
from snapmanage.drivers.system.files import translated_errors

# The hidden file whose lock is the directory's.
LOCK = ".snapmanage.lock"

# What is called so now is none: it has gone, is a symbolic link, or a special file that can't be opened.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ESTALE, errno.ENXIO)
# A lease, which a file server may have, counts as not being let in.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EWOULDBLOCK)
_NOT_READABLE = "snapmanage may not read it"
_FOLLOW_FLAGS = files.PROBE_FLAGS & ~os.O_NOFOLLOW


class Directory:
    """The images in an open directory; `path` leads to it, `patterns` are what images on top are called."""

    def __init__(self, fd: int, path: str, patterns: Sequence[str], paths: PathResolver) -> None:
        self.fd = fd
        self.path = path
        # What an overlay may record in front of a file's name. `..` behind a link leads elsewhere than it looks.
        spellings = (os.path.normpath(path), os.path.realpath(path))
        self._directory_paths = set()
        for each in spellings:
            with suppress(OSError):
                if os.path.samestat(os.stat(each), os.fstat(fd)):
                    self._directory_paths.add(each)
        self._patterns = patterns
        self._paths = paths

    def names(self) -> list[str]:
        """Everything in the directory, hidden names too."""
        return [entry.name for entry in self._entries()]

    def scan(self) -> Chains:
        sight = self._read_entries()
        images = consolidate(self._images(sight.files), self._directory_paths)
        found = obstacles(sight, images, DirectoryPaths(self.fd, self._paths), self._directory_paths)
        return Chains(images, self._directory_paths, Obstacles.of(found))

    def locate(self, identities: Collection[str], names: Collection[str]) -> list[BackendObject]:
        """Return files and internal snapshots that have one of the identities or names; `BackendError`.

        A file is found whether or not an overlay records it, under hidden names too. A snapshot inside of an image
        counts as there where the image's own snapshots can't be read.
        """
        found = {name: identity for name in self.names() if (identity := self.identity(name))}
        every = [BackendObject(name, identity) for name, identity in found.items()]
        asked_files = {name.partition("/")[0] for name in names if "/" in name}
        asked_images = {identity.partition("/")[0] for identity in identities if "/" in identity}
        for name, identity in found.items():
            if name in asked_files or identity in asked_images:
                every += self._located_inside(name, identity, identities, names)
        return [each for each in every if each.identity in identities or each.name in names]

    def read_image(self, name: str, flags: int = files.PROBE_FLAGS) -> Image | None:
        """The image under a name; None where that is no regular file. `BackendUnavailable`, `BackendPermission`."""
        try:
            fd = os.open(name, flags, dir_fd=self.fd)
        except OSError as failure:
            return None if failure.errno in _NO_FILE else self._unread(name, failure)
        try:
            return read_image(fd, name) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError as failure:
            return self._unread(name, failure)
        finally:
            os.close(fd)

    def _entries(self) -> list[os.DirEntry[str]]:
        with translated_errors(self.path), os.scandir(self.fd) as entries:
            return [entry for entry in entries if entry.name != LOCK]

    def _read_entries(self) -> DirectoryEntries:
        found: dict[str, Image] = {}
        links: dict[str, str] = {}
        linked: dict[str, Image] = {}
        unreadable: dict[str, str] = {}
        for entry in self._entries():
            try:
                if entry.is_symlink():
                    links[entry.name] = os.readlink(entry.name, dir_fd=self.fd)
                elif entry.is_file(follow_symlinks=False) and (image := self.read_image(entry.name)):
                    found[entry.name] = image
            except FileNotFoundError:
                continue
            except (OSError, errors.BackendError) as failure:
                unreadable[entry.name] = str(failure)
        for name in links:
            target = self._paths.resolve(self.fd, name).file
            if target and stat.S_ISREG(target.mode) and (image := self.read_image(name, _FOLLOW_FLAGS)):
                linked[name] = image
        if (found or unreadable) and all(
            image.unreadable_reason not in ("", _NOT_READABLE) for image in found.values()
        ):
            raise errors.BackendUnavailable(f"no file of {self.path!r} can be read: does the storage answer?")
        return DirectoryEntries(found, links, linked, unreadable)

    def _images(self, found: Mapping[str, Image]) -> list[Image]:
        """The files that are images by their names, and those that they record as their backing files."""
        pending = [
            name
            for name in found
            if files.is_valid_name(name) and any(fnmatchcase(name, pattern) for pattern in self._patterns)
        ]
        seen = set(pending)
        images = []
        while pending:
            images.append(image := found[pending.pop()])
            on = overlay(image, self._directory_paths)
            if on and on.backing and on.backing in found and on.backing not in seen:
                pending.append(on.backing)
                seen.add(on.backing)
        return images

    def _located_inside(
        self, file: str, identity: str, identities: Collection[str], names: Collection[str]
    ) -> Iterator[BackendObject]:
        if (image := self.read_image(file)) is None:
            return
        if image.unreadable_reason or image.backing_unknown or (image.header and image.header.internal_error):
            yield from (BackendObject(name, "") for name in names if name.startswith(f"{file}/"))
            yield from (BackendObject(file, each) for each in identities if each.startswith(f"{identity}/"))
            return
        for entry in image.header.internal_snapshots if image.header else ():
            yield BackendObject(f"{file}/{entry.id}", f"{image.identity}/{entry.mark}")

    def _unread(self, name: str, failure: OSError) -> Image | None:
        """The image that can't be read, described from outside."""
        found = files.status(self.fd, name)
        if found is None or not stat.S_ISREG(found.mode):
            return None
        unreadable_reason = _NOT_READABLE if failure.errno in _REFUSED else failure.strerror or str(failure)
        return unopened_image(name, found, unreadable_reason=unreadable_reason, backing_unknown=True)

    def identity(self, name: str) -> str | None:
        """What bears the name now, be it an image or not."""
        found = files.status(self.fd, name)
        return files.identity(found) if found else None

    @contextmanager
    def opened(self, name: str, flags: int = files.PROBE_FLAGS) -> Iterator[int | None]:
        """Open a regular file, never following a link; None where there is none, or we aren't let in."""
        fd = None
        try:
            fd = os.open(name, flags, dir_fd=self.fd)
        except OSError as failure:
            if failure.errno not in (*_NO_FILE, *_REFUSED):
                raise errors.BackendUnavailable(f"can't open {name!r}: {failure.strerror}") from failure
        try:
            yield fd if fd is not None and stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            if fd is not None:
                os.close(fd)
