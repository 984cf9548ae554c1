"""Obstacles to a rename: files and links that may lead to an image and that snapmanage can't rewrite.

A backing file name that `chains` follows is rewritten when its file is renamed, so it is no obstacle. Every other name
of a file is one: a backing file name in another spelling, a name in a file that is no image, and a data file name.

An obstacle applies to the images that the name certainly leads to, compared by device and inode. If the name may lead
to a file on another host, it applies to the images with the same last name. If it can't be followed at all, it applies
to every image of the directory.
"""

import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from snapmanage.drivers.qcow2.filenames import PossibleFiles, last_name, possible_files, possible_files_from_cwd
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX, Image, overlay
from snapmanage.drivers.qcow2.paths import CachedResolver, CachedResolvers, same_file
from snapmanage.drivers.system.files import is_valid_name
from snapmanage.drivers.system.syscalls import FileStatus

_REBASE = "change that to a plain name in the directory with qemu-img rebase -u"
_NOT_AN_IMAGE = "snapmanage rewrites only images whose names match image_patterns"
_DATA_FILE = "snapmanage can't rewrite the name of a data file"
_OTHER_FORMAT = "snapmanage rewrites only qcow2 images"
# The most paths that the names in one file may mean; a VMDK has at most 256 names here. A guest with a raw disk could
# write tens of thousands of them, and each is looked up.
MOST_PATHS = 1024


@dataclass(frozen=True)
class Obstacle:
    """One reason, a clause for an operator, and the images that it keeps from being renamed."""

    reason: str
    identities: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    every_image: bool = False


@dataclass
class Obstacles:
    """The obstacles of one scan; for an image with several, the first one is reported."""

    _by_identity: dict[str, str] = field(default_factory=dict)
    _by_name: dict[str, str] = field(default_factory=dict)
    _of_every_image: str = ""

    @classmethod
    def of(cls, found: Iterable[Obstacle]) -> "Obstacles":
        obstacles = cls()
        for each in found:
            for identity in each.identities:
                obstacles._by_identity.setdefault(identity, each.reason)
            for name in each.names:
                obstacles._by_name.setdefault(name, each.reason)
            if each.every_image:
                obstacles._of_every_image = obstacles._of_every_image or each.reason
        return obstacles

    def of_image(self, identity: str, names: Collection[str]) -> str:
        """Return why the image can't be renamed; empty if it can."""
        by_name = next((self._by_name[name] for name in names if name in self._by_name), "")
        return self._by_identity.get(identity) or by_name or self._of_every_image

    def of_name(self, name: str) -> str:
        """Return the reason of the obstacle to this name itself, not to its file; empty if there is none."""
        return self._by_name.get(name, "")


@dataclass(frozen=True)
class DirectoryEntries:
    """The entries of a directory, by name.

    * `files`: each regular file, including hidden ones.
    * `links`: the target path of each symbolic link.
    * `linked`: the file at the end of a symbolic link, if it is a regular file.
    * `unreadable`: why any other entry can't be examined.
    """

    files: Mapping[str, Image]
    links: Mapping[str, str]
    linked: Mapping[str, Image]
    unreadable: Mapping[str, str]


@dataclass(frozen=True)
class _RecordedName:
    """A name of another file, as the data of a file record it.

    `file` and `identity` are those of the recording file; `in_image` is true if that is an image of this driver.
    `remedy` is a clause: the remedy, or why there is none.
    """

    file: str
    identity: str
    text: str
    possible_files: PossibleFiles
    in_image: bool
    remedy: str


def obstacles(
    entries: DirectoryEntries, images: Collection[Image], resolvers: CachedResolvers, directory_paths: Collection[str]
) -> Iterator[Obstacle]:
    """Yield the obstacles in a directory; those that certainly apply to an image are yielded first."""
    index = _FileIndex(entries.files.values())
    for name in _recorded_names(entries, images, index, directory_paths):
        resolver = resolvers.of_images if name.in_image else resolvers.of_other_files
        yield from _of_recorded_name(name, index, resolver)
    for link in entries.links:
        yield from _of_link(link, entries, index, resolvers.of_images)
    yield from _of_hidden_names(entries)
    unreadable = {image.names[0]: image.error for image in images if image.backing_unknown}
    for file, image in [*entries.files.items(), *entries.linked.items()]:
        if image.unreadable_reason:
            unreadable[file] = image.unreadable_reason
    for file, reason in [*unreadable.items(), *entries.unreadable.items()]:
        yield Obstacle(f"{file!r} can't be read: {reason}", every_image=True)


