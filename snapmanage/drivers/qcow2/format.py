"""What the beginning of a qcow2 file says, as values: its header, its backing file, its internal snapshots.

Nothing that a file says is trusted: every count, size and offset is held against a bound before it is
followed, so that reading a hostile file ends soon, and in one of two ways: a `Header`, or `Unreadable`.
Names are told as the file has them; whether one may be followed is decided in `image`. The layout
is the one in QEMU's docs/interop/qcow2.txt.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

MAGIC = b"QFI\xfb"
# QEMU's own bounds: of an image's size, an off_t, and of the name of a backing file.
MAX_IMAGE_BYTES = 2**63 - 512
MAX_BACKING_NAME_BYTES = 1023
# QEMU allows 65,536 snapshots and 64 MiB of them. A scan reads the tables of a whole directory.
MAX_SNAPSHOTS = 10_000
MAX_TABLE_BYTES = 4 * 1024**2
# Extra data have 1,024 bytes at most, an id 127 and a name 255.
MAX_ENTRY_BYTES = 2048
MAX_ID_BYTES = 127

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_ENTRY = struct.Struct(">QIHHIIQII")
_EXTRA = struct.Struct(">QQ")
_BACKING_FORMAT, _DATA_FILE = 0xE2792ACA, 0x44415441
# The header with its extensions; QEMU 7.2 writes 528 bytes.
_HEAD_BYTES = 8192
_NANOSECONDS = 10**9
# The rest of a header that QEMU must write into the first cluster beside the name of a backing file.
_BESIDE_BACKING_BYTES = 192

_DIRTY, _CORRUPT, _EXTERNAL_DATA = 1 << 0, 1 << 1, 1 << 2
_KNOWN_FEATURES = (1 << 5) - 1

# Reads up to `size` bytes at `offset`; less at the end of the file.
Read = Callable[[int, int], bytes]


class Unreadable(ValueError):
    """The file isn't what it should be; the text is a clause that says how."""


class NotQcow2(Unreadable):
    """The file doesn't even claim to be qcow2, so QEMU wouldn't take it for one either."""


