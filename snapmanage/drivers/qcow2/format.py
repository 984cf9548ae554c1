"""The beginning of a qcow2 file as values: its header, its backing file name, its internal snapshots.

The data may be hostile. Every count, size and offset is checked against a bound before it is used, so reading ends soon
and in one of two ways: with a `Header` or with `Unreadable`. Names are returned as the file has them; `image` decides
which ones are followed. The layout is described in QEMU's docs/interop/qcow2.txt.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

MAGIC = b"QFI\xfb"
# QEMU's own bounds: an image's size is an off_t, and a backing file name has at most 1023 bytes.
MAX_IMAGE_BYTES = 2**63 - 512
MAX_BACKING_NAME_BYTES = 1023
# QEMU allows 65,536 snapshots and a table of 64 MiB. The bounds here are lower: a scan reads the tables of all images.
MAX_SNAPSHOTS = 10_000
MAX_TABLE_BYTES = 4 * 1024**2
# In an entry, the extra data have at most 1,024 bytes, the ID 127 and the name 255.
MAX_ENTRY_BYTES = 2048
MAX_ID_BYTES = 127
# QEMU writes no longer name; the rest of one is left out.
MAX_NAME_BYTES = 255

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_ENTRY = struct.Struct(">QIHHIIQII")
_EXTRA = struct.Struct(">QQ")
_BACKING_FORMAT, _DATA_FILE_NAME = 0xE2792ACA, 0x44415441
# Enough for the header with its extensions; QEMU 7.2 writes 528 bytes.
_HEAD_BYTES = 8192
_NANOSECONDS = 10**9
# QEMU writes the rest of the header into the first cluster, together with the backing file name.
_HEADER_REST_BYTES = 192

_DIRTY, _CORRUPT, _EXTERNAL_DATA = 1 << 0, 1 << 1, 1 << 2
_KNOWN_FEATURES = (1 << 5) - 1

# Read up to `size` bytes at `offset`; fewer at the end of the file.
Read = Callable[[int, int], bytes]


class Unreadable(ValueError):
    """The file is not valid qcow2; the text is a clause with the reason."""


class NotQcow2(Unreadable):
    """The file doesn't begin with qcow2's magic number, so QEMU doesn't take it for qcow2 either."""


@dataclass(frozen=True)
class InternalSnapshot:
    """An entry of the snapshot table. Names aren't unique. IDs are, but QEMU reuses the ID of a removed snapshot."""

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
        """Return the ID with the creation time; no later snapshot of the same image has the same mark."""
        return f"{self.id}@{self.created_seconds}.{self.created_ns:09}"


@dataclass(frozen=True)
class Header:
    """The header of a qcow2 file. Each reason is a clause, empty if it doesn't apply.

    * `unusable_reason`: why the data aren't reliable.
    * `unwritable_reason`: why `qemu-img` must not change the header.
    * `internal_error`: why the snapshot table can't be read.
    * `data_file_name`: the name of the file that has the data instead.
    * `max_backing_name_bytes`: the longest backing file name that certainly fits.
    """

    size_bytes: int
    backing_file_name: str | None = None
    backing_format: str | None = None
    unusable_reason: str = ""
    unwritable_reason: str = ""
    internal_snapshots: tuple[InternalSnapshot, ...] = ()
    internal_error: str = ""
    data_file_name: str | None = None
    max_backing_name_bytes: int = MAX_BACKING_NAME_BYTES


def read_header(read: Read, with_internal: bool = True) -> Header:
    """Read the header of a file and, optionally, its snapshot table; raise `Unreadable` or `NotQcow2`."""
    head = read(_HEAD_BYTES, 0)
    if not head.startswith(MAGIC):
        raise NotQcow2("it doesn't begin like a qcow2 file")
    if len(head) < _HEADER.size:
        raise Unreadable("it ends within its header")
    _, version, name_offset, name_bytes, cluster_bits, size, encryption, *_, count, offset = _HEADER.unpack_from(head)
    features, header_bytes = _features(head, version)
    if not 9 <= cluster_bits <= 21:
        raise Unreadable(f"its header gives clusters of 2**{cluster_bits} bytes")
    count = count if with_internal else 0
    internal_snapshots, internal_error = _internal_snapshots(read, count, offset, _checked_size(size))
    unusable_reason = _unusable_reason(features)
    unwritable_reason = unusable_reason or ("it is encrypted" if encryption else "")
    if features & _DIRTY and not unusable_reason:
        unwritable_reason = "it was not closed cleanly: try qemu-img check -r leaks"
    extensions = dict(_extensions(head[header_bytes : min(1 << cluster_bits, name_offset or _HEAD_BYTES)]))
    backing_format = extensions.get(_BACKING_FORMAT)
    return Header(
        size_bytes=size,
        backing_file_name=_backing_file_name(read, name_offset, name_bytes, 1 << cluster_bits),
        backing_format=None if backing_format is None else backing_format.decode(errors="replace"),
        unusable_reason=unusable_reason,
        unwritable_reason=unwritable_reason,
        internal_snapshots=internal_snapshots,
        internal_error=internal_error,
        data_file_name=_file_name(extensions.get(_DATA_FILE_NAME)),
        max_backing_name_bytes=min(MAX_BACKING_NAME_BYTES, (1 << cluster_bits) - _HEADER_REST_BYTES),
    )


