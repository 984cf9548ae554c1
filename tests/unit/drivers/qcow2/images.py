"""The beginning of a qcow2 file, written field by field, so that a test can set any field to a false value."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

BACKING_FORMAT = 0xE2792ACA


@dataclass(frozen=True)
class Entry:
    """An entry of the snapshot table; the defaults make a valid one."""

    id: bytes = b"1"
    name: bytes = b"daily"
    seconds: int = 1_700_000_000
    nanoseconds: int = 123_456_789
    disk_bytes: int | None = None
    id_bytes: int | None = None
    extra_bytes: int | None = None

    def packed(self) -> bytes:
        extra = b"" if self.disk_bytes is None else struct.pack(">QQ", 0, self.disk_bytes)
        id_bytes = len(self.id) if self.id_bytes is None else self.id_bytes
        extra_bytes = len(extra) if self.extra_bytes is None else self.extra_bytes
        fields = (0, 1, id_bytes, len(self.name), self.seconds, self.nanoseconds, 0, 0, extra_bytes)
        line = struct.pack(">QIHHIIQII", *fields) + extra + self.id + self.name
        return line + bytes(-len(line) % 8)


@dataclass(frozen=True)
class Qcow2:
    """An image without data; the defaults make a valid one."""

    magic: bytes = b"QFI\xfb"
    version: int = 3
    size: int = 1024**2
    cluster_bits: int = 16
    encryption: int = 0
    features: int = 0
    header_bytes: int = 104
    backing: bytes = b""
    backing_format: bytes | None = None
    backing_offset: int | None = None
    backing_bytes: int | None = None
    extensions: bytes = b""
    entries: Sequence[Entry] = ()
    count: int | None = None
    table_offset: int | None = None

    def packed(self) -> bytes:
        table = b"".join(entry.packed() for entry in self.entries)
        start = self._start()
        extensions = self.extensions + extension(BACKING_FORMAT, self.backing_format) + bytes(8)
        offset = start + len(extensions) if self.backing_offset is None else self.backing_offset
        size = len(self.backing) if self.backing_bytes is None else self.backing_bytes
        cluster = (self._header(offset if size else 0, size) + extensions + self.backing).ljust(1 << 16, b"\0")
        return cluster + table

    def _start(self) -> int:
        return 72 if self.version == 2 else 104

    def _header(self, offset: int, size: int) -> bytes:
        count = len(self.entries) if self.count is None else self.count
        table = 1 << 16 if self.table_offset is None else self.table_offset
        first = (self.magic, self.version, offset, size, self.cluster_bits, self.size, self.encryption)
        header = struct.pack(">4sIQIIQIIQQIIQ", *first, 1, 0, 0, 1, count, table)
        return (
            header if self.version == 2 else header + struct.pack(">QQQII", self.features, 0, 0, 4, self.header_bytes)
        )


def extension(kind: int, content: bytes | None, size: int | None = None) -> bytes:
    if content is None:
        return b""
    return struct.pack(">II", kind, len(content) if size is None else size) + content + bytes(-len(content) % 8)
