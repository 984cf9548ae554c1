"""Read the objects of a pool and its images through librados, without librbd, and rename snapshots in them.

The bindings of librbd assume that every name is UTF-8: one other name makes them fail for the whole list. The bytes of
such a name are shown escaped: `caf\\xe9`. The features of an image are read here before librbd opens it.

librbd reads the whole header of an image again after each rename, every snapshot of it. The request for the rename
itself is the same here.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from snapmanage import errors

DIRECTORY = "rbd_directory"
_NO_SNAPSHOT = 2**64 - 2
_PAGE_ENTRIES = 256
_MAX_ANSWER_BYTES = 4 * 1024**2
# The directory of format 1 is one object; the read stops here.
_MAX_DIRECTORY_BYTES = 64 * 1024**2
_METADATA = "metadata_"


def escape(name: bytes) -> str:
    """Return the name as text, with escapes for the bytes that aren't UTF-8."""
    return name.decode(errors="backslashreplace")


def read_directory(ioctx: Any) -> Iterator[tuple[bytes, str]]:
    """Yield the name and the id of every image; the id is empty for an image of format 1."""
    with _decoding(DIRECTORY):
        blob = ioctx.read(DIRECTORY, _MAX_DIRECTORY_BYTES)
        if blob:
            (header,) = struct.unpack_from("<I", blob)
            yield from ((name, "") for name, _ in _decode_pairs(blob, 4 + header))
        after = b""
        while page := list(_decode_pairs(_execute(ioctx, DIRECTORY, "dir_list", _page_after(after)))):
            yield from ((name, image_id.decode()) for name, image_id in page)
            after = page[-1][0]


def read_snapshots(ioctx: Any, image: Any, gone: tuple[type[Exception], ...]) -> Iterator[Mapping[str, Any]]:
    """Yield the snapshots of an open image of format 2 like `Image.list_snaps`, with the additional key `undecodable`.

    `undecodable` is true for a name that isn't UTF-8. `gone` are the bindings' errors for a snapshot that was created
    or removed after the image was opened.
    """
    header = f"rbd_header.{image.id()}"
    context = _execute(ioctx, header, "get_snapcontext", b"")
    with _decoding(header):
        _, count = struct.unpack_from("<QI", context)
        snapshot_ids = struct.unpack_from(f"<{count}Q", context, 12)
    for snapshot_id in reversed(snapshot_ids):
        with suppress(*gone):
            undecodable = False
            try:
                name = str(image.snap_get_name(snapshot_id))
            except UnicodeDecodeError as failure:
                name, undecodable = escape(failure.object), True
            kind = image.snap_get_namespace_type(snapshot_id)
            with _decoding(header):
                _, size = struct.unpack_from("<BQ", _execute(ioctx, header, "get_size", struct.pack("<Q", snapshot_id)))
            yield {"id": snapshot_id, "size": size, "name": name, "namespace": kind, "undecodable": undecodable}


def read_image_id(ioctx: Any, name: str) -> str:
    """Return the id of the image of format 2 with that name."""
    with _decoding(f"rbd_id.{name}"):
        (length,) = struct.unpack_from("<I", blob := ioctx.read(f"rbd_id.{name}"))
        return str(blob[4 : 4 + length].decode())


def read_features(ioctx: Any, image_id: str) -> int:
    """Return the features of an image of format 2, as the bits `RBD_FEATURE_...` of the bindings."""
    answer = _execute(ioctx, f"rbd_header.{image_id}", "get_features", struct.pack("<QB", _NO_SNAPSHOT, True))
    with _decoding(f"rbd_header.{image_id}"):
        features, _ = struct.unpack_from("<QQ", answer)
        return int(features)


def read_snapshot_name(ioctx: Any, image_id: str, snapshot_id: int) -> bytes:
    """Return the present name of a snapshot of an image of format 2."""
    header = f"rbd_header.{image_id}"
    blob = _execute(ioctx, header, "get_snapshot_name", struct.pack("<Q", snapshot_id))
    with _decoding(header):
        (length,) = struct.unpack_from("<I", blob)
        return blob[4 : 4 + length]


def rename_snapshot(ioctx: Any, rados: Any, image_id: str, snapshot_id: int, name: str) -> None:
    """Rename a snapshot of an image of format 2 without a journal, as librbd does.

    The OSD refuses a name that another snapshot of a user has, an unknown id, and a snapshot that no user made.
    """
    text = name.encode()
    with rados.WriteOpCtx() as operation:
        operation.execute("rbd", "snapshot_rename", struct.pack(f"<QI{len(text)}s", snapshot_id, len(text), text))
        ioctx.operate_write_op(operation, f"rbd_header.{image_id}")


def announce_change(ioctx: Any, image_id: str) -> None:
    """Let each client that has the image open read its header again; return when they have answered."""
    # Every version of librbd and of the kernel's client takes an empty message for this.
    ioctx.notify(f"rbd_header.{image_id}", "")


def read_metadata_keys(ioctx: Any, rados: Any, image_id: str, prefix: str) -> set[str]:
    """Return the keys in the metadata of an image of format 2 that begin with `prefix`."""
    found, after, full_prefix = set[str](), "", _METADATA + prefix
    while True:
        with rados.ReadOpCtx() as operation:
            page, _ = ioctx.get_omap_vals(operation, after, full_prefix, _PAGE_ENTRIES)
            ioctx.operate_read_op(operation, f"rbd_header.{image_id}")
            keys = [key for key, _ in page]
        if not keys:
            return found
        found |= {key.removeprefix(_METADATA) for key in keys}
        after = keys[-1]


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn the error of a malformed object into `BackendError`, which names the object."""
    try:
        yield
    except (struct.error, UnicodeDecodeError) as failure:
        raise errors.BackendError(
            f"the object {name!r} of the pool is malformed ({failure}); restore it, or remove its image"
        ) from failure


def _page_after(name: bytes) -> bytes:
    """Encode the arguments of `dir_list`: the last name of the previous page, and the length of a page."""
    return struct.pack(f"<I{len(name)}sQ", len(name), name, _PAGE_ENTRIES)


def _execute(ioctx: Any, name: str, method: str, argument: bytes) -> bytes:
    """Run a method of the object class `rbd` on the object `name`."""
    answer: bytes = ioctx.execute(name, "rbd", method, argument, _MAX_ANSWER_BYTES)[1]
    return answer


def _decode_pairs(blob: bytes, offset: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs of an encoded map of two strings."""
    (count,) = struct.unpack_from("<I", blob, offset)
    parts, offset = [], offset + 4
    for _ in range(2 * count):
        (length,) = struct.unpack_from("<I", blob, offset)
        parts.append(blob[offset + 4 : offset + 4 + length])
        offset += 4 + length
    yield from zip(parts[::2], parts[1::2], strict=True)