def _features(head: bytes, version: int) -> tuple[int, int]:
    """Return the incompatible features and the length of the header."""
    if version == 2:
        return 0, _HEADER.size
    if version != 3:
        raise Unreadable(f"it has version {version}; only 2 and 3 are supported")
    if len(head) < _HEADER.size + _FEATURES.size:
        raise Unreadable("it ends within its header")
    incompatible, *_, length = _FEATURES.unpack_from(head, _HEADER.size)
    if not _HEADER.size + _FEATURES.size <= length <= len(head):
        raise Unreadable(f"its header gives a header length of {length} bytes")
    return incompatible, length


def _checked_size(size: int) -> int:
    if size > MAX_IMAGE_BYTES:
        raise Unreadable(f"its header gives a size of {size} bytes, which is impossible")
    return size


def _unusable_reason(features: int) -> str:
    if features & _CORRUPT:
        return "QEMU has marked it as corrupt: try qemu-img check -r all"
    if features & _EXTERNAL_DATA:
        return "it keeps its data in another file"
    if features & ~_KNOWN_FEATURES:
        return f"it has features that are not supported ({features:#x})"
    return ""


def _backing_file_name(read: Read, offset: int, size: int, cluster_bytes: int) -> str | None:
    if not offset or not size:
        return None
    # The name follows the extensions, within the first cluster.
    if size > MAX_BACKING_NAME_BYTES or offset + size > cluster_bytes or len(found := read(size, offset)) < size:
        raise Unreadable("its backing file name is not in the first cluster")
    return _file_name(found)


def _file_name(found: bytes | None) -> str | None:
    """Return a name up to the first NUL, as QEMU reads it; `os.fsencode` restores bytes that aren't UTF-8."""
    return found.partition(b"\0")[0].decode(errors="surrogateescape") or None if found else None


def _extensions(area: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + _EXTENSION.size <= len(area):
        kind, size = _EXTENSION.unpack_from(area, position)
        if kind == 0:
            return
        position += _EXTENSION.size
        if position + size > len(area):
            raise Unreadable("its header extensions run past the end of the header")
        yield kind, area[position : position + size]
        position += _padded(size)


def _internal_snapshots(
    read: Read, count: int, offset: int, image_bytes: int
) -> tuple[tuple[InternalSnapshot, ...], str]:
    """Return the snapshot table, or the reason why it can't be read; the image may be usable without it."""
    try:
        if count > MAX_SNAPSHOTS:
            raise Unreadable(f"its header gives {count} snapshots, more than the supported {MAX_SNAPSHOTS}")
        if count and offset > MAX_IMAGE_BYTES:
            raise Unreadable("its snapshot table begins beyond the end of the file")
        table = read(min(count * MAX_ENTRY_BYTES, MAX_TABLE_BYTES), offset) if count else b""
        snapshots = tuple(_entries(table, count, image_bytes))
        if len({snapshot.id for snapshot in snapshots}) < count:
            raise Unreadable("two of its snapshots have the same ID")
    except Unreadable as failure:
        return (), str(failure)
    return snapshots, ""


def _entries(table: bytes, count: int, image_bytes: int) -> Iterator[InternalSnapshot]:
    position = 0
    for _ in range(count):
        if position + _ENTRY.size > len(table):
            raise Unreadable("its snapshot table is cut off")
        _, _, id_bytes, name_bytes, seconds, nanoseconds, _, _, extra_bytes = _ENTRY.unpack_from(table, position)
        extra_at = position + _ENTRY.size
        id_at = extra_at + extra_bytes
        name_at = id_at + id_bytes
        end = name_at + name_bytes
        if end > len(table) or nanoseconds >= _NANOSECONDS:
            raise Unreadable("its snapshot table has an impossible entry")
        size = _EXTRA.unpack_from(table, extra_at)[1] if extra_bytes >= _EXTRA.size else image_bytes
        id = table[id_at:name_at].decode(errors="surrogateescape")
        if not id.isprintable() or not 1 <= id_bytes <= MAX_ID_BYTES:
            raise Unreadable("the ID of one of its snapshots is not printable, or too long")
        name = table[name_at : min(end, name_at + MAX_NAME_BYTES)].decode(errors="replace")
        yield InternalSnapshot(id, name, seconds, nanoseconds, _checked_size(size))
        position = _padded(end)


def _padded(size: int) -> int:
    return -(-size // 8) * 8
