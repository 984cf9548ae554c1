"""What files and links of a directory refer to, and which images therefore can't be renamed.

A record that `chains` follows is rewritten when its file is renamed, and is no obstacle. Every other one is:
in another spelling, of a file that is no image here, or of another kind than that of a backing file.

An obstacle holds for the images that a record surely means, compared by device and inode; for those with a name
that it may mean on another host; or, where it can't be followed, for every image of the directory.
"""

import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from snapmanage.drivers.qcow2.filenames import PossibleFiles, last_name, possible_files, possible_files_from_cwd
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX, Image, overlay
from snapmanage.drivers.qcow2.paths import DirectoryPaths, same_file
from snapmanage.drivers.system.files import is_valid_name
from snapmanage.drivers.system.syscalls import FileStatus

_REBASE = "let it record a plain name in the directory (qemu-img rebase -u)"
_UNFIT = "snapmanage changes only images whose names fit image_patterns"
_DATA = "snapmanage can't change where an image has its data"
_OTHER = "snapmanage changes only qcow2 images"


@dataclass(frozen=True)
class Obstacle:
    """One reason, a clause for an operator, and the images that it holds for."""

    reason: str
    identities: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    every_image: bool = False


@dataclass
class Obstacles:
    """The obstacles of one scan; of several for one image, the first that was added is told."""

    _by_identity: dict[str, str] = field(default_factory=dict)
    _by_name: dict[str, str] = field(default_factory=dict)
    _everything: str = ""

    @classmethod
    def of(cls, found: Iterable[Obstacle]) -> "Obstacles":
        obstacles = cls()
        for each in found:
            for identity in each.identities:
                obstacles._by_identity.setdefault(identity, each.reason)
            for name in each.names:
                obstacles._by_name.setdefault(name, each.reason)
            if each.every_image:
                obstacles._everything = obstacles._everything or each.reason
        return obstacles

    def of_image(self, identity: str, names: Collection[str]) -> str:
        """Why the image can't be renamed; empty where nothing is in the way."""
        by_name = next((self._by_name[name] for name in names if name in self._by_name), "")
        return self._by_identity.get(identity) or by_name or self._everything

    def of_name(self, name: str) -> str:
        """Like `before`, for what may lead to exactly this name."""
        return self._by_name.get(name, "")


@dataclass(frozen=True)
class DirectoryEntries:
    """What a look at each entry of the directory showed.

    `files` has each regular file, hidden ones too. `links` has where each symbolic link points, and `linked` the
    file at its end, if it is a regular one. `unreadable` says of others why they can't be looked at.
    """

    files: Mapping[str, Image]
    links: Mapping[str, str]
    linked: Mapping[str, Image]
    unreadable: Mapping[str, str]


@dataclass(frozen=True)
class _Record:
    """A text by which a file refers to another one; `fits` says that the file is called as an image.

    `remedy` says what to do, or why snapmanage can do nothing, as a clause.
    """

    holder: str
    identity: str
    text: str
    possible_files: PossibleFiles
    fits: bool
    remedy: str


def obstacles(
    sight: DirectoryEntries, images: Collection[Image], paths: DirectoryPaths, directory_paths: Collection[str]
) -> Iterator[Obstacle]:
    """What keeps images from being renamed; obstacles that surely hold for an image come before others."""
    known = _FileIndex(sight.files.values())
    for record in _records(sight, images, known, directory_paths):
        yield from _of_record(record, known, paths)
    for name in sight.links:
        yield from _of_link(name, sight, known, paths)
    yield from _left_aside(sight)
    unread = {image.names[0]: image.error for image in images if image.backing_unknown}
    unread |= {
        name: image.unreadable_reason
        for name, image in [*sight.files.items(), *sight.linked.items()]
        if image.unreadable_reason
    }
    for name, wrong in [*unread.items(), *sight.unreadable.items()]:
        yield Obstacle(f"{name!r} can't be read: {wrong}", every_image=True)


