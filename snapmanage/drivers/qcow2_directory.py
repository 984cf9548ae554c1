"""One open directory of images: what is in it, by one scan.

A scan opens only what may be an image: files whose names fit the patterns, and what those record as their
backing files. Looking takes no lock, so that it disturbs nobody and waits for nobody.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from snapmanage import errors
from snapmanage.drivers import files, linux, qcow2_format
from snapmanage.drivers.files import explained
from snapmanage.drivers.qcow2_chains import Chains
from snapmanage.drivers.qcow2_image import Image, overlay

# What is called so now is none: it has gone, is a symbolic link, or a special file that can't be opened.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.ESTALE, errno.ENXIO)
# A lease, which a file server may have, counts as not being let in.
_NOT_LET_IN = (errno.EACCES, errno.EPERM, errno.EWOULDBLOCK)


class Directory:
    """The images in an open directory; `path` leads to it, `patterns` are what images on top are called."""

    def __init__(self, fd: int, path: str, patterns: Sequence[str]) -> None:
        self.fd = fd
        self.path = path
        # What an overlay may record in front of a file's name.
        self._folders = frozenset({os.path.normpath(path), os.path.realpath(path)})
        self._patterns = patterns

    def names(self) -> list[str]:
        """Everything in the directory, hidden names too."""
        with explained(self.path), os.scandir(self.fd) as entries:
            return [entry.name for entry in entries]

    def scan(self) -> Chains:
        present = set(filter(files.legal, self.names()))
        pending = [name for name in present if self._called_as_image(name)]
        seen = set(pending)
        found = []
        while pending:
            if (image := self.look_at(pending.pop())) is None:
                continue
            found.append(image)
            on = overlay(image, self._folders)
            if on and on.backing in present and on.backing not in seen:
                pending.append(on.backing)
                seen.add(on.backing)
        return Chains(found, self._folders)

    def look_at(self, name: str) -> Image | None:
        """The image under a name; None where that is no regular file. `BackendUnavailable`."""
        with self.opened(name) as fd:
            if fd is not None:
                return _described(fd, name)
        found = files.status(self.fd, name)
        if found is None or not stat.S_ISREG(found.mode):
            return None
        return _image(name, found, barred="snapmanage may not read it", opaque=True)

    def unseen(self, chains: Chains, name: str) -> Iterator[str]:
        """Why another image than those seen may record the name of a backing file, as sentences."""
        for image in chains.opaque():
            yield f"{image.names[0]!r} can't be read: {image.wrong}"
        for other in filter(files.legal, self.names()):
            if chains.image(other) or not (stray := self.look_at(other)):
                continue
            # Data that make no sense may be a guest's, who could stop every rename by them.
            if stray.barred:
                yield f"{other!r} can't be read: {stray.barred}"
            on = overlay(stray, self._folders)
            if on and on.backing == name:
                yield f"{other!r} records it, though its name doesn't fit image_patterns"

    def identity(self, name: str) -> str | None:
        """What bears the name now, be it an image or not."""
        found = files.status(self.fd, name)
        return files.identity(found) if found else None

    @contextmanager
    def opened(self, name: str, flags: int = files.TO_ASK) -> Iterator[int | None]:
        """Open a regular file, never following a link; None where there is none, or we aren't let in."""
        fd = None
        try:
            fd = os.open(name, flags, dir_fd=self.fd)
        except OSError as failure:
            if failure.errno not in (*_NO_FILE, *_NOT_LET_IN):
                raise errors.BackendUnavailable(f"can't open {name!r}: {failure.strerror}") from failure
        try:
            yield fd if fd is not None and stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            if fd is not None:
                os.close(fd)

    def _called_as_image(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)


def _described(fd: int, name: str) -> Image:
    with explained(name):
        found, locked = linux.opened_status(fd), linux.locked(fd)
        try:
            header = qcow2_format.read(lambda size, offset: os.pread(fd, size, offset))
        except qcow2_format.Unreadable as unreadable:
            opaque = not isinstance(unreadable, qcow2_format.NotQcow2)
            return _image(name, found, locked, malformed=str(unreadable), opaque=opaque)
    return _image(name, found, locked, header)


def _image(
    name: str, found: linux.FileStatus, locked: bool = False, header: qcow2_format.Header | None = None, **wrong: Any
) -> Image:
    created_at = datetime.fromtimestamp(linux.birth_time(found), UTC)
    return Image((name,), files.identity(found), found.size_bytes, created_at, locked, header, **wrong)
