"""The notes of snapper beside a snapshot: `.snapshots/17/info.xml` describes `.snapshots/17/snapshot`.

`members` calls this module as root, and nothing in the file is trusted: it is bounded, it may have neither a document
type nor entities, and only the date and the description leave this module. A file that can't be read means no notes.
"""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.parsers import expat

from snapmanage.drivers.system import files, syscalls

FILE = "info.xml"
# Bytes; snapper itself writes some hundred.
LARGEST = 16 * 1024
# Characters, as many as a value of metadata may have.
LONGEST_DESCRIPTION = 255
_NAME = re.compile(r"(?:.*/)?[0-9]+/snapshot", re.DOTALL)
_FIELDS = (("snapshot", "date"), ("snapshot", "description"))


@dataclass(frozen=True)
class Notes:
    """The time in seconds when snapper took the snapshot, 0 where it is unknown, and a description, perhaps empty."""

    taken_at: float = 0.0
    description: str = ""


NO_NOTES = Notes()


def notes(fd: int, name: str) -> Notes:
    """Return the notes about a snapshot of an open folder; only names of snapper's form cost a look into the folder."""
    if not _NAME.fullmatch(name):
        return NO_NOTES
    try:
        return parsed(_read(fd, name.rpartition("/")[0]))
    except OSError:
        return NO_NOTES


def _read(fd: int, place: str) -> bytes:
    """Return the content of the file in a folder; empty for a large file, and for one that has another name too."""
    folder = syscalls.open_directory_beneath(fd, place)
    try:
        opened = files.open_regular(folder, FILE)
    finally:
        os.close(folder)
    if opened is None:
        return b""
    with os.fdopen(opened, "rb") as file:
        # Someone else could have made the other name, in order to read a file of root.
        content = file.read(LARGEST + 1) if os.fstat(opened).st_nlink == 1 else b""
    return content if len(content) <= LARGEST else b""


def parsed(content: bytes) -> Notes:
    """Return the notes in the content of a file; a part that is missing or wrong is unknown."""
    reader = _Reader()
    try:
        reader.read(content)
    except (expat.ExpatError, _Refused):
        return NO_NOTES
    date, description = ("".join(reader.texts[field]).strip() for field in _FIELDS)
    return Notes(_seconds(date), description[:LONGEST_DESCRIPTION])


def _seconds(date: str) -> float:
    """Return a date of snapper, which is in UTC, as seconds; 0 for a text that is none."""
    try:
        return datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


class _Refused(Exception):
    """The content has a part that snapper never writes."""


class _Reader:
    """Collects the texts of `_FIELDS`, each a path of elements."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, ...], list[str]] = {field: [] for field in _FIELDS}
        self._path: list[str] = []

    def read(self, content: bytes) -> None:
        """Parse a whole document; raise `ExpatError` or `_Refused`."""
        # The document can't choose another encoding, which would make Python load its module.
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.Parse(content, True)

    def _start(self, name: str, attributes: object) -> None:
        self._path.append(name)

    def _end(self, name: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if (found := self.texts.get(tuple(self._path[:3]))) is not None:
            found.append(text)

    def _refuse(self, *arguments: object) -> None:
        raise _Refused