class _FileIndex:
    """The files of the directory, found by what a look at the end of a path shows."""

    def __init__(self, files: Iterable[Image]) -> None:
        self._by_inode: dict[int, list[tuple[FileStatus, str]]] = defaultdict(list)
        for each in files:
            if each.file:
                self._by_inode[each.file.inode].append((each.file, each.identity))

    def identities(self, found: FileStatus) -> frozenset[str]:
        candidates = self._by_inode.get(found.inode, ())
        return frozenset(identity for file, identity in candidates if same_file(file, found))


def _records(
    sight: DirectoryEntries, images: Collection[Image], known: "_FileIndex", directory_paths: Collection[str]
) -> Iterator[_Record]:
    names = {name for image in images for name in image.names}
    for image in images:
        on = overlay(image, directory_paths)
        followed = on is not None and on.backing in names
        yield from _recorded(image.names[0], image, True, followed)
    seen = {image.identity for image in images}
    for name, stray in sight.files.items():
        if stray.identity not in seen:
            yield from _recorded(name, stray, False)
    for name, elsewhere in sight.linked.items():
        if elsewhere.file and not known.identities(elsewhere.file):
            yield from _recorded(name, elsewhere, False)


def _recorded(name: str, image: Image, fits: bool, followed: bool = False) -> Iterator[_Record]:
    def record(text: str, meaning: PossibleFiles, remedy: str) -> _Record:
        return _Record(name, image.identity, text, meaning, fits, remedy if fits else _UNFIT)

    header = image.header
    if header and header.backing and not followed:
        yield record(header.backing, possible_files(header.backing), _REBASE)
    if header and header.data_file_name:
        yield record(header.data_file_name, possible_files_from_cwd(header.data_file_name), _DATA)
    for other in image.other_file_names:
        yield record(other, possible_files(other), _OTHER)


def _of_record(record: _Record, known: _FileIndex, paths: DirectoryPaths) -> Iterator[Obstacle]:
    targets = {path: paths.resolve(path) for path in sorted(record.possible_files.paths)}
    sure = frozenset(
        identity for target in targets.values() if target.file for identity in known.identities(target.file)
    )
    lost = {last_name(path) for path, target in targets.items() if target.resolved and not target.file}
    if others := sure - {record.identity}:
        yield Obstacle(f"{record.holder!r} records it as {record.text!r}: {record.remedy}", identities=others)
    if names := record.possible_files.names | lost:
        yield Obstacle(
            f"{record.holder!r} records {record.text!r}, which may be this file: {record.remedy}", names=names
        )
    # Data that make no sense may be a guest's, who could stop every rename by them.
    if record.fits and (record.possible_files.any_file or not all(target.resolved for target in targets.values())):
        reason = (
            f"{record.holder!r} records {record.text!r}, which can't be followed and may be any file: {record.remedy}"
        )
        yield Obstacle(reason, every_image=True)


def _of_link(name: str, sight: DirectoryEntries, known: _FileIndex, paths: DirectoryPaths) -> Iterator[Obstacle]:
    target = paths.resolve(name)
    if not target.resolved:
        yield Obstacle(f"the symbolic link {name!r} can't be followed and may lead to any file", every_image=True)
    elif target.file is None:
        names = frozenset({last_name(sight.links[name])})
        yield Obstacle(f"the symbolic link {name!r} may lead to it: remove the link", names=names)
    elif stat.S_ISREG(target.file.mode):
        reason = f"the symbolic link {name!r} leads to it, and would lead nowhere: remove the link"
        yield Obstacle(reason, identities=known.identities(target.file))


def _left_aside(sight: DirectoryEntries) -> Iterator[Obstacle]:
    """Files that have the hidden name which a renamed file needs for a moment, and whose data nothing else has."""
    kept = {image.identity for name, image in sight.files.items() if is_valid_name(name)}
    for aside, image in sight.files.items():
        name = aside.removeprefix(HIDDEN_PREFIX)
        if name != aside and name in sight.files and image.identity not in kept:
            reason = f"the hidden file {aside!r} is in the way; see whose data it has, and move it"
            yield Obstacle(reason, names=frozenset({name}))