@dataclass(frozen=True)
class InternalSnapshot:
    """An entry of the snapshot table. Names aren't unique; ids are, but one that is removed may be given again."""

    id: str
    name: str
    created_seconds: int
    created_ns: int
    size_bytes: int

    @property
    def created_at(self) -> datetime:
        return datetime.fromtimestamp(self.created_seconds, UTC).replace(microsecond=self.created_ns // 1000)

    @property
    def mark(self) -> str:
        """The id with the moment of birth: no later snapshot of the same image has it."""
        return f"{self.id}@{self.created_seconds}.{self.created_ns:09}"


@dataclass(frozen=True)
class Header:
    """A qcow2 file as its header tells it.

    `unusable` says, as a clause, why the data can't be relied on; `unwritable` why qemu-img can't be let
    change the header. Where the snapshot table can't be read, `internal_error` says why. `data_file_name` is the
    file that has the data instead, and `backing_name_max_bytes` the longest name of a backing file that surely fits.
    """

    size_bytes: int
    backing: str | None = None
    backing_format: str | None = None
    unusable_reason: str = ""
    unwritable_reason: str = ""
    internal_snapshots: tuple[InternalSnapshot, ...] = ()
    internal_error: str = ""
    data_file_name: str | None = None
    backing_name_max_bytes: int = MAX_BACKING_NAME_BYTES


def read_header(source: Read) -> Header:
    """The header of a file, with its snapshot table; `Unreadable`, `NotQcow2`."""
    head = source(_HEAD_BYTES, 0)
    if not head.startswith(MAGIC):
        raise NotQcow2("it doesn't begin as a qcow2 file does")
    if len(head) < _HEADER.size:
        raise Unreadable("it ends within its header")
    _, version, backing_offset, backing_size, cluster_bits, size, encryption, *_, count, offset = _HEADER.unpack_from(
        head
    )
    features, header_size = _features(head, version)
    if not 9 <= cluster_bits <= 21:
        raise Unreadable(f"it tells of clusters of 2**{cluster_bits} bytes")
    internal, internal_error = _internal(source, count, offset, _sane(size))
    unusable = _unusable(features)
    unwritable = unusable or ("it is encrypted" if encryption else "")
    if features & _DIRTY and not unusable:
        unwritable = "it was not closed cleanly: try qemu-img check -r leaks"
    extensions = dict(_extensions(head[header_size : min(1 << cluster_bits, backing_offset or _HEAD_BYTES)]))
    backing_format = extensions.get(_BACKING_FORMAT)
    return Header(
        size_bytes=size,
        backing=_backing(source, backing_offset, backing_size, 1 << cluster_bits),
        backing_format=None if backing_format is None else backing_format.decode(errors="replace"),
        unusable_reason=unusable,
        unwritable_reason=unwritable,
        internal_snapshots=internal,
        internal_error=internal_error,
        data_file_name=_text(extensions.get(_DATA_FILE)),
        backing_name_max_bytes=min(MAX_BACKING_NAME_BYTES, (1 << cluster_bits) - _BESIDE_BACKING_BYTES),
    )


def _features(head: bytes, version: int) -> tuple[int, int]:
    """The incompatible features, and where the header ends."""
    if version == 2:
        return 0, _HEADER.size
    if version != 3:
        raise Unreadable(f"it is of version {version}; 2 and 3 are known")
    if len(head) < _HEADER.size + _FEATURES.size:
        raise Unreadable("it ends within its header")
    incompatible, *_, length = _FEATURES.unpack_from(head, _HEADER.size)
    if not _HEADER.size + _FEATURES.size <= length <= len(head):
        raise Unreadable(f"it tells of a header of {length} bytes")
    return incompatible, length


def _sane(size: int) -> int:
    if size > MAX_IMAGE_BYTES:
        raise Unreadable(f"it tells of a size of {size} bytes, more than can be")
    return size


def _unusable(features: int) -> str:
    if features & _CORRUPT:
        return "QEMU has marked it as corrupt: try qemu-img check -r all"
    if features & _EXTERNAL_DATA:
        return "it keeps its data in another file"
    if features & ~_KNOWN_FEATURES:
        return f"it has features that are not known here ({features:#x})"
    return ""


def _backing(source: Read, offset: int, size: int, cluster_bytes: int) -> str | None:
    if not offset or not size:
        return None
    # It follows the extensions, within the first cluster.
    if size > MAX_BACKING_NAME_BYTES or offset + size > cluster_bytes or len(found := source(size, offset)) < size:
        raise Unreadable("the name of its backing file isn't where it should be")
    return _text(found)


def _text(found: bytes | None) -> str | None:
    """A name as QEMU reads it, which ends at a NUL; bytes that are no UTF-8 become what `os.fsencode` turns back."""
    return found.partition(b"\0")[0].decode(errors="surrogateescape") or None if found else None


def _extensions(area: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _EXTENSION.size <= len(area):
        kind, size = _EXTENSION.unpack_from(area, position)
        if kind == 0:
            return
        position += _EXTENSION.size
        if position + size > len(area):
            raise Unreadable("its header extensions run past their end")
        yield kind, area[position : position + size]
        position += _padded(size)


def _internal(source: Read, count: int, offset: int, image_bytes: int) -> tuple[tuple[InternalSnapshot, ...], str]:
    """The snapshot table, or why it can't be read: the image itself may be sound all the same."""
    try:
        if count > MAX_SNAPSHOTS:
            raise Unreadable(f"it tells of {count} snapshots, more than {MAX_SNAPSHOTS}")
        if count and offset > MAX_IMAGE_BYTES:
            raise Unreadable("its snapshot table is beyond the end of the file")
        table = source(min(count * MAX_ENTRY_BYTES, MAX_TABLE_BYTES), offset) if count else b""
        entries = tuple(_entries(table, count, image_bytes))
        if len({entry.id for entry in entries}) < count:
            raise Unreadable("two of its snapshots have one id")
    except Unreadable as unreadable:
        return (), str(unreadable)
    return entries, ""


def _entries(table: bytes, count: int, image_bytes: int) -> Iterator[InternalSnapshot]:
    position = 0
    for _ in range(count):
        if position + _ENTRY.size > len(table):
            raise Unreadable("its snapshot table runs past its end")
        _, _, id_size, name_size, seconds, nanoseconds, _, _, extra_size = _ENTRY.unpack_from(table, position)
        extra_at = position + _ENTRY.size
        id_at = extra_at + extra_size
        name_at = id_at + id_size
        end = name_at + name_size
        if end > len(table) or nanoseconds >= _NANOSECONDS:
            raise Unreadable("its snapshot table has an impossible entry")
        size = _EXTRA.unpack_from(table, extra_at)[1] if extra_size >= _EXTRA.size else image_bytes
        id = table[id_at:name_at].decode(errors="surrogateescape")
        if not id.isprintable() or not 1 <= id_size <= MAX_ID_BYTES:
            raise Unreadable("one of its snapshots has an id that can't be written")
        name = table[name_at:end].decode(errors="replace")
        yield InternalSnapshot(id, name, seconds, nanoseconds, _sane(size))
        position = _padded(end)


def _padded(size: int) -> int:
    return -(-size // 8) * 8
