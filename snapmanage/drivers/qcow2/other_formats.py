"""File names in images of other formats that QEMU recognizes by their data: the old qcow format, QED and VMDK.

Such an image is neither a volume nor a snapshot here, but its backing file may be one. Formats that have no backing
files, or none that QEMU follows (VDI, VHDX, VPC), contain no names.
"""

import re
import struct
from itertools import islice

from snapmanage.drivers.qcow2.format import Read

_QCOW = struct.Struct(">4sIQI")
_QED = struct.Struct("<4sIIIQQQQQII")
_QED_HAS_BACKING_FILE = 1
_MAX_NAME_BYTES = 1023
_VMDK_MAGICS = (b"KDMV", b"COWD")
_HEAD_BYTES = 4096
# The text of a VMDK is a file of its own, or follows the header.
_VMDK_BYTES = 64 * 1024
# QEMU accepts no longer name. The names may come from a guest, so a bound on their number keeps a scan short.
_VMDK_NAME = re.compile(
    rb'^(?:parentFileNameHint\s*=|(?:RW|RDONLY|NOACCESS)\s)[^"\n]*"([^"\n]{0,%d})"' % _MAX_NAME_BYTES, re.MULTILINE
)
_MAX_NAMES = 256


def file_names(read: Read) -> tuple[str, ...] | None:
    """Return the names of other files that a file records; None if it has none of these formats."""
    head = read(_HEAD_BYTES, 0)
    if head.startswith(b"QFI\xfb\0\0\0\1") and len(head) >= _QCOW.size:
        _, _, offset, size = _QCOW.unpack_from(head)
        return _backing_file_name(read, offset, size)
    if head.startswith(b"QED\0") and len(head) >= _QED.size:
        fields = _QED.unpack_from(head)
        return _backing_file_name(read, *fields[-2:]) if fields[4] & _QED_HAS_BACKING_FILE else ()
    if head.startswith(_VMDK_MAGICS) or b"createType" in head:
        found = _VMDK_NAME.finditer(read(_VMDK_BYTES, 0))
        return tuple(_decoded(each[1]) for each in islice(found, _MAX_NAMES))
    return None


def _backing_file_name(read: Read, offset: int, size: int) -> tuple[str, ...]:
    if not offset or not 0 < size <= _MAX_NAME_BYTES or offset > 2**62:
        return ()
    return (_decoded(read(size, offset)),)


def _decoded(found: bytes) -> str:
    return found.partition(b"\0")[0].decode(errors="surrogateescape")