class _FileIndex:
    """The files of the directory, indexed by inode."""

    def __init__(self, files: Iterable[Image]) -> None:
        self._by_inode: dict[int, list[tuple[FileStatus, str]]] = defaultdict(list)
        for each in files:
            if each.file:
                self._by_inode[each.file.inode].append((each.file, each.identity))

    def identities(self, status: FileStatus) -> frozenset[str]:
        """Return the identities of the files that may be the file with this status."""
        candidates = self._by_inode.get(status.inode, ())
        return frozenset(identity for file, identity in candidates if same_file(file, status))


def _recorded_names(
    entries: DirectoryEntries, images: Collection[Image], index: _FileIndex, directory_paths: Collection[str]
) -> Iterator[_RecordedName]:
    names = {name for image in images for name in image.names}
    for image in images:
        as_overlay = overlay(image, directory_paths)
        followed = as_overlay is not None and as_overlay.backing_file in names
        yield from _bounded(_names_in(image.names[0], image, in_image=True, backing_file_followed=followed))
    identities = {image.identity for image in images}
    for name, other in entries.files.items():
        if other.identity not in identities:
            yield from _bounded(_names_in(name, other))
    for name, outside in entries.linked.items():
        if outside.file and not index.identities(outside.file):
            yield from _bounded(_names_in(name, outside))


def _names_in(
    name: str, image: Image, in_image: bool = False, backing_file_followed: bool = False
) -> Iterator[_RecordedName]:
    def recorded(text: str, possible: PossibleFiles, remedy: str) -> _RecordedName:
        return _RecordedName(name, image.identity, text, possible, in_image, remedy if in_image else _NOT_AN_IMAGE)

    header = image.header
    if header and header.backing_file_name and not backing_file_followed:
        yield recorded(header.backing_file_name, possible_files(header.backing_file_name), _REBASE)
    if header and header.data_file_name:
        yield recorded(header.data_file_name, possible_files_from_cwd(header.data_file_name), _DATA_FILE)
    for other in image.other_file_names:
        yield recorded(other, possible_files(other), _OTHER_FORMAT)


def _bounded(names: Iterable[_RecordedName]) -> Iterator[_RecordedName]:
    """Yield the names in one file up to `MOST_PATHS`; the first one beyond may mean any file, the rest is left out."""
    paths = 0
    for each in names:
        if (paths := paths + len(each.possible_files.paths)) > MOST_PATHS:
            yield replace(each, possible_files=PossibleFiles(any_file=True))
            return
        yield each


def _of_recorded_name(name: _RecordedName, index: _FileIndex, resolver: CachedResolver) -> Iterator[Obstacle]:
    targets = resolver.resolve_all(sorted(name.possible_files.paths))
    certain = frozenset(
        identity for target in targets.values() if target.file for identity in index.identities(target.file)
    )
    dangling = {last_name(path) for path, target in targets.items() if not target.file}
    if others := certain - {name.identity}:
        yield Obstacle(f"{name.file!r} records it as {name.text!r}: {name.remedy}", identities=others)
    if names := name.possible_files.names | dangling:
        yield Obstacle(f"{name.file!r} records {name.text!r}, which may be this file: {name.remedy}", names=names)
    # A guest may have written the data of a file that is no image, and could stop every rename by them.
    if name.in_image and (name.possible_files.any_file or not all(target.resolved for target in targets.values())):
        reason = f"{name.file!r} records {name.text!r}, which can't be followed and may be any file: {name.remedy}"
        yield Obstacle(reason, every_image=True)


def _of_link(link: str, entries: DirectoryEntries, index: _FileIndex, resolver: CachedResolver) -> Iterator[Obstacle]:
    target = resolver.resolve(link)
    if not target.resolved:
        reason = f"the symbolic link {link!r} can't be followed and may lead to any file: remove the link"
        yield Obstacle(reason, every_image=True)
    elif target.file is None:
        reason = f"the symbolic link {link!r} may lead to this file on another host: remove the link"
        yield Obstacle(reason, names=frozenset({last_name(entries.links[link])}))
    elif stat.S_ISREG(target.file.mode):
        reason = f"the symbolic link {link!r} leads to it and would break: remove the link"
        yield Obstacle(reason, identities=index.identities(target.file))


def _of_hidden_names(entries: DirectoryEntries) -> Iterator[Obstacle]:
    """Yield each hidden file that is in the way: a rename needs its hidden name, and the file has no visible name."""
    visible = {image.identity for name, image in entries.files.items() if is_valid_name(name)}
    for hidden, image in entries.files.items():
        name = hidden.removeprefix(HIDDEN_PREFIX)
        if name != hidden and name in entries.files and image.identity not in visible:
            reason = f"the hidden file {hidden!r} is in the way: find out whose data it has, then move it away"
            yield Obstacle(reason, names=frozenset({name}))
