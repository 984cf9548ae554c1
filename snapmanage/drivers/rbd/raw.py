"""Read names that the bindings can't decode.

The bindings take every name for UTF-8, and fail for the whole list where one name isn't. librados still reads
the same objects. A name that isn't UTF-8 is shown with its bytes escaped: `caf\\xe9`.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

DIRECTORY = "rbd_directory"
_PAGE = 256
_LONGEST_ANSWER = 4 * 1024**2
# A directory of format 1 is one blob; the read stops here.
_LONGEST_DIRECTORY = 64 * 1024**2


def shown(name: bytes) -> str:
    """Return the name as text, with the bytes that aren't UTF-8 escaped."""
    return name.decode(errors="backslashreplace")


def images(ioctx: Any) -> Iterator[tuple[bytes, str]]:
    """Yield the name and the id of every image; the id is empty for an image of format 1."""
    blob = ioctx.read(DIRECTORY, _LONGEST_DIRECTORY)
    if blob:
        (header,) = struct.unpack_from("<I", blob)
        yield from ((name, "") for name, _ in _pairs(blob, 4 + header))
    after = b""
    while page := list(
        _pairs(_call(ioctx, DIRECTORY, "dir_list", struct.pack(f"<I{len(after)}sQ", len(after), after, _PAGE)))
    ):
        yield from ((name, image_id.decode()) for name, image_id in page)
        after = page[-1][0]


def snapshots(ioctx: Any, image: Any, gone: tuple[type[Exception], ...]) -> Iterator[Mapping[str, Any]]:
    """Yield the snapshots of an open image of format 2 like `Image.list_snaps`; `odd` says that a name isn't UTF-8.

    `gone` are the bindings' errors for a snapshot that was removed, or made, after the image was opened.
    """
    header = f"rbd_header.{image.id()}"
    context = _call(ioctx, header, "get_snapcontext", b"")
    _, count = struct.unpack_from("<QI", context)
    for snapshot_id in reversed(struct.unpack_from(f"<{count}Q", context, 12)):
        with suppress(*gone):
            odd = False
            try:
                name = str(image.snap_get_name(snapshot_id))
            except UnicodeDecodeError as failure:
                name, odd = shown(failure.object), True
            kind = image.snap_get_namespace_type(snapshot_id)
            _, size = struct.unpack_from("<BQ", _call(ioctx, header, "get_size", struct.pack("<Q", snapshot_id)))
            yield {"id": snapshot_id, "size": size, "name": name, "namespace": kind, "odd": odd}


def _call(ioctx: Any, name: str, method: str, argument: bytes) -> bytes:
    answer: bytes = ioctx.execute(name, "rbd", method, argument, _LONGEST_ANSWER)[1]
    return answer


def _pairs(blob: bytes, offset: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs of an encoded map of two strings."""
    (count,) = struct.unpack_from("<I", blob, offset)
    parts, offset = [], offset + 4
    for _ in range(2 * count):
        (length,) = struct.unpack_from("<I", blob, offset)
        parts.append(blob[offset + 4 : offset + 4 + length])
        offset += 4 + length
    yield from zip(parts[::2], parts[1::2], strict=True)
