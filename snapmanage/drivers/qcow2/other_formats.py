"""Which files an image of another format names: old qcow, QED and VMDK, which QEMU opens by their data.

Such images are neither volumes nor snapshots here, but one may stand on a file that is. Formats without backing
files, or with none that QEMU follows (VDI, VHDX, VPC), name nothing.
"""

import re
import struct
from collections.abc import Callable
from itertools import islice

_QCOW = struct.Struct(">4sIQI")
_QED = struct.Struct("<4sIIIQQQQQII")
_HAS_BACKING = 1
_MAX_NAME_BYTES = 1023
_VMDK_MAGICS = (b"KDMV", b"COWD")
_HEAD_BYTES = 4096
# A VMDK's text is a file of its own, or lies behind its header.
_VMDK_BYTES = 64 * 1024
# QEMU accepts no longer name. A guest may have written these; the bound on their number keeps a scan short.
_VMDK_NAME = re.compile(
    rb'^(?:parentFileNameHint\s*=|(?:RW|RDONLY|NOACCESS)\s)[^"\n]*"([^"\n]{0,%d})"' % _MAX_NAME_BYTES, re.MULTILINE
)
_MAX_NAMES = 256

# Reads up to `size` bytes at `offset`; less at the end of the file.
Read = Callable[[int, int], bytes]


def names(source: Read) -> tuple[str, ...] | None:
    """What the file records of other files, as it stands there; None where it is of none of these formats."""
    head = source(_HEAD_BYTES, 0)
    if head.startswith(b"QFI\xfb\0\0\0\1") and len(head) >= _QCOW.size:
        _, _, offset, size = _QCOW.unpack_from(head)
        return _name(source, offset, size)
    if head.startswith(b"QED\0") and len(head) >= _QED.size:
        fields = _QED.unpack_from(head)
        return _name(source, *fields[-2:]) if fields[4] & _HAS_BACKING else ()
    if head.startswith(_VMDK_MAGICS) or b"createType" in head:
        found = _VMDK_NAME.finditer(source(_VMDK_BYTES, 0))
        return tuple(_text(each[1]) for each in islice(found, _MAX_NAMES))
    return None


def _name(source: Read, offset: int, size: int) -> tuple[str, ...]:
    if not offset or not 0 < size <= _MAX_NAME_BYTES or offset > 2**62:
        return ()
    return (_text(source(size, offset)),)


def _text(found: bytes) -> str:
    return found.partition(b"\0")[0].decode(errors="surrogateescape")
